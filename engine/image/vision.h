/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLIP's vision tower, and the projector from its features to rows of a language model
 * (docs/dev/spec/vae-text-face-formats.md 2.3). */
#pragma once

#include "engine/image/clip-encoder.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * AvatarVisionWeights:
 * @class_embedding, @patches, @positions, @pre_norm: in front of the layers
 * @layers: avatar_vision_n_layers() of them
 */
typedef struct
{
  AvatarModuleWeights class_embedding, patches, positions, pre_norm, projector1, projector2;
  AvatarTowerLayer *layers;
} AvatarVisionWeights;

typedef struct
{
  AvatarOps *ops;
  const AvatarLlavaConfig *config;
  const AvatarVisionWeights *weights;
} AvatarVision;

/* Layers that are run: all but the last one. */
guint avatar_vision_n_layers (const AvatarLlavaConfig *config);
/* Weight groups: embeddings, each layer, the projector. */
guint avatar_vision_n_groups (const AvatarLlavaConfig *config);
/* Adds all names to @list, in groups from 0 on. */
void avatar_vision_weights_init (AvatarVisionWeights *self, AvatarWeightList *list,
    const AvatarLlavaConfig *config);
void avatar_vision_weights_clear (AvatarVisionWeights *self);

/* Patches of the portrait. */
guint avatar_vision_patches (const AvatarLlavaConfig *config);
/* The portrait, an RGB picture of any shape, stretched to a square of 8-bit RGB pixels: what the
 * result depends on. Free with avatar_image_free(). */
AvatarImage *
avatar_vision_prepare (const AvatarLlavaConfig *config, const AvatarImage *image, GError **error);

/* x [1 + patches, vision hidden] float32 = hidden_states[0] of @square; %NULL in a plan. */
void avatar_vision_embed (const AvatarVision *self, AvatarTensor x, const AvatarImage *square);
/* Layer @i in place. */
void avatar_vision_layer (const AvatarVision *self, guint i, AvatarTensor x);
/* features [patches, hidden] float32 of x. */
void avatar_vision_project (const AvatarVision *self, AvatarTensor features, AvatarTensor x);

G_END_DECLS
