/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared by the transformer's files: weight groups, vectors of the modulation, small networks. */
#pragma once

#include "engine/denoise/transformer.h"
#include "engine/weights/module-ops.h"

G_BEGIN_DECLS

#define AVATAR_EPS 1e-6
#define AVATAR_EPS_AFFINE 1e-5

/* Units, by what they belong to. @i: which block, adapter, ... */
typedef enum
{
  AVATAR_WEIGHT_GROUP_EMBED,     /* numbers and pooled text to the condition vector */
  AVATAR_WEIGHT_GROUP_REFERENCE, /* reference tokens */
  AVATAR_WEIGHT_GROUP_AUDIO,     /* audio projection */
  AVATAR_WEIGHT_GROUP_AUDIO_KV,  /* keys and values of all adapters */
  AVATAR_WEIGHT_GROUP_TEXT,      /* the refiner's embedders */
  AVATAR_WEIGHT_GROUP_MOD_FINAL, /* modulation of the final layer */
  AVATAR_WEIGHT_GROUP_TEXT_ATTENTION,
  AVATAR_WEIGHT_GROUP_TEXT_MLP,
  AVATAR_WEIGHT_GROUP_MOD_DOUBLE, /* two of a block: image, text */
  AVATAR_WEIGHT_GROUP_MOD_SINGLE,
  AVATAR_WEIGHT_GROUP_DOUBLE_IMG,
  AVATAR_WEIGHT_GROUP_DOUBLE_TXT, /* and the adapter after the block */
  AVATAR_WEIGHT_GROUP_SINGLE,
} AvatarWeightGroupKind;

guint avatar_transformer_weight_group (const AvatarTransformerConfig *config,
    AvatarWeightGroupKind kind, guint i);

void avatar_transformer_acquire (AvatarTransformer *self, AvatarOps *ops,
    AvatarWeightGroupKind kind, guint i);
void avatar_transformer_release (AvatarTransformer *self, AvatarOps *ops,
    AvatarWeightGroupKind kind, guint i);
void avatar_transformer_tap (AvatarTransformer *self, AvatarOps *ops, const char *name,
    AvatarTensor value);
/* A weight of any shape as a matrix [out, in]. */
AvatarTensor avatar_as_matrix (AvatarTensor w);
/* A vector [N] as [1, N]. */
AvatarTensor avatar_as_row (AvatarTensor v);
/* y = fc2 (act (fc1 (x))) */
void avatar_mlp (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarMlpWeights *mlp,
    AvatarAct act);
/* tokens [T S, D] of x [C, T, h8, w8] float32 by the convolution @conv
 * (docs/dev/spec/denoise.md 2.5, step 3) */
void avatar_transformer_embed_patches (AvatarTransformer *self, AvatarOps *ops, AvatarTensor tokens,
    AvatarTensor x, const AvatarModuleWeights *conv);

typedef enum
{
  AVATAR_STREAM_IMAGE,
  AVATAR_STREAM_TEXT,
} AvatarStreamKind;

/* Where the vectors of a block begin among the floats of the modulation: six for the image
 * stream and six for the text stream of a double block, three of a single one, two at the end. */
gint64
avatar_modulation_double (const AvatarTransformerConfig *config, guint i, AvatarStreamKind stream);
gint64 avatar_modulation_single (const AvatarTransformerConfig *config, guint i);
gint64 avatar_modulation_final (const AvatarTransformerConfig *config);

G_END_DECLS
