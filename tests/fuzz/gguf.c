/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a GGUF file. Every tensor of what is accepted is read from end to end. */
#include "tests/fuzz/target.h"

#include "engine/formats/gguf.h"
#include "engine/formats/mapped-file.h"

#define PIECE 4096

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarGguf) gguf = avatar_gguf_open_bytes (bytes, "fuzz", &error);
  guint8 piece[PIECE];

  g_assert (!gguf == !!error);
  for (guint i = 0; gguf && i < avatar_gguf_n (gguf); i++) {
    AvatarTensor t;

    g_assert (avatar_gguf_nth (gguf, i, &t));
    /* inside the file, or nowhere near it */
    if ((const guint8 *) t.data >= data && (const guint8 *) t.data < data + size)
      g_assert (avatar_tensor_bytes (t) <= (gsize) (data + size - (const guint8 *) t.data));
    for (gsize at = 0; at < avatar_tensor_bytes (t); at += PIECE)
      g_assert (avatar_mapped_read (piece, (guint8 *) t.data + at,
          MIN (PIECE, avatar_tensor_bytes (t) - at)));
  }
  return 0;
}
