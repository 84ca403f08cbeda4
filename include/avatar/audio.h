/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

/**
 * SECTION:audio
 * @title: AvatarAudioEncoder
 * @short_description: first stage, from audio to features
 *
 * The encoder takes mono samples at the rate of the model (16 kHz), and makes one tensor of audio
 * features for each video frame (40 ms). It always computes on the CPU.
 *
 * One thread at a time may use an encoder. avatar_audio_encoder_cancel() may be called from any
 * thread.
 */

/**
 * AvatarAudioEncoder:
 *
 * Encoder of audio features, an opaque object that one owner frees.
 *
 * Since: 0.1
 */
typedef struct _AvatarAudioEncoder AvatarAudioEncoder;

/**
 * AvatarAudioSettings:
 * @window_frames: length of a window in video frames (40 ms). Features come out a window at a time,
 *   when the window and the look-ahead after it were pushed, so the latency is the sum of both. 0:
 *   the longest window, which with its context fills the 750 frames (30 s) that the model encodes
 *   at once, as upstream does
 * @context_frames: number of video frames before and after a window that are encoded with it, as
 *   far as they exist, so that windows join without a seam
 * @upstream_rounding: rounds the spectrogram to 16 bits, as upstream does
 * @lookahead_frames: number of video frames after a window that are encoded with it, if it differs
 *   from that before. 0: @context_frames; %AVATAR_AUDIO_NO_LOOKAHEAD: none
 * @first_window_frames: length of the first window of a stream in video frames. 0: @window_frames.
 *   A denoiser needs more features for its first window than for each later one
 *
 * Settings of an encoder. Fill them with avatar_audio_settings_init() first.
 *
 * Since: 0.1
 */
typedef struct _AvatarAudioSettings AvatarAudioSettings;
struct _AvatarAudioSettings
{
  guint window_frames;
  guint context_frames;
  gboolean upstream_rounding;
  gint lookahead_frames;
  guint first_window_frames;
  /*< private >*/
  gpointer _reserved[3];
};

/**
 * AVATAR_AUDIO_CONTEXT_DEFAULT:
 *
 * Default of the context of a window, in video frames.
 *
 * Since: 0.1
 */
#define AVATAR_AUDIO_CONTEXT_DEFAULT 25

/**
 * AVATAR_AUDIO_NO_LOOKAHEAD:
 *
 * Look-ahead of #AvatarAudioSettings for windows that do not wait for audio after them.
 *
 * Since: 0.1
 */
#define AVATAR_AUDIO_NO_LOOKAHEAD (-1)

/**
 * avatar_audio_settings_init:
 * @settings: (out caller-allocates): settings to fill
 * @model: a model
 *
 * Fills @settings with the defaults for @model. May be called from any thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_audio_settings_init (AvatarAudioSettings *settings, AvatarModel *model);

/**
 * avatar_audio_encoder_new:
 * @model: the model
 * @device: the device of the other stages. For a GPU, the encoder opens "cpu" as well
 * @settings: (nullable): the settings, which are copied; %NULL: the defaults
 * @error: return location for a #GError: #AVATAR_ERROR_SETTINGS, #AVATAR_ERROR_MEMORY, or
 *   #AVATAR_ERROR_READ if the weights cannot be read
 *
 * Makes an encoder, and loads its weights. It keeps references to @model and @device.
 *
 * Returns: (transfer full) (nullable): the encoder, to be freed with avatar_audio_encoder_free(),
 * or %NULL on error
 *
 * Since: 0.1
 */
AVATAR_API AvatarAudioEncoder *avatar_audio_encoder_new (AvatarModel *model, AvatarDevice *device,
    const AvatarAudioSettings *settings, GError **error);

/**
 * avatar_audio_encoder_push:
 * @self: an encoder
 * @samples: (array length=n_samples): mono samples from -1 to 1, at the sample rate of the model
 * @n_samples: number of samples
 * @error: return location for a #GError: #AVATAR_ERROR_DATA after
 *   avatar_audio_encoder_drain(), #AVATAR_ERROR_CANCELLED
 *
 * Appends samples, which are copied. Computes nothing. NaN and infinities become silence, and are
 * counted by avatar_audio_encoder_get_n_non_finite().
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_audio_encoder_push (AvatarAudioEncoder *self, const float *samples,
    gsize n_samples, GError **error);

/**
 * avatar_audio_encoder_get_n_ready:
 * @self: an encoder
 *
 * Called by the thread that pulls.
 *
 * Returns: feature tensors that avatar_audio_encoder_pull() returns without computing
 *
 * Since: 0.1
 */
AVATAR_API guint avatar_audio_encoder_get_n_ready (AvatarAudioEncoder *self);

/**
 * avatar_audio_encoder_is_due:
 * @self: an encoder
 *
 * Called by the thread that pulls.
 *
 * Returns: %TRUE if no features are ready and the next avatar_audio_encoder_pull() computes a
 *   window
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_audio_encoder_is_due (AvatarAudioEncoder *self);

/**
 * avatar_audio_encoder_pull:
 * @self: an encoder
 * @features: (out caller-allocates): the features of the next video frame,
 *   [feature_steps, feature_states, feature_channels] floats with the sizes of #AvatarModelInfo
 * @error: return location for a #GError: #AVATAR_ERROR_MEMORY, #AVATAR_ERROR_DEVICE,
 *   #AVATAR_ERROR_CANCELLED
 *
 * Takes the features of the next video frame. Encodes a window if one is complete and all features
 * before it were taken.
 *
 * Returns: %AVATAR_PULL_OK, %AVATAR_PULL_EMPTY if no features are ready, or %AVATAR_PULL_ERROR
 *
 * Since: 0.1
 */
AVATAR_API AvatarPull avatar_audio_encoder_pull (AvatarAudioEncoder *self, float *features,
    GError **error);

/**
 * avatar_audio_encoder_drain:
 * @self: an encoder
 * @error: return location for a #GError: #AVATAR_ERROR_CANCELLED
 *
 * Ends the audio. The rest is padded with silence to a whole video frame, and can be pulled.
 * Nothing may be pushed before the next avatar_audio_encoder_reset().
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_audio_encoder_drain (AvatarAudioEncoder *self, GError **error);

/**
 * avatar_audio_encoder_reset:
 * @self: an encoder
 *
 * Discards all samples and features, and starts a new stream. Ends a cancellation. Weights and
 * settings stay.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_audio_encoder_reset (AvatarAudioEncoder *self);

/**
 * avatar_audio_encoder_clear:
 * @self: an encoder
 *
 * Replaces all samples that were pushed and are still needed by silence of the same length,
 * including those that were encoded and serve as context. Features that are ready stay.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_audio_encoder_clear (AvatarAudioEncoder *self);

/**
 * avatar_audio_compute_silence:
 * @model: the model
 * @device: the device of the other stages
 * @features: (out caller-allocates): the features of one video frame,
 *   [feature_steps, feature_states, feature_channels] floats
 * @error: return location for a #GError: #AVATAR_ERROR_MEMORY, or #AVATAR_ERROR_READ if the weights
 *   of the audio encoder cannot be read
 *
 * Computes the features of a video frame within silence. They close the mouth; features of zeros do
 * not. Makes an encoder and frees it. May be called from any thread.
 *
 * Returns: %TRUE, or %FALSE on error
 *
 * Since: 0.1
 */
AVATAR_API gboolean avatar_audio_compute_silence (AvatarModel *model, AvatarDevice *device,
    float *features, GError **error);

/**
 * avatar_audio_encoder_cancel:
 * @self: an encoder
 *
 * Makes the running call, and all later ones until avatar_audio_encoder_reset(), fail with
 * #AVATAR_ERROR_CANCELLED. A running call returns within about 100 ms. May be called from any
 * thread.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_audio_encoder_cancel (AvatarAudioEncoder *self);

/**
 * avatar_audio_encoder_free:
 * @self: (nullable) (transfer full): an encoder
 *
 * Frees the encoder with all its memory. No other call may be running.
 *
 * Since: 0.1
 */
AVATAR_API void avatar_audio_encoder_free (AvatarAudioEncoder *self);

/**
 * avatar_audio_encoder_get_device:
 * @self: an encoder
 *
 * Gets the device that the encoder computes on. May be called from any thread.
 *
 * Returns: (transfer none): the device
 *
 * Since: 0.1
 */
AVATAR_API AvatarDevice *avatar_audio_encoder_get_device (AvatarAudioEncoder *self);

/**
 * avatar_audio_encoder_get_n_non_finite:
 * @self: an encoder
 *
 * Counts the samples that were not finite since the last reset.
 *
 * Returns: the number of samples
 *
 * Since: 0.1
 */
AVATAR_API guint64 avatar_audio_encoder_get_n_non_finite (AvatarAudioEncoder *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarAudioEncoder, avatar_audio_encoder_free)

G_END_DECLS
