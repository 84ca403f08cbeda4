/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What back-ends know of a convolution. */
#pragma once

#include "engine/ops/conv3d.h"

G_BEGIN_DECLS

/**
 * AvatarConv3d: a phase is a position within the upsampled cell, [up_t, up_s, up_s]; an axis that is
 * not upsampled has one phase of 3 taps, one that is has two phases of 2 merged taps.
 * @packed: on the device, @bytes of the back-end's layout; %NULL: dry
 */
struct _AvatarConv3d
{
  AvatarConvShape shape;
  gint64 in, out;
  gint64 taps_t, taps_s, phases;
  gsize bytes;
  void *packed;
};

/* Which merged tap on the small grid the tap @k of 3 belongs to
 * (docs/dev/spec/vae-text-face-formats.md 1.5).
 * rows: output 2k has taps {0}, {1, 2}; output 2k + 1 has {0, 1}, {2}.
 * time: output 2k - 1 (phase 0) has {0, 1}, {2}; output 2k (phase 1) has {0}, {1, 2}. */
static inline gint64
avatar_conv_merged_tap (gint64 k, guint up, gint64 phase, gboolean time)
{
  gboolean first_alone = (phase == 0) != time;

  if (up == 1)
    return k;
  return first_alone ? k >= 1 : k >= 2;
}

/* Output frames that are complete when the input frames before @end are there. */
static inline gint64
avatar_conv_frames (const AvatarConv3d *conv, gint64 end)
{
  const AvatarConvShape *s = &conv->shape;

  if (end == 0)
    return 0;
  return s->up_t == 2 ? 2 * end - 1 : (end - 1) / s->stride_t + 1;
}

G_END_DECLS
