/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whisper's encoder, from the mel spectrogram to all hidden states (docs/dev/spec/denoise.md
 * 3.3). */
#pragma once

#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

typedef struct
{
  AvatarModuleWeights attention_norm, q, k, v, out, final_norm, fc1, fc2;
} AvatarWhisperLayer;

/**
 * AvatarWhisperWeights:
 * @conv1, @conv2: convolutions before the layers
 * @positions: position embeddings, added after the convolutions
 * @norm: norm after the last layer
 * @layers: the layers, their number is in the configuration
 * @list: names of all weights, for avatar_weights_new()
 */
typedef struct
{
  AvatarModuleWeights conv1, conv2, positions, norm;
  AvatarWhisperLayer *layers;
  AvatarWeightList *list;
} AvatarWhisperWeights;

/* Makes unbound weights. */
AvatarWhisperWeights *avatar_whisper_weights_new (const AvatarWhisperConfig *config);
void avatar_whisper_weights_free (AvatarWhisperWeights *self);

/* Computes @hidden [positions, layers + 1, width] from @mel [2 * positions, mels]. State 0 is the
 * input of the first layer, state i the output of layer i - 1; only the last state is normalised.
 * Failures are kept in @ops. */
void avatar_whisper_run (AvatarOps *ops, const AvatarWhisperConfig *config,
    const AvatarWhisperWeights *weights, AvatarTensor hidden, AvatarTensor mel);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWhisperWeights, avatar_whisper_weights_free)

G_END_DECLS
