/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The number formats of GGUF files in which values are quantised block by block. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_GGUF_MAX_VALUES 256 /* of a block */
#define AVATAR_GGUF_MAX_BYTES 210

/**
 * AvatarGgufBlock:
 * @type: its number in files; @name: as others call it
 * @values, @bytes: of a block
 * @expand: what the @bytes at @in are
 */
typedef struct
{
  guint type;
  const char *name;
  guint values, bytes;
  void (*expand) (float *out, const guint8 *in);
} AvatarGgufBlock;

/* %NULL: it is none. */
const AvatarGgufBlock *avatar_gguf_block (guint type);

G_END_DECLS
