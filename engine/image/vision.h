/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CLIP's vision tower, and the projector from its features to the rows of a language model
 * (docs/dev/spec/vae-text-face-formats.md 2.3). */
#pragma once

#include "engine/image/clip-encoder.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * AvatarVisionWeights:
 * @class_embedding, @patches, @positions, @pre_norm: weights of the embeddings
 * @projector1, @projector2: weights of the projector
 * @layers: the layers, avatar_vision_n_layers() of them
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

/* Returns the number of layers that are run: all except the last one. */
guint avatar_vision_n_layers (const AvatarLlavaConfig *config);
/* Returns the number of weight groups: embeddings, each layer, projector. */
guint avatar_vision_n_groups (const AvatarLlavaConfig *config);
/* Adds all weights to @list, in groups from 0 on. */
void avatar_vision_weights_init (AvatarVisionWeights *self, AvatarWeightList *list,
    const AvatarLlavaConfig *config);
void avatar_vision_weights_clear (AvatarVisionWeights *self);

/* Returns the number of patches of the portrait. */
guint avatar_vision_patches (const AvatarLlavaConfig *config);
/* Stretches the portrait, an RGB picture of any shape, to the square that the vision tower expects.
 *
 * Returns: (transfer full) (nullable): the square, 8-bit RGB, or NULL with AVATAR_ERROR_MEMORY */
AvatarImage *
avatar_vision_prepare (const AvatarLlavaConfig *config, const AvatarImage *image, GError **error);

/* Computes hidden_states[0], @x [1 + patches, vision.hidden] float32.
 * @square: the portrait from avatar_vision_prepare(); NULL in a dry run */
void avatar_vision_embed (const AvatarVision *self, AvatarTensor x, const AvatarImage *square);
/* Runs layer @i on @x in place. */
void avatar_vision_layer (const AvatarVision *self, guint i, AvatarTensor x);
/* Computes @features [patches, hidden] float32 from the last @x. */
void avatar_vision_project (const AvatarVision *self, AvatarTensor features, AvatarTensor x);

G_END_DECLS
