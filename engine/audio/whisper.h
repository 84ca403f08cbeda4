/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whisper's encoder: mel spectrogram in, all hidden states out (docs/dev/spec/denoise.md 3.3). */
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
 * @positions: of the embeddings, added after the convolutions
 * @layers: as many as the configuration has
 * @list: names of all of them, for avatar_weights_new()
 */
typedef struct
{
  AvatarModuleWeights conv1, conv2, positions, norm;
  AvatarWhisperLayer *layers;
  AvatarWeightList *list;
} AvatarWhisperWeights;

AvatarWhisperWeights *avatar_whisper_weights_new (const AvatarWhisperConfig *config);
void avatar_whisper_weights_free (AvatarWhisperWeights *self);

/* @hidden [positions, layers + 1, width] of @mel [2 * positions, mels]. State 0 is the input of
 * the first layer, state i the output of layer i - 1; only the last is normalised. */
void avatar_whisper_run (AvatarOps *ops, const AvatarWhisperConfig *config,
    const AvatarWhisperWeights *weights, AvatarTensor hidden, AvatarTensor mel);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWhisperWeights, avatar_whisper_weights_free)

G_END_DECLS
