/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decodes one tile. A dry run of the same code determines the size of the memory. */
#include "engine/vae/decoder-private.h"

#include "engine/device/device.h"

/* Number of frames that a discrete device converts to bytes at a time, before they are copied to
 * the host. */
#define FRAMES_PER_COPY 8

gsize
avatar_decoder_frame_size (AvatarDecoder *self)
{
  gint64 ratio = self->config->spatial_ratio;

  return avatar_pixels_size (self->pixels.format, self->h * ratio, self->w * ratio);
}

void
avatar_decoder_alloc_state (AvatarDecoder *self, AvatarOps *ops, gint64 latents)
{
  gint64 frames = avatar_vae_tiles_frames_out (&self->tiles, latents);

  if (ops->backend->discrete)
    frames = MIN (frames, FRAMES_PER_COPY);
  self->state = avatar_vae_time_state_new (&self->tiles, ops, latents, self->h, self->w);
  self->frames
      = avatar_ops_alloc_as (ops, AVATAR_U8, 2, frames, (gint64) avatar_decoder_frame_size (self));
  self->non_finite = avatar_ops_alloc_as (ops, AVATAR_I32, 1, (gint64) 1);
  self->state_mark = avatar_ops_mark (ops);
}

/* Returns the first @n latents of the queue without scale and shift, as [n, h, w, C]. */
static float *
unscaled (AvatarDecoder *self, gint64 n)
{
  gint64 channels = self->config->latent_channels, area = self->h * self->w;
  const float *latents = (const float *) self->latents->data;
  float factor = self->config->scaling_factor, shift = self->config->shift_factor;
  float *z = g_new (float, n *area *channels), *dst = z;

  for (gint64 t = 0; t < n; t++)
    for (gint64 i = 0; i < area; i++)
      for (gint64 c = 0; c < channels; c++)
        *dst++ = latents[(t * channels + c) * area + i] / factor + shift;
  return z;
}

static void
to_bytes (AvatarDecoder *self, AvatarOps *ops, AvatarTensor frames)
{
  gint64 n = frames.shape[0], max_count = self->frames.shape[0];

  for (gint64 i = 0; i < n; i += max_count) {
    gint64 count = MIN (max_count, n - i);
    AvatarTensor bytes = avatar_tensor_rows (self->frames, 0, count);

    avatar_op_to_bytes (ops, bytes, avatar_tensor_rows (frames, i, count), &self->pixels,
        self->non_finite);
    if (ops->backend->discrete)
      avatar_op_download_raw (ops,
          self->host_frames ? self->host_frames + i * avatar_decoder_frame_size (self) : NULL,
          bytes);
  }
}

/* Uploads the first @n latents of the queue. */
static AvatarTensor
upload (AvatarDecoder *self, AvatarOps *ops, gint64 n)
{
  g_autofree float *host = ops->dry_run ? NULL : unscaled (self, n);
  AvatarTensor z
      = avatar_ops_alloc (ops, 4, n, self->h, self->w, (gint64) self->config->latent_channels);

  avatar_op_upload (ops, z, host);
  return z;
}

/* Converts the final frames of a tile, and releases its memory. Returns their number. */
static gint64
finish (AvatarDecoder *self, AvatarOps *ops, AvatarTensor frames)
{
  avatar_op_clear (ops, self->non_finite);
  to_bytes (self, ops, frames);
  avatar_ops_release (ops, self->state_mark);
  return frames.shape[0];
}

gint64
avatar_decoder_decode_tile (AvatarDecoder *self, AvatarOps *ops, gint64 n, AvatarVaeTileScope scope)
{
  AvatarTensor z = upload (self, ops, n);

  return finish (self, ops, avatar_vae_time_tile (&self->tiles, ops, &self->state, z, scope));
}

gint64
avatar_decoder_decode_group (AvatarDecoder *self, AvatarOps *ops, gint64 n, gint64 context)
{
  AvatarTensor z = upload (self, ops, n);

  return finish (self, ops, avatar_vae_time_group (&self->tiles, ops, &self->state, z, context));
}
