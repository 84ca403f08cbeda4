/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Packing of convolution weights; nearest upsampling is merged into the taps here, once. */
#include "engine/memory/device.h"
#include "engine/ops/cpu/conv3d-pack.h"

#include <string.h>

/* Which merged tap on the small grid the tap @k of 3 belongs to (spec vae 1.5).
 * rows: output 2k has taps {0}, {1, 2}; output 2k + 1 has {0, 1}, {2}.
 * time: output 2k - 1 (phase 0) has {0, 1}, {2}; output 2k (phase 1) has {0}, {1, 2}. */
static gint64
merged_tap (gint64 k, guint up, gint64 phase, gboolean time)
{
  gboolean first_alone = (phase == 0) != time;

  if (up == 1)
    return k;
  return first_alone ? k >= 1 : k >= 2;
}

static void
pack_phase (AvatarConv3d *self, float *dst, AvatarTensor weight, gint64 pt, gint64 py, gint64 px)
{
  const float *w = weight.data;
  const gint64 s = self->taps_s;

  for (gint64 o = 0; o < self->out; o++)
    for (gint64 i = 0; i < self->in; i++)
      for (gint64 k = 0; k < 27; k++) {
        gint64 t = merged_tap (k / 9, self->shape.up_t, pt, TRUE);
        gint64 y = merged_tap (k / 3 % 3, self->shape.up_s, py, FALSE);
        gint64 x = merged_tap (k % 3, self->shape.up_s, px, FALSE);
        gint64 row = ((o / 16 * self->taps_t + t) * s + y) * s + x;

        dst[(row * self->in + i) * 16 + o % 16] += w[(o * self->in + i) * 27 + k];
      }
}

AvatarConv3d *
avatar_conv3d_new (AvatarDevice *device, AvatarTensor weight, AvatarTensor bias,
    AvatarConvShape shape, gboolean dry, GError **error)
{
  g_autoptr (AvatarConv3d) self = g_new0 (AvatarConv3d, 1);
  gint64 phases = shape.up_t * shape.up_s * shape.up_s;
  gsize n;

  g_assert (weight.rank == 5 && weight.shape[2] == 3 && weight.shape[3] == 3 && weight.shape[4] == 3
      && avatar_tensor_is_contiguous (weight));
  g_assert (bias.rank == 1 && bias.shape[0] == weight.shape[0]);
  g_assert ((shape.up_t == 1 || shape.stride_t == 1) && (shape.up_s == 1 || shape.stride_s == 1));
  self->shape = shape;
  self->out = weight.shape[0];
  self->in = weight.shape[1];
  self->blocks = (self->out + 15) / 16;
  self->taps_t = shape.up_t == 2 ? 2 : 3;
  self->taps_s = shape.up_s == 2 ? 2 : 3;
  n = phases * self->blocks * avatar_conv3d_phase_size (self);
  self->bytes = (n + self->blocks * 16) * sizeof (float);
  if (dry)
    return g_steal_pointer (&self);

  self->memory = avatar_device_memory_new (device, self->bytes, "weights of the video VAE", error);
  if (!self->memory)
    return NULL;
  self->device = avatar_device_ref (device);
  memset (self->memory, 0, self->bytes);
  self->weights = self->memory;
  self->bias = self->memory + n;
  memcpy (self->bias, bias.data, self->out * sizeof (float));
  for (gint64 p = 0; p < phases; p++)
    pack_phase (self, self->weights + p * self->blocks * avatar_conv3d_phase_size (self), weight,
        p / (shape.up_s * shape.up_s), p / shape.up_s % shape.up_s, p % shape.up_s);
  return g_steal_pointer (&self);
}

void
avatar_conv3d_free (AvatarConv3d *self)
{
  if (!self)
    return;
  if (self->device) {
    avatar_device_memory_free (self->device, self->memory, self->bytes);
    avatar_device_unref (self->device);
  }
  g_free (self);
}

guint64
avatar_conv3d_bytes (AvatarConv3d *self)
{
  return self->bytes;
}

gint64
avatar_conv3d_channels_out (AvatarConv3d *self)
{
  return self->out;
}

void
avatar_conv3d_output (AvatarConv3d *self, gint64 *t, gint64 *h, gint64 *w)
{
  const AvatarConvShape *s = &self->shape;

  /* frame 0 stays alone when time is upsampled */
  *t = s->up_t == 2 ? 2 * *t - 1 : (*t - 1) / s->stride_t + 1;
  *h = s->up_s == 2 ? 2 * *h : (*h - 1) / s->stride_s + 1;
  *w = s->up_s == 2 ? 2 * *w : (*w - 1) / s->stride_s + 1;
}
