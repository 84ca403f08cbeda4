/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaVA: a language model that sees the portrait (Liu et al. 2023;
 * docs/dev/spec/vae-text-face-formats.md 2). */
#pragma once

#include "engine/image/vision.h"
#include "engine/text/encoding.h"

G_BEGIN_DECLS

/* Told of every part of the work that is done. */
typedef void (*AvatarDoneFunc) (gpointer data);

/* @tensors: name -> AvatarTensorSource, for the embeddings, which are not among @weights. @exact:
 * see avatar_llama_begin() */
typedef struct
{
  const AvatarConfig *config;
  AvatarWeights *weights;
  GHashTable *tensors;
  gboolean exact;
  AvatarDoneFunc done;
  gpointer done_data;
} AvatarLlava;

/* The parts in which the weights go to the device, in the order of their use, and how many. */
AvatarWeightGrouping avatar_llava_weight_groups (const AvatarLlavaConfig *config);
/* Free with g_free(). */
AvatarWeightSchedule *avatar_llava_weight_schedule (const AvatarLlavaConfig *config);
/* Fills the distinct rows of the states of @n prompts, which have room for all. @square: see
 * avatar_vision_prepare(); %NULL in a plan. FALSE with @error, or with the failure in @ops. */
gboolean avatar_llava_run (const AvatarLlava *self, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error);

G_END_DECLS
