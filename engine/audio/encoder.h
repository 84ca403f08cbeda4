/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the planner asks the audio encoder. */
#pragma once

#include <avatar/audio.h>

G_BEGIN_DECLS

/* Runs the encoder's code over no memory: @weight_bytes for converted weights, @arena_bytes for
 * activations, and what one window costs in @flops and @bytes moved. All (out) (optional). */
gboolean avatar_audio_encoder_plan (AvatarModel *model, AvatarDevice *device, gsize *weight_bytes,
    gsize *arena_bytes, double *flops, double *bytes, GError **error);

G_END_DECLS
