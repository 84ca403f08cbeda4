/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the trainers of LoRAs call the transformer's modules. */
#pragma once

#include "engine/weights/config.h"

G_BEGIN_DECLS

/* Rows @row .. @row + @n_rows of the matrix of @module, out of the rows from @source_row of what a
 * file gives for the name. */
typedef struct
{
  char *module;
  gint64 row, n_rows, source_row, cols;
} AvatarLoraTarget;

/* Name -> GArray of AvatarLoraTarget; dotted names, and the same with underscores after
 * "lora_unet_". Built from the model's own modules, because underscores cannot be read backwards. */
GHashTable *avatar_lora_names_new (const AvatarConfig *config);

typedef enum
{
  AVATAR_LORA_DOWN,    /* A [rank, in] */
  AVATAR_LORA_UP,      /* B [out, rank] */
  AVATAR_LORA_ALPHA,   /* a number */
  AVATAR_LORA_DIFF,    /* [out, in] */
  AVATAR_LORA_DIFF_B,  /* [out], of the bias */
  AVATAR_LORA_REFUSED, /* of a kind that is not known */
  AVATAR_LORA_OTHER,
} AvatarLoraRole;

/* What @key stands for; *@name: of the module, without prefixes. Free with g_free(). */
AvatarLoraRole avatar_lora_parse_key (const char *key, char **name);

G_END_DECLS
