/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scale (alpha) of a LoRA that is not stored as a tensor, but in the metadata of its file or in
 * PEFT's adapter_config.json next to it. */
#pragma once

#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

/**
 * AvatarLoraAlpha: alphas of a file
 * @alpha, @rank: values for all modules; NaN if absent
 * @alphas, @ranks: (nullable): values for single modules, by the end of their names
 * @root: TRUE to divide by the square root of the rank
 * @folded: alpha that a converter multiplied into the matrices, which is not applied again; or NaN
 * @source: (nullable): origin of the values, for messages; %NULL if there are none
 */
typedef struct
{
  double alpha, rank;
  JsonObject *alphas, *ranks;
  gboolean root;
  double folded;
  char *source;
} AvatarLoraAlpha;

/* Names of the two matrices of a LoRA. */
typedef enum
{
  AVATAR_LORA_NAMES_UP_DOWN,
  AVATAR_LORA_NAMES_PEFT, /* lora_A and lora_B */
} AvatarLoraNames;

/* Reads the alphas of @file. Clear @self in any case.
 * @path: (nullable): path of @file; its folder is searched for adapter_config.json */
gboolean avatar_lora_alpha_read (AvatarLoraAlpha *self, AvatarTensorFile *file, const char *path,
    AvatarLoraNames names, GError **error);
/* Computes alpha / rank for @module.
 * @file: name of the file for errors
 * @own: alpha that is stored with the module, or NaN
 * @rank: rank of its matrices
 * @factor: (out): factor of the product of the matrices
 * Returns: FALSE with AVATAR_ERROR_MISMATCH or AVATAR_ERROR_FORMAT if the values contradict each
 * other. */
gboolean avatar_lora_alpha_get (const AvatarLoraAlpha *self, const char *file, const char *module,
    double own, gint64 rank, double *factor, GError **error);
void avatar_lora_alpha_clear (AvatarLoraAlpha *self);

G_END_DECLS
