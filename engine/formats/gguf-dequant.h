/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Formats in which GGUF files store values that are quantised in blocks. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Maximum size of a block in values and in bytes. */
#define AVATAR_GGUF_MAX_VALUES 256
#define AVATAR_GGUF_MAX_BYTES 210

/**
 * AvatarGgufBlock: one block format
 * @type: number of the format in files
 * @name: name of the format in ggml
 * @values: number of values in a block
 * @bytes: size of a block (bytes)
 * @expand: converts the block at @in to @values float32 values
 */
typedef struct
{
  guint type;
  const char *name;
  guint values, bytes;
  void (*expand) (float *out, const guint8 *in);
} AvatarGgufBlock;

/* Returns: (transfer none) (nullable): the block format @type; %NULL if it is not supported. */
const AvatarGgufBlock *avatar_gguf_block (guint type);

G_END_DECLS
