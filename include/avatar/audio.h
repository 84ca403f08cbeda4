/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stage 1: 16 kHz mono samples in, one feature tensor per video frame out. */
#pragma once

#include <avatar/device.h>
#include <avatar/model.h>

G_BEGIN_DECLS

typedef struct _AvatarAudioEncoder AvatarAudioEncoder;

/**
 * AvatarAudioSettings:
 * @window_frames: video frames (40 ms) that are answered at once, when they and @context_frames frames after
 *   them have been heard: the latency is @window_frames + @context_frames. 0: as many as fit in the most that
 *   the model can hear (750 frames = 30 s, context included), as upstream does
 * @context_frames: video frames heard before and after the window as well, where there are any, so that
 *   windows join without a seam
 * @upstream_rounding: the spectrogram is rounded to 16 bits, as upstream's is
 */
typedef struct
{
  guint window_frames;
  guint context_frames;
  gboolean upstream_rounding;
} AvatarAudioSettings;

#define AVATAR_AUDIO_CONTEXT_DEFAULT 25

/* For a @device that is a GPU it computes on the CPU. */
AVATAR_API AvatarAudioEncoder *avatar_audio_encoder_new (AvatarModel *model, AvatarDevice *device,
    const AvatarAudioSettings *settings, GError **error);
/* @samples: mono, -1..1 at the model's rate; NaN and infinities become silence and are counted. */
AVATAR_API gboolean avatar_audio_encoder_push (AvatarAudioEncoder *self, const float *samples,
    gsize n_samples, GError **error);
/* @features: room for one frame, [steps, states, channels] floats. May compute a window. */
AVATAR_API AvatarPull avatar_audio_encoder_pull (AvatarAudioEncoder *self, float *features,
    GError **error);
/* The audio ends here: what is left is padded to a whole frame and becomes ready to pull. Push
 * nothing more before avatar_audio_encoder_reset(). */
AVATAR_API gboolean avatar_audio_encoder_drain (AvatarAudioEncoder *self, GError **error);
AVATAR_API void avatar_audio_encoder_reset (AvatarAudioEncoder *self);
/* From any thread: a running call returns AVATAR_ERROR_CANCELLED within 100 ms, and so do later
 * ones, until avatar_audio_encoder_reset(). */
AVATAR_API void avatar_audio_encoder_cancel (AvatarAudioEncoder *self);
AVATAR_API void avatar_audio_encoder_free (AvatarAudioEncoder *self);
/* (transfer none): what computes. */
AVATAR_API AvatarDevice *avatar_audio_encoder_get_device (AvatarAudioEncoder *self);
/* Samples that were not finite since the last reset. */
AVATAR_API guint64 avatar_audio_encoder_get_n_bad_samples (AvatarAudioEncoder *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarAudioEncoder, avatar_audio_encoder_free)

G_END_DECLS
