/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Helpers of the transformer's files: weight groups, vectors of the modulation, small networks.
 * Functions with @ops queue operations; errors are kept in @ops. */
#pragma once

#include "engine/denoise/transformer.h"
#include "engine/weights/module-ops.h"

G_BEGIN_DECLS

#define AVATAR_EPS 1e-6
#define AVATAR_EPS_AFFINE 1e-5

/**
 * AvatarWeightGroupKind: weight groups by the part of the network. The last seven kinds have one
 * group for each block; MOD_DOUBLE has two, image and text
 * @AVATAR_WEIGHT_GROUP_EMBED: embeddings of numbers and pooled text in the condition vector
 * @AVATAR_WEIGHT_GROUP_REFERENCE: embedding of the reference
 * @AVATAR_WEIGHT_GROUP_AUDIO: audio projection
 * @AVATAR_WEIGHT_GROUP_AUDIO_KV: keys and values of all adapters
 * @AVATAR_WEIGHT_GROUP_TEXT: embeddings of the refiner
 * @AVATAR_WEIGHT_GROUP_MOD_FINAL: modulation of the final layer
 * @AVATAR_WEIGHT_GROUP_TEXT_ATTENTION: attention of a refiner block
 * @AVATAR_WEIGHT_GROUP_TEXT_MLP: MLP of a refiner block
 * @AVATAR_WEIGHT_GROUP_MOD_DOUBLE: modulation of one stream of a double block
 * @AVATAR_WEIGHT_GROUP_MOD_SINGLE: modulation of a single block
 * @AVATAR_WEIGHT_GROUP_DOUBLE_IMG: image stream of a double block
 * @AVATAR_WEIGHT_GROUP_DOUBLE_TXT: text stream of a double block, and the adapter after the block
 * @AVATAR_WEIGHT_GROUP_SINGLE: single block
 */
typedef enum
{
  AVATAR_WEIGHT_GROUP_EMBED,
  AVATAR_WEIGHT_GROUP_REFERENCE,
  AVATAR_WEIGHT_GROUP_AUDIO,
  AVATAR_WEIGHT_GROUP_AUDIO_KV,
  AVATAR_WEIGHT_GROUP_TEXT,
  AVATAR_WEIGHT_GROUP_MOD_FINAL,
  AVATAR_WEIGHT_GROUP_TEXT_ATTENTION,
  AVATAR_WEIGHT_GROUP_TEXT_MLP,
  AVATAR_WEIGHT_GROUP_MOD_DOUBLE,
  AVATAR_WEIGHT_GROUP_MOD_SINGLE,
  AVATAR_WEIGHT_GROUP_DOUBLE_IMG,
  AVATAR_WEIGHT_GROUP_DOUBLE_TXT,
  AVATAR_WEIGHT_GROUP_SINGLE,
} AvatarWeightGroupKind;

/* Returns the index of group @i of @kind among all groups. */
guint avatar_transformer_weight_group (const AvatarTransformerConfig *config,
    AvatarWeightGroupKind kind, guint i);

/* Make the tensors of a group available to operations that are queued next, and allow their memory
 * to be reused after these. */
void avatar_transformer_acquire (AvatarTransformer *self, AvatarOps *ops,
    AvatarWeightGroupKind kind, guint i);
void avatar_transformer_release (AvatarTransformer *self, AvatarOps *ops,
    AvatarWeightGroupKind kind, guint i);
/* Calls the tap function, if there is one and this is not a dry run. */
void avatar_transformer_tap (AvatarTransformer *self, AvatarOps *ops, const char *name,
    AvatarTensor value);
/* Returns a weight [out, ...] as a matrix [out, in]. */
AvatarTensor avatar_as_matrix (AvatarTensor w);
/* Returns a vector [N] as [1, N]. */
AvatarTensor avatar_as_row (AvatarTensor v);
/* Computes y = fc2 (act (fc1 (x))), [n, out] of x [n, in]. */
void avatar_mlp (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarMlpWeights *mlp,
    AvatarAct act);
/* Computes tokens [T S, D] of x [C, T, h8, w8] float32 by the convolution @conv
 * (docs/dev/spec/denoise.md 2.5, step 3). */
void avatar_transformer_embed_patches (AvatarTransformer *self, AvatarOps *ops, AvatarTensor tokens,
    AvatarTensor x, const AvatarModuleWeights *conv);

typedef enum
{
  AVATAR_STREAM_IMAGE,
  AVATAR_STREAM_TEXT,
} AvatarStreamKind;

/* Return the offset of the first vector of a block in the modulation, in floats. A double block has
 * six vectors for each of its streams, a single block three, the final layer two. */
gint64
avatar_modulation_double (const AvatarTransformerConfig *config, guint i, AvatarStreamKind stream);
gint64 avatar_modulation_single (const AvatarTransformerConfig *config, guint i);
gint64 avatar_modulation_final (const AvatarTransformerConfig *config);

G_END_DECLS
