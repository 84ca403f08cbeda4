/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the trainers of LoRAs call the transformer's modules. */
#pragma once

#include "engine/model/config.h"

G_BEGIN_DECLS

/* Rows @row .. @row + @n_rows of the weight of @module, out of the rows from @source_row of what a
 * file gives for the name. @cols: values of a row. @is_matrix: two factors can make it; @has_bias */
typedef struct
{
  char *module;
  gint64 row, n_rows, source_row, cols;
  gboolean is_matrix, has_bias;
} AvatarLoraTarget;

/* Name -> GArray of AvatarLoraTarget: with dots, and the same with underscores. Built from the model's
 * own modules, because underscores cannot be read backwards. */
GHashTable *avatar_lora_names_new (const AvatarConfig *config);

typedef enum
{
  AVATAR_LORA_DOWN,    /* A [rank, in] */
  AVATAR_LORA_UP,      /* B [out, rank] */
  AVATAR_LORA_ALPHA,   /* a number */
  AVATAR_LORA_DIFF,    /* [out, in] */
  AVATAR_LORA_DIFF_B,  /* [out], of the bias */
  AVATAR_LORA_REFUSED, /* of a kind that is not read */
  AVATAR_LORA_OTHER,
} AvatarLoraRole;

/* What @key stands for; *@name: of the module, as it is in the file. Free with g_free(). */
AvatarLoraRole avatar_lora_parse_key (const char *key, char **name);
/* What @name, with any prefixes in any order, is in @names; %NULL: nothing of the transformer's. @bare:
 * (out) (optional): @name without them */
GArray *avatar_lora_names_find (GHashTable *names, const char *name, const char **bare);
/* Whether @key, which has no role, is about a module of the transformer all the same. */
gboolean avatar_lora_names_touch (GHashTable *names, const char *key);

G_END_DECLS
