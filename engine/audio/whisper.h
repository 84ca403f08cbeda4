/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whisper's encoder: mel spectrogram in, all hidden states out (docs/dev/spec/denoise.md 3.3). */
#pragma once

#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* @hidden [positions, layers + 1, width] of @mel [2 * positions, mels]. State 0 is the input of
 * the first layer, state i the output of layer i - 1; only the last is normalised. */
void avatar_whisper_run (AvatarOps *ops, const AvatarWhisperConfig *config, AvatarWeights *weights,
    AvatarTensor hidden, AvatarTensor mel);

G_END_DECLS
