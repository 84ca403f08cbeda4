/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stage 3: latent frames in, video frames out: 1 for the first latent, 4 for each further one. */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

typedef struct _AvatarDecoder AvatarDecoder;

/**
 * AvatarDecodeSettings:
 * @tiling: decode in upstream's overlapping tiles (spec vae 1.8); otherwise the whole stream at
 *   once after drain
 * @tile_size: side of a spatial tile in pixels, a multiple of 8 latents; 0 = the model's
 * @tile_frames: frames of a temporal tile, a multiple of 16; 0 = the model's
 * @parity: pixels are made of what was decoded as upstream does it, in 16 bits and cut off rather than
 *   rounded
 */
typedef struct
{
  gboolean tiling;
  guint tile_size;
  guint tile_frames;
  gboolean parity;
} AvatarDecodeSettings;

/**
 * AvatarDecodeStats: of the temporal tile decoded last.
 * @index: its index; @latents, @frames: what went in and came out; @seconds: wall-clock time
 */
typedef struct
{
  guint index, latents, frames;
  double seconds;
} AvatarDecodeStats;

AVATAR_API void avatar_decode_settings_init (AvatarDecodeSettings *settings, AvatarModel *model);

/* @width, @height: of the video in pixels, multiples of the model's latent_scale. GPUs have no
 * operations for this stage yet: for a @device that is one it computes on the CPU. */
AVATAR_API AvatarDecoder *avatar_decoder_new (AvatarModel *model, AvatarDevice *device, guint width,
    guint height, const AvatarDecodeSettings *settings, GError **error);
/* @latent: [channels, height / latent_scale, width / latent_scale] floats as the denoiser makes
 * them (scaled). Never computes. */
AVATAR_API gboolean avatar_decoder_push (AvatarDecoder *self, const float *latent, GError **error);
/* @rgb: room for height rows of @stride bytes, 3 bytes a pixel. Decodes a tile when one is
 * complete. */
AVATAR_API AvatarPull avatar_decoder_pull (AvatarDecoder *self, guint8 *rgb, gsize stride,
    GError **error);
AVATAR_API gboolean avatar_decoder_drain (AvatarDecoder *self, GError **error);
AVATAR_API void avatar_decoder_reset (AvatarDecoder *self);
/* From any thread; see avatar_audio_encoder_cancel(). */
AVATAR_API void avatar_decoder_cancel (AvatarDecoder *self);
AVATAR_API void avatar_decoder_free (AvatarDecoder *self);
/* (transfer none): what computes. */
AVATAR_API AvatarDevice *avatar_decoder_get_device (AvatarDecoder *self);
AVATAR_API void avatar_decoder_get_stats (AvatarDecoder *self, AvatarDecodeStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDecoder, avatar_decoder_free)

G_END_DECLS
