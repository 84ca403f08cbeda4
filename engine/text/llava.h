/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaVA: a language model whose input contains the portrait (Liu et al. 2023;
 * docs/dev/spec/vae-text-face-formats.md 2). */
#pragma once

#include "engine/image/vision.h"
#include "engine/text/encoding.h"
#include "engine/text/llama.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* Called after every weight group of a run. */
typedef void (*AvatarTextGroupFunc) (gpointer data);

/**
 * AvatarLlavaWeights:
 * @vision: weights of the vision tower
 * @layers: weights of the language model's layers that are run
 * @list: names of all of them, for avatar_weights_new(); groups are in the order of use
 */
typedef struct
{
  AvatarVisionWeights vision;
  AvatarLlamaLayer *layers;
  AvatarWeightList *list;
} AvatarLlavaWeights;

/**
 * AvatarLlava:
 * @config: configuration of the model
 * @weights: loaded weights
 * @params: handles, bound to @weights
 * @tensors: map from names to AvatarTensorSource; the embeddings of ids are read from it and are
 *   not in @weights
 * @rope: precision of the rotary embedding
 * @group_done: (nullable): called after every weight group
 * @group_data: passed to @group_done
 */
typedef struct
{
  const AvatarConfig *config;
  AvatarWeights *weights;
  const AvatarLlavaWeights *params;
  GHashTable *tensors;
  AvatarRopePrecision rope;
  AvatarTextGroupFunc group_done;
  gpointer group_data;
} AvatarLlava;

/* Makes unbound weights. */
AvatarLlavaWeights *avatar_llava_weights_new (const AvatarLlavaConfig *config);
void avatar_llava_weights_free (AvatarLlavaWeights *self);
/* Returns the order in which avatar_llava_run() uses the weight groups, to be freed with
 * g_free(). */
AvatarWeightSchedule *avatar_llava_weight_schedule (const AvatarLlavaConfig *config);
/* Computes the states of @n prompts: the first avatar_encoding_count_distinct() rows of their
 * @states.
 * @square: the portrait from avatar_vision_prepare(); NULL in a dry run
 * Returns FALSE with @error; failures of the device are in @ops. */
gboolean avatar_llava_run (const AvatarLlava *self, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarLlavaWeights, avatar_llava_weights_free)

G_END_DECLS
