/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The packed 3-D convolution, as back-ends see it. */
#pragma once

#include "engine/ops/conv3d.h"

G_BEGIN_DECLS

/**
 * AvatarConv3d:
 * @shape: stride and upsampling
 * @in: input channels
 * @out: output channels
 * @taps_t: taps in time per phase
 * @taps_s: taps in height, and in width, per phase
 * @phases: the number of phases
 * @bytes: the size of @packed
 * @packed: (nullable): weight and bias in device memory, in the back-end's layout; %NULL in a dry
 *   run
 *
 * A convolution that upsamples computes up_t x up_s x up_s output values per input pixel. Each
 * position within such a cell is a phase, with weights of its own. An axis that is not upsampled
 * has one phase of 3 taps; an axis that is has two phases of 2 merged taps.
 */
struct _AvatarConv3d
{
  AvatarConvShape shape;
  gint64 in, out;
  gint64 taps_t, taps_s, phases;
  gsize bytes;
  void *packed;
};

typedef enum
{
  AVATAR_CONV_AXIS_SPACE,
  AVATAR_CONV_AXIS_TIME,
} AvatarConvAxis;

/* Returns the merged tap on the input grid to which tap @k of 3 on the upsampled grid contributes
 * (docs/dev/spec/vae-text-face-formats.md 1.5); @k itself if the axis is not upsampled (@up = 1).
 * Height and width: output 2k (phase 0) merges {0}, {1, 2}; output 2k + 1 merges {0, 1}, {2}.
 * Time: output 2k - 1 (phase 0) merges {0, 1}, {2}; output 2k (phase 1) merges {0}, {1, 2}. */
static inline gint64
avatar_conv_merged_tap (gint64 k, guint up, gint64 phase, AvatarConvAxis axis)
{
  gboolean first_alone = (phase == 0) != (axis == AVATAR_CONV_AXIS_TIME);

  if (up == 1)
    return k;
  return first_alone ? k >= 1 : k >= 2;
}

/* Returns the number of output frames that depend only on input frames before @end. */
static inline gint64
avatar_conv_frames (const AvatarConv3d *conv, gint64 end)
{
  const AvatarConvShape *s = &conv->shape;

  if (end == 0)
    return 0;
  return s->up_t == 2 ? 2 * end - 1 : (end - 1) / s->stride_t + 1;
}

G_END_DECLS
