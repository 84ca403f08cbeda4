/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions of the audio encoder for the planner and the tests. */
#pragma once

#include "engine/base/stage-cost.h"
#include "engine/base/tensor.h"

#include <avatar/audio.h>

G_BEGIN_DECLS

/* Measures by a dry run the cost of encoding the audio of @frames video frames with default
 * settings. Returns FALSE with @error. */
gboolean avatar_audio_encoder_plan (AvatarModel *model, AvatarDevice *device, guint frames,
    AvatarStageCost *cost, GError **error);

/* Copies the features of video frame @frame of a window: @steps positions of @hidden [positions,
 * states, channels] to @features [steps, states, channels]. Positions before the first and after
 * the last are 0. */
void avatar_audio_features (AvatarTensor hidden, guint frame, guint steps, float *features);

G_END_DECLS
