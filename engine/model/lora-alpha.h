/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Alphas that are not among a LoRA's tensors: in the metadata of its file, or in PEFT's
 * adapter_config.json beside it. */
#pragma once

#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/**
 * AvatarLoraAlpha:
 * @alpha, @rank: of all modules; NaN: not said
 * @alphas, @ranks: (nullable): of single ones, by the ends of their names
 * @root: divided by the root of the rank
 * @folded: a trainer's alpha, which a converter has multiplied in: it is not used
 * @source: (nullable): where it is from; %NULL: nothing is said
 */
typedef struct
{
  double alpha, rank;
  JsonObject *alphas, *ranks;
  gboolean root;
  double folded;
  char *source;
} AvatarLoraAlpha;

/* @path: (nullable): of the file, beside which a configuration may lie; @is_peft: matrices are called
 * lora_A and lora_B. Clear @self in any case. */
gboolean avatar_lora_alpha_read (AvatarLoraAlpha *self, AvatarTensorFile *file, const char *path,
    gboolean is_peft, GError **error);
/* What the product of the matrices of @module, which has @own alpha (NaN: none), is multiplied by. */
gboolean avatar_lora_alpha_get (const AvatarLoraAlpha *self, const char *file, const char *module,
    double own, gint64 rank, double *factor, GError **error);
void avatar_lora_alpha_clear (AvatarLoraAlpha *self);

G_END_DECLS
