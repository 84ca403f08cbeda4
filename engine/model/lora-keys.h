/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of the transformer's modules in the files of the various LoRA trainers. */
#pragma once

#include "engine/model/config.h"

G_BEGIN_DECLS

/**
 * AvatarLoraTarget: rows of a weight to which a LoRA adds
 * @module: module of the weight
 * @row, @n_rows: first row in the weight, and number of rows
 * @source_row: first row in the tensor of the LoRA file
 * @cols: number of columns
 * @is_matrix: TRUE if the weight can be a product of two matrices
 * @has_bias: TRUE if the module has a bias
 */
typedef struct
{
  char *module;
  gint64 row, n_rows, source_row, cols;
  gboolean is_matrix, has_bias;
} AvatarLoraTarget;

/* Returns: (transfer full): table of name -> GArray of AvatarLoraTarget, with a second entry for
 * each name, written with underscores. The table is derived from the model's modules, because an
 * underscore in a file may stand for a dot or for itself. */
GHashTable *avatar_lora_names_new (const AvatarConfig *config);

typedef enum
{
  AVATAR_LORA_DOWN,    /* A [rank, in] */
  AVATAR_LORA_UP,      /* B [out, rank] */
  AVATAR_LORA_ALPHA,   /* number */
  AVATAR_LORA_DIFF,    /* [out, in] */
  AVATAR_LORA_DIFF_B,  /* bias, [out] */
  AVATAR_LORA_REFUSED, /* unsupported kind of adapter */
  AVATAR_LORA_OTHER,
} AvatarLoraRole;

/* Splits @key into its role and the name of the module.
 * @name: (out) (transfer full): name of the module as stored in the file */
AvatarLoraRole avatar_lora_parse_key (const char *key, char **name);
/* Looks @name up after removing any known prefixes.
 * @bare: (out) (optional): @name without prefixes
 * Returns: (transfer none) (nullable): the targets, or %NULL if the transformer has no such
 * module. */
GArray *avatar_lora_names_find (GHashTable *names, const char *name, const char **bare);
/* Returns: TRUE if @key, whose role is unknown, begins with the name of a transformer module. */
gboolean avatar_lora_names_touch (GHashTable *names, const char *key);

G_END_DECLS
