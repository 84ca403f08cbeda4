/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a convolution's weights lie in memory, shared by packing and computing. */
#pragma once

#include "engine/ops/conv3d.h"

G_BEGIN_DECLS

/**
 * AvatarConv3d: weights [phase, block of 16 outputs, taps t, taps y, taps x, in, 16].
 * A phase is a position within the upsampled cell: [up_t, up_s, up_s]; an axis that is not
 * upsampled has one phase of 3 taps, one that is has two phases of 2 merged taps.
 * @bias: [blocks, 16], zero beyond the last channel
 */
struct _AvatarConv3d
{
  AvatarDevice *device;
  AvatarConvShape shape;
  gint64 in, out, blocks;
  gint64 taps_t, taps_s;
  gsize bytes;
  float *memory; /* %NULL: dry */
  float *weights, *bias;
};

static inline gint64
avatar_conv3d_phase_size (const AvatarConv3d *self)
{
  return self->taps_t * self->taps_s * self->taps_s * self->in * 16;
}

/* Taps of one block of outputs in a phase; @pt, @py, @px: the phase. */
static inline const float *
avatar_conv3d_weights (const AvatarConv3d *self, gint64 pt, gint64 py, gint64 px, gint64 block)
{
  gint64 phase = (pt * self->shape.up_s + py) * self->shape.up_s + px;

  return self->weights + (phase * self->blocks + block) * avatar_conv3d_phase_size (self);
}

G_END_DECLS
