/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stream of latent frames: audio features for the next windows, the position of the last
 * window, and latent frames that are ready to be pulled. Computes nothing. Not thread-safe. */
#pragma once

#include "engine/base/tensor.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Latents of a window: [channels, frames, h8, w8], row-major. */
typedef struct
{
  gint64 channels, frames, h8, w8;
} AvatarLatentShape;

/* Number of values of one channel of a latent frame, of a latent frame, and of a window. */
#define avatar_latent_shape_plane(s) ((gsize) ((s)->h8 * (s)->w8))
#define avatar_latent_shape_frame(s) ((gsize) (s)->channels * avatar_latent_shape_plane (s))
#define avatar_latent_shape_n(s) ((gsize) (s)->frames * avatar_latent_shape_frame (s))

/**
 * AvatarFeatureTrack: features of one speaker
 * @features: [frames, n_features], float32, of the video frames from @first_frame of the stream on
 * @pushed: video frames pushed since the last reset
 */
typedef struct
{
  GArray *features;
  guint64 pushed;
} AvatarFeatureTrack;

/**
 * AvatarLatentStream:
 * @shape: latents of a window
 * @n_features: floats of the features of one video frame
 * @tracks: [n_tracks], one for each speaker; the first one sets the length of the stream
 * @first_frame: first video frame whose features are kept
 * @drained: no more features will be pushed
 * @start: first latent frame of the last window
 * @emitted: latent frames added to @ready since the last reset
 * @n_windows: windows denoised since the last reset
 * @last_window: (nullable): latents of the last window, [channels, frames, h8, w8]; owned
 * @is_cut: the portrait has changed since the last window
 * @ready: latent frames [n, channels, h8, w8]; the first @ready_next were pulled
 */
typedef struct
{
  AvatarLatentShape shape;
  gsize n_features;
  AvatarFeatureTrack tracks[AVATAR_MAX_SPEAKERS];
  guint n_tracks;
  guint64 first_frame;
  gboolean drained;
  guint64 start, emitted;
  guint n_windows;
  float *last_window;
  gboolean is_cut;
  GArray *ready;
  gsize ready_next;
} AvatarLatentStream;

/* Makes an empty stream of @n_tracks speakers. Free with avatar_latent_stream_clear(). */
void avatar_latent_stream_init (AvatarLatentStream *self, const AvatarLatentShape *shape,
    gsize n_features, guint n_tracks);
void avatar_latent_stream_clear (AvatarLatentStream *self);
/* Drops all features and latents. */
void avatar_latent_stream_reset (AvatarLatentStream *self);
/* Adds the features [n_features] of one video frame to @track, rounded to @dtype. Returns FALSE
 * with AVATAR_ERROR_DATA if they are not finite or if the stream is drained. */
gboolean avatar_latent_stream_push (AvatarLatentStream *self, guint track, const float *features,
    AvatarDType dtype, GError **error);
/* Replaces the features of @n video frames of @track from @first on, as far as they are here, by
 * @features [n_features], rounded to @dtype. */
void avatar_latent_stream_replace (AvatarLatentStream *self, guint track, guint64 first, guint64 n,
    const float *features, AvatarDType dtype);
/* Returns the number of video frames that the first speaker has. */
guint64 avatar_latent_stream_pushed (const AvatarLatentStream *self);
/* Returns the features of video frame @frame of @track, NULL after the end of the audio. */
const float *
avatar_latent_stream_features (const AvatarLatentStream *self, guint track, guint64 frame);
/* Returns the number of latent frames that cover the video frames pushed. */
guint64 avatar_latent_stream_total (const AvatarLatentStream *self);
/* Returns the first latent frame of the next window, which shares @overlap frames with the last
 * one. The last window of a drained stream is moved back so that it ends with the stream. */
guint64 avatar_latent_stream_next_start (const AvatarLatentStream *self, guint overlap);
/* Returns TRUE if the features of the next window are complete. */
gboolean avatar_latent_stream_has_window (const AvatarLatentStream *self, AvatarDenoiseMode mode,
    guint overlap);
/* Returns the features of the window at @start: [n_tracks, 4 frames - 3, n_features], zeros after
 * the end of the audio (docs/dev/spec/denoise.md 3.4). Free with g_free(). */
float *avatar_latent_stream_audio (const AvatarLatentStream *self, guint64 start);
/* Adds latent frame @j of z [channels, @frames, h8, w8] to the ready frames. */
void avatar_latent_stream_emit (AvatarLatentStream *self, const float *z, gint64 frames, gint64 j);
/* Sets the last window, at @start, and drops the features before it. @z: (transfer full):
 * [channels, frames, h8, w8] */
void avatar_latent_stream_finish_window (AvatarLatentStream *self, float *z, guint64 start);
/* Advances the stream by @n latent frames, as if the last window had been that many frames later,
 * and drops the features before it. There must be a last window, and features up to its end. */
void avatar_latent_stream_skip (AvatarLatentStream *self, guint n);
/* Returns the number of ready latent frames. */
guint avatar_latent_stream_n_ready (const AvatarLatentStream *self);
/* Copies the next ready latent frame, of which there must be at least one. @latent: (out):
 * [channels, h8, w8] */
void avatar_latent_stream_pull (AvatarLatentStream *self, float *latent);

G_END_DECLS
