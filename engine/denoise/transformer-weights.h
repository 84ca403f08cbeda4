/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Handles of the transformer's weights, by block (docs/dev/spec/denoise.md 2.1). */
#pragma once

#include "engine/model/config.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

/* MLP: two linear layers with an activation between them. */
typedef struct
{
  AvatarModuleWeights fc1, fc2;
} AvatarMlpWeights;

/* Stream of a double block: image or text. */
typedef struct
{
  AvatarModuleWeights mod, qkv, q_norm, k_norm, proj;
  AvatarMlpWeights mlp;
} AvatarStreamWeights;

typedef struct
{
  AvatarStreamWeights img, txt;
} AvatarDoubleBlock;

/* @linear1: q, k, v and the first layer of the MLP; @linear2: projection of attention and second
 * layer of the MLP */
typedef struct
{
  AvatarModuleWeights modulation, linear1, q_norm, k_norm, linear2;
} AvatarSingleBlock;

typedef struct
{
  AvatarModuleWeights norm1, norm2, to_q, to_kv, to_out;
} AvatarAudioAdapter;

typedef struct
{
  AvatarModuleWeights norm1, norm2, modulation, qkv, proj;
  AvatarMlpWeights mlp;
} AvatarRefinerBlock;

/* Embeddings of the refiner: text states, their mean, and time. */
typedef struct
{
  AvatarModuleWeights input;
  AvatarMlpWeights mean, time;
} AvatarRefinerInput;

/**
 * AvatarTransformerWeights:
 * @img_in, @ref_in: patch embeddings; @before_proj: projection of the reference's patches
 * @time_in, @vector_in, @motion_exp, @motion_pose, @fps_proj: embeddings in the condition vector
 * @audio_proj, @audio_norm: audio projection
 * @final_modulation, @final_linear: the final layer
 * @double_blocks, @single_blocks, @adapters, @refiner: arrays of the lengths in the configuration
 * @list: names of all weights, for avatar_weights_new()
 */
typedef struct
{
  AvatarModuleWeights img_in, ref_in, before_proj;
  AvatarMlpWeights time_in, vector_in, motion_exp, motion_pose, fps_proj;
  AvatarModuleWeights audio_proj[3], audio_norm;
  AvatarRefinerInput refiner_input;
  AvatarModuleWeights final_modulation, final_linear;
  AvatarDoubleBlock *double_blocks;
  AvatarSingleBlock *single_blocks;
  AvatarAudioAdapter *adapters;
  AvatarRefinerBlock *refiner;
  AvatarWeightList *list;
} AvatarTransformerWeights;

/* Makes the handles, which are unbound until avatar_weights_new() opens the list. */
AvatarTransformerWeights *avatar_transformer_weights_new (const AvatarTransformerConfig *config);
/* Frees the handles. @self may be %NULL. */
void avatar_transformer_weights_free (AvatarTransformerWeights *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTransformerWeights, avatar_transformer_weights_free)

G_END_DECLS
