/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layout of packed convolution weights on the CPU: float32 [phases, blocks, taps t, taps y,
 * taps x, in, 16], where a block is 16 output channels, followed by the bias [blocks, 16]. Channels
 * after the last one are 0. */
#pragma once

#include "engine/ops/conv3d-backend.h"

G_BEGIN_DECLS

static inline gint64
avatar_conv3d_blocks (const AvatarConv3d *self)
{
  return (self->out + 15) / 16;
}

/* Returns the floats of one block of one phase. */
static inline gint64
avatar_conv3d_phase_size (const AvatarConv3d *self)
{
  return self->taps_t * self->taps_s * self->taps_s * self->in * 16;
}

/* Returns the taps of one block in the phase (@pt, @py, @px): [taps t, taps y, taps x, in, 16]. */
static inline const float *
avatar_conv3d_weights (const AvatarConv3d *self, gint64 pt, gint64 py, gint64 px, gint64 block)
{
  gint64 phase = (pt * self->shape.up_s + py) * self->shape.up_s + px;

  return (const float *) self->packed
      + (phase * avatar_conv3d_blocks (self) + block) * avatar_conv3d_phase_size (self);
}

/* Returns the bias [16] of one block. */
static inline const float *
avatar_conv3d_bias (const AvatarConv3d *self, gint64 block)
{
  return avatar_conv3d_weights (self, self->phases / (self->shape.up_s * self->shape.up_s), 0, 0, 0)
      + block * 16;
}

G_END_DECLS
