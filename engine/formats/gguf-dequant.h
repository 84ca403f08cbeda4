/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Number formats of GGUF files in which values are quantised in blocks. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_GGUF_MAX_VALUES 256 /* in a block */
#define AVATAR_GGUF_MAX_BYTES 210

/**
 * AvatarGgufBlock:
 * @type: number of the format in files
 * @name: name of the format in ggml
 * @values: number of values in a block
 * @bytes: size of a block
 * @expand: converts the block at @in to @values float32 values
 */
typedef struct
{
  guint type;
  const char *name;
  guint values, bytes;
  void (*expand) (float *out, const guint8 *in);
} AvatarGgufBlock;

/* Returns %NULL if @type is not a block format that is read. */
const AvatarGgufBlock *avatar_gguf_block (guint type);

G_END_DECLS
