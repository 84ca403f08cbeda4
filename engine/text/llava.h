/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaVA: a language model with the portrait among its inputs (Liu et al. 2023;
 * docs/dev/spec/vae-text-face-formats.md 2). */
#pragma once

#include "engine/image/vision.h"
#include "engine/text/encoding.h"
#include "engine/text/llama.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* Called after every part of the work. */
typedef void (*AvatarDoneFunc) (gpointer data);

/**
 * AvatarLlavaWeights: of all layers that are run
 * @list: their names, for avatar_weights_new(), in groups in the order of their use
 */
typedef struct
{
  AvatarVisionWeights vision;
  AvatarLlamaLayer *layers;
  AvatarWeightList *list;
} AvatarLlavaWeights;

/**
 * AvatarLlava:
 * @params: bound to @weights
 * @tensors: name -> AvatarTensorSource, for the embeddings of ids, which are not among @weights
 * @rope: see avatar_llama_begin()
 */
typedef struct
{
  const AvatarConfig *config;
  AvatarWeights *weights;
  const AvatarLlavaWeights *params;
  GHashTable *tensors;
  AvatarRopePrecision rope;
  AvatarDoneFunc done;
  gpointer done_data;
} AvatarLlava;

AvatarLlavaWeights *avatar_llava_weights_new (const AvatarLlavaConfig *config);
void avatar_llava_weights_free (AvatarLlavaWeights *self);
/* Free with g_free(). */
AvatarWeightSchedule *avatar_llava_weight_schedule (const AvatarLlavaConfig *config);
/* Fills the distinct rows of the states of @n prompts, which have room for all. @square: see
 * avatar_vision_prepare(); %NULL in a plan. FALSE with @error, or with the failure in @ops. */
gboolean avatar_llava_run (const AvatarLlava *self, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarLlavaWeights, avatar_llava_weights_free)

G_END_DECLS
