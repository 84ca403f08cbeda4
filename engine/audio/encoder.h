/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the planner, and tests, ask the audio encoder. */
#pragma once

#include "engine/base/tensor.h"

#include <avatar/audio.h>

G_BEGIN_DECLS

/* Runs the encoder's code over no memory: @weight_bytes for converted weights, @arena_bytes for
 * activations, and what all windows of @frames video frames cost in @flops and @bytes moved, with
 * default settings. All (out) (optional). */
gboolean avatar_audio_encoder_plan (AvatarModel *model, AvatarDevice *device, guint frames,
    guint64 *weight_bytes, guint64 *arena_bytes, double *flops, double *bytes, GError **error);

/* The @steps hidden states [steps, states, channels] that video frame @frame of a window hears, of
 * @hidden [positions, states, channels]; zeros before the first position and after the last. */
void avatar_audio_features (AvatarTensor hidden, guint frame, guint steps, float *features);

G_END_DECLS
