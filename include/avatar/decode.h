/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * SECTION:decode
 * @title: AvatarDecoder
 * @short_description: third stage, from latent frames to video frames
 *
 * The decoder makes one video frame of the first latent frame, and four of each further one.
 *
 * One thread at a time may use a decoder. avatar_decoder_cancel() may be called from any thread.
 */

/**
 * AvatarDecoder:
 *
 * Decoder of latent frames, an opaque object that one owner frees.
 *
 * Since: 0.1
 */
typedef struct _AvatarDecoder AvatarDecoder;

/**
 * AvatarPixelFormat:
 * @AVATAR_PIXEL_FORMAT_RGB: one plane, [height, width, 3]
 * @AVATAR_PIXEL_FORMAT_I420: Y [height, width], U and V [height / 2, width / 2]
 * @AVATAR_PIXEL_FORMAT_NV12: Y [height, width], UV [height / 2, width / 2, 2]
 *
 * Layout of a video frame with 8 bits for each component.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_PIXEL_FORMAT_RGB,
  AVATAR_PIXEL_FORMAT_I420,
  AVATAR_PIXEL_FORMAT_NV12,
} AvatarPixelFormat;

/**
 * AvatarPixels:
 * @format: the pixel format
 * @kr: weight of red in luma: 0.299 in BT.601, 0.2126 in BT.709. Not used for RGB
 * @kb: weight of blue in luma: 0.114 in BT.601, 0.0722 in BT.709. Not used for RGB
 * @full_range: luma from 0 to 255 instead of 16 to 235
 * @cosited: the position of a chroma sample along a row: %TRUE: on the left one of its two columns,
 *   filtered from three columns (1, 2, 1); %FALSE: between the two. In height it always lies
 *   between two rows
 * @upstream_rounding: computes 8-bit values as upstream does, with 16-bit intermediates and
 *   truncation instead of rounding
 *
 * Conversion of decoded colours to bytes.
 *
 * Since: 0.1
 */
typedef struct _AvatarPixels AvatarPixels;
struct _AvatarPixels
{
  AvatarPixelFormat format;
  double kr, kb;
  gboolean full_range, cosited;
  gboolean upstream_rounding;
  /*< private >*/
  gpointer _reserved[4];
};

/**
 * AvatarTemporalTiles:
 * @AVATAR_TEMPORAL_TILES_OVERLAP: tiles of one length that overlap and are blended, as upstream's.
 *   A frame is complete when all latents of its tile have arrived
 * @AVATAR_TEMPORAL_TILES_GROUPS: groups of latents that do not overlap, each decoded at once after
 *   some latents of context from before it. A group ends at avatar_decoder_end_group(), or when it
 *   has the length of a tile. No frame waits for latents after its group
 *
 * Division of a stream of latents in time.
 *
 * Since: 0.1
 */
typedef enum
{
  AVATAR_TEMPORAL_TILES_OVERLAP,
  AVATAR_TEMPORAL_TILES_GROUPS,
} AvatarTemporalTiles;

/**
 * AvatarDecodeSettings:
 * @tiling: decodes in overlapping tiles, as upstream's autoencoder_kl_causal_3d.py does. Without
 *   tiling, the whole stream is decoded at once after avatar_decoder_drain()
 * @tile_size: side of a spatial tile in pixels, a multiple of 8 latents; 0: the default of the
 *   model
 * @tile_frames: length of a temporal tile in video frames, a multiple of 16; 0: the default of the
 *   model. With groups: the largest length of a group without its context, a multiple of 4
 * @overlap: neighbouring tiles share 1 / @overlap of their length; 0: 4, as upstream. Groups
 *   overlap in space only
 * @pixels: the pixel format of the frames; RGB by default
 * @temporal_tiles: division in time, if @tiling is %TRUE
 * @context_latents: number of latents before a group that are decoded again with it, at most 16;
 *   0: 2
 * @fade_frames: number of frames, at most 64, over which a jump of the picture at the start of a
 *   group is faded out; 0: it is not
 *
 * Settings of a decoder. Fill them with avatar_decode_settings_init() first.
 *
 * Since: 0.1
 */
typedef struct _AvatarDecodeSettings AvatarDecodeSettings;
struct _AvatarDecodeSettings
{
  gboolean tiling;
  guint tile_size;
  guint tile_frames;
  guint overlap;
  AvatarPixels pixels;
  AvatarTemporalTiles temporal_tiles;
  guint context_latents;
  guint fade_frames;
  /*< private >*/
  gpointer _reserved[2];
};

/**
 * AvatarDecodeStats:
 * @index: index of the tile or group, from 0
 * @latents: number of latent frames that it was decoded from, with context
 * @frames: number of video frames that it produced
 * @seconds: wall-clock time that it took
 *
 * Statistics of the temporal tile or group that was decoded last.
 *
 * Since: 0.1
 */
typedef struct _AvatarDecodeStats AvatarDecodeStats;
struct _AvatarDecodeStats
{
  guint index, latents, frames;
  double seconds;
  /*< private >*/
  gpointer _reserved[4];
};

/**
 * avatar_decode_settings_init:
 * @settings: (out caller-allocates): settings to fill
 * @model: a model
 *
 * Fills @settings with the defaults of @model, which are those of upstream. May be called from any
 * thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decode_settings_init (AvatarDecodeSettings *settings, AvatarModel *model);

/**
 * avatar_decode_settings_fast:
 * @settings: (inout): settings that avatar_decode_settings_init() filled
 * @model: the model
 * @width: width of the video in pixels
 * @height: height of the video in pixels
 *
 * Chooses fewer and larger tiles, of up to 512 pixels, that share an eighth of their length.
 * Decoding is faster, and seams are slightly more visible. The picture differs a little from
 * upstream's, since group normalisation covers larger tiles. May be called from any thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decode_settings_fast (AvatarDecodeSettings *settings, AvatarModel *model,
    guint width, guint height);

/**
 * avatar_decode_settings_stream:
 * @settings: (inout): settings that avatar_decode_settings_init() filled
 * @model: the model
 * @width: width of the video in pixels
 * @height: height of the video in pixels
 *
 * Chooses groups of latents instead of temporal tiles, for live use: no frame waits for latents
 * after its group. Spatial tiles are those of avatar_decode_settings_fast(). Group normalisation
 * covers a group and its context, so that the picture may change a little from group to group. May
 * be called from any thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decode_settings_stream (AvatarDecodeSettings *settings, AvatarModel *model,
    guint width, guint height);

/**
 * avatar_decoder_new:
 * @model: the model
 * @device: the device to compute on
 * @width: width of the video in pixels, a multiple of latent_scale of the model
 * @height: height of the video in pixels, a multiple of latent_scale of the model
 * @settings: the settings, which are copied
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS, #AVATAR_ERROR_MEMORY,
 *   #AVATAR_ERROR_READ
 *
 * Makes a decoder, and loads its weights. It takes what is left of the memory budget, up to its
 * preferred size and at least about a third of that. The frames are bit-identical in all cases. The
 * decoder keeps references to @model and @device.
 *
 * Returns: (transfer full) (nullable): the decoder, to be freed with avatar_decoder_free(), or
 * %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarDecoder *avatar_decoder_new (AvatarModel *model, AvatarDevice *device, guint width,
    guint height, const AvatarDecodeSettings *settings, GError **error);

/**
 * avatar_decoder_push:
 * @self: a decoder
 * @latent: one latent frame as avatar_denoiser_pull() returns it (scaled),
 *   [channels, height / latent_scale, width / latent_scale] floats
 * @error: return location for a #GError: #AVATAR_ERROR_DATA after avatar_decoder_drain(),
 *   #AVATAR_ERROR_CANCELLED
 *
 * Appends a latent frame, which is copied. Computes nothing.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_decoder_push (AvatarDecoder *self, const float *latent, GError **error);

/**
 * avatar_decoder_end_group:
 * @self: a decoder
 * @error: return location for a #GError: #AVATAR_ERROR_CANCELLED
 *
 * Ends a group: the latents that were pushed since the last end of a group are decoded without
 * waiting for more. Frames depend on the latents and on these calls, not on when frames are pulled.
 * Computes nothing, and has no effect with overlapping tiles, without tiling, or if nothing was
 * pushed.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_decoder_end_group (AvatarDecoder *self, GError **error);

/**
 * avatar_decoder_get_n_ready:
 * @self: a decoder
 *
 * Called by the thread that pulls.
 *
 * Returns: video frames that avatar_decoder_pull_planes() returns without computing
 *
 * Since: 0.1
 */
AVATAR_API guint avatar_decoder_get_n_ready (AvatarDecoder *self);

/**
 * avatar_decoder_is_due:
 * @self: a decoder
 *
 * Called by the thread that pulls.
 *
 * Returns: %TRUE if no frames are ready and the next avatar_decoder_pull_planes() decodes a tile or
 * a group
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_decoder_is_due (AvatarDecoder *self);

/**
 * avatar_decoder_set_deadline:
 * @self: a decoder
 * @deadline: monotonic time in microseconds (g_get_monotonic_time()) at which the video frames are
 *   needed; %G_MAXINT64, the default: nobody waits for them
 *
 * Sets the deadline for what is computed next. If several stages compute on one device, two at a
 * time do so, in the order of their deadlines. A stage without a deadline comes after all that
 * have one. Results do not depend on deadlines. Called by the thread that pulls.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decoder_set_deadline (AvatarDecoder *self, gint64 deadline);

/**
 * avatar_decoder_pull_planes:
 * @self: a decoder
 * @planes: memory for the planes of one frame, as many as the pixel format has
 * @strides: bytes from one row to the next, for each plane
 * @error: return location for a #GError: #AVATAR_ERROR_MEMORY, #AVATAR_ERROR_DEVICE,
 *   #AVATAR_ERROR_DATA, #AVATAR_ERROR_CANCELLED
 *
 * Takes the next video frame in the pixel format of the settings. Decodes a temporal tile or group
 * if one is complete and all frames before it were taken. A frame with NaN or infinities, of which
 * latents are the usual cause, is #AVATAR_ERROR_DATA.
 *
 * Returns: %AVATAR_PULL_OK, %AVATAR_PULL_EMPTY if no frame is ready, or %AVATAR_PULL_ERROR
 *
 * Since: 0.1
 */
AVATAR_API AvatarPull avatar_decoder_pull_planes (AvatarDecoder *self, guint8 *const *planes,
    const gsize *strides, GError **error);

/**
 * avatar_decoder_pull:
 * @self: a decoder whose pixel format is RGB
 * @rgb: (out caller-allocates): memory for one frame, [height, @stride] bytes
 * @stride: bytes from one row to the next, at least 3 * width
 * @error: return location for a #GError, as in avatar_decoder_pull_planes()
 *
 * Takes the next video frame, as avatar_decoder_pull_planes() does.
 *
 * Returns: %AVATAR_PULL_OK, %AVATAR_PULL_EMPTY if no frame is ready, or %AVATAR_PULL_ERROR
 *
 * Since: 0.1
 */
AVATAR_API AvatarPull avatar_decoder_pull (AvatarDecoder *self, guint8 *rgb, gsize stride,
    GError **error);

/**
 * avatar_decoder_drain:
 * @self: a decoder
 * @error: return location for a #GError: #AVATAR_ERROR_CANCELLED
 *
 * Ends the stream. The frames of all latents can be pulled. Nothing may be pushed before the next
 * avatar_decoder_reset().
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_decoder_drain (AvatarDecoder *self, GError **error);

/**
 * avatar_decoder_reset:
 * @self: a decoder
 *
 * Discards all latents and frames, and starts a new stream. Ends a cancellation.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decoder_reset (AvatarDecoder *self);

/**
 * avatar_decoder_cancel:
 * @self: a decoder
 *
 * Makes the running call, and all later ones until avatar_decoder_reset(), fail with
 * #AVATAR_ERROR_CANCELLED. A running call returns within about 100 ms. May be called from any
 * thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decoder_cancel (AvatarDecoder *self);

/**
 * avatar_decoder_free:
 * @self: (nullable) (transfer full): a decoder
 *
 * Frees the decoder with all its memory. No other call may be running.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decoder_free (AvatarDecoder *self);

/**
 * avatar_decoder_get_device:
 * @self: a decoder
 *
 * Gets the device that the decoder computes on. May be called from any thread.
 *
 * Returns: (transfer none): the device
 *
 * Since: 0.1
 */
AVATAR_API AvatarDevice *avatar_decoder_get_device (AvatarDecoder *self);

/**
 * avatar_decoder_get_stats:
 * @self: a decoder
 * @stats: (out caller-allocates): the statistics
 *
 * Gets the statistics of the temporal tile or group that was decoded last.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_decoder_get_stats (AvatarDecoder *self, AvatarDecodeStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDecoder, avatar_decoder_free)

G_END_DECLS
