/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stage 3: latent frames in, video frames out: 1 for the first latent, 4 for each further one. */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

typedef struct _AvatarDecoder AvatarDecoder;

/**
 * AvatarPixelFormat: of a video frame; the planes lie behind one another, without gaps
 * @AVATAR_PIXEL_FORMAT_RGB: [height, width, 3]
 * @AVATAR_PIXEL_FORMAT_I420: Y [height, width], U and V [height / 2, width / 2]
 * @AVATAR_PIXEL_FORMAT_NV12: Y [height, width], UV [height / 2, width / 2, 2]
 */
typedef enum
{
  AVATAR_PIXEL_FORMAT_RGB,
  AVATAR_PIXEL_FORMAT_I420,
  AVATAR_PIXEL_FORMAT_NV12,
} AvatarPixelFormat;

/**
 * AvatarPixels: how colours become bytes.
 * @kr, @kb: what red and blue count for brightness (0.299 and 0.114 in BT.601, 0.2126 and 0.0722 in
 *   BT.709); of no meaning for RGB
 * @full_range: brightness from 0 to 255 instead of 16 to 235
 * @cosited: a chroma value lies on the left column of the two that it is of, and is made of three (1, 2,
 *   1); else between them. In height it always lies between two rows
 * @upstream_rounding: colours are made 8-bit as upstream does it, in 16 bits and cut off rather than rounded
 */
typedef struct
{
  AvatarPixelFormat format;
  double kr, kb;
  gboolean full_range, cosited;
  gboolean upstream_rounding;
} AvatarPixels;

/**
 * AvatarDecodeSettings:
 * @tiling: decode in the overlapping tiles of HunyuanVideo-Avatar
 *   (hymm_sp/vae/autoencoder_kl_causal_3d.py); otherwise the whole stream at once after drain
 * @tile_size: side of a spatial tile in pixels, a multiple of 8 latents; 0 = the model's
 * @tile_frames: frames of a temporal tile, a multiple of 16; 0 = the model's
 * @overlap: neighbouring tiles share the n-th part of their length; 0 = 4, which is upstream's
 * @pixels: RGB at first
 */
typedef struct
{
  gboolean tiling;
  guint tile_size;
  guint tile_frames;
  guint overlap;
  AvatarPixels pixels;
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

/* Fewer and larger tiles that share an eighth, up to 512 pixels: faster, and seams less even; the
 * picture is not upstream's, because group norms see another part of it
 * (docs/measurements/performance.md has the difference). */
AVATAR_API void avatar_decode_settings_fast (AvatarDecodeSettings *settings, AvatarModel *model,
    guint width, guint height);

/* @width, @height: of the video in pixels, multiples of the model's latent_scale. Of memory it takes
 * what is left of the budget, down to a third of what it likes best; the frames are the same. */
AVATAR_API AvatarDecoder *avatar_decoder_new (AvatarModel *model, AvatarDevice *device, guint width,
    guint height, const AvatarDecodeSettings *settings, GError **error);
/* @latent: [channels, height / latent_scale, width / latent_scale] floats as the denoiser makes
 * them (scaled). Never computes. */
AVATAR_API gboolean avatar_decoder_push (AvatarDecoder *self, const float *latent, GError **error);
/* @planes: of the next frame, as many as the settings' format has, with room for rows of @strides
 * bytes. Decodes a tile when one is complete. */
AVATAR_API AvatarPull avatar_decoder_pull_planes (AvatarDecoder *self, guint8 *const *planes,
    const gsize *strides, GError **error);
/* The same for RGB: rows of @stride bytes, 3 bytes a pixel. */
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
