/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaVA's eyes: CLIP's vision tower and the projector that turns what it sees into rows of a
 * language model (docs/dev/spec/vae-text-face-formats.md 2.3). */
#pragma once

#include "engine/image/clip-encoder.h"

#include <avatar/image.h>

G_BEGIN_DECLS

typedef struct
{
  AvatarOps *ops;
  const AvatarLlavaConfig *config;
  AvatarWeights *weights;
} AvatarVision;

/* Patches of the portrait. */
guint avatar_vision_patches (const AvatarLlavaConfig *config);
/* The portrait, an RGB picture of any shape, stretched to a square of 8-bit RGB pixels: what the
 * result depends on. Free with avatar_image_free(). */
AvatarImage *
avatar_vision_prepare (const AvatarLlavaConfig *config, const AvatarImage *image, GError **error);

/* x [1 + patches, vision hidden] float32 = hidden_states[0] of @square; %NULL in a plan. */
void avatar_vision_embed (const AvatarVision *self, AvatarTensor x, const AvatarImage *square);
/* Layer @i in place; all but the last one are run. */
void avatar_vision_layer (const AvatarVision *self, guint i, AvatarTensor x);
/* features [patches, hidden] float32 of x. */
void avatar_vision_project (const AvatarVision *self, AvatarTensor features, AvatarTensor x);

G_END_DECLS
