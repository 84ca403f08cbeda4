/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a convolution's weights lie in the host's memory, shared by packing and computing: floats
 * [phase, block of 16 outputs, taps t, taps y, taps x, in, 16], then the bias [blocks, 16], zero
 * beyond the last channel. */
#pragma once

#include "engine/ops/conv3d-backend.h"

G_BEGIN_DECLS

static inline gint64
avatar_conv3d_blocks (const AvatarConv3d *self)
{
  return (self->out + 15) / 16;
}

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

  return (const float *) self->packed
      + (phase * avatar_conv3d_blocks (self) + block) * avatar_conv3d_phase_size (self);
}

static inline const float *
avatar_conv3d_bias (const AvatarConv3d *self, gint64 block)
{
  return avatar_conv3d_weights (self, self->phases / (self->shape.up_s * self->shape.up_s), 0, 0, 0)
      + block * 16;
}

G_END_DECLS
