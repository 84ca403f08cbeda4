/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing of convolution weights. Nearest-neighbour upsampling is merged into the taps here. */
#include "engine/backends/cpu/conv3d-pack.h"

#include "engine/backends/cpu/cpu.h"

#include <string.h>

gsize
avatar_cpu_conv3d_bytes (const AvatarConv3d *self)
{
  gint64 blocks = avatar_conv3d_blocks (self);

  return (self->phases * blocks * avatar_conv3d_phase_size (self) + blocks * 16) * sizeof (float);
}

/* Adds the taps of the phase (@pt, @py, @px) to @dst, which is zeroed. */
static void
pack_phase (const AvatarConv3d *self, float *dst, const float *w, gint64 pt, gint64 py, gint64 px)
{
  const gint64 s = self->taps_s;

  for (gint64 o = 0; o < self->out; o++)
    for (gint64 i = 0; i < self->in; i++)
      for (gint64 k = 0; k < 27; k++) {
        gint64 t = avatar_conv_merged_tap (k / 9, self->shape.up_t, pt, AVATAR_CONV_AXIS_TIME);
        gint64 y = avatar_conv_merged_tap (k / 3 % 3, self->shape.up_s, py, AVATAR_CONV_AXIS_SPACE);
        gint64 x = avatar_conv_merged_tap (k % 3, self->shape.up_s, px, AVATAR_CONV_AXIS_SPACE);
        gint64 row = ((o / 16 * self->taps_t + t) * s + y) * s + x;

        dst[(row * self->in + i) * 16 + o % 16] += w[(o * self->in + i) * 27 + k];
      }
}

void
avatar_cpu_conv3d_pack (const AvatarConv3d *self, void *packed, const float *weight,
    const float *bias)
{
  guint up_s = self->shape.up_s;
  gsize size = avatar_conv3d_blocks (self) * avatar_conv3d_phase_size (self);

  memcpy ((float *) packed + self->phases * size, bias, self->out * sizeof (float));
  for (gint64 p = 0; p < self->phases; p++)
    pack_phase (self, (float *) packed + p * size, weight, p / (up_s * up_s), p / up_s % up_s,
        p % up_s);
}
