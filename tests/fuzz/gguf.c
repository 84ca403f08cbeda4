/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a GGUF file. Every tensor of an accepted file is read as a whole. */
#include "tests/fuzz/target.h"

#include "engine/formats/gguf.h"

#define PIECE 1024

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GBytes) bytes = g_bytes_new_static (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarGguf) gguf = avatar_gguf_open_bytes (bytes, "fuzz", &error);
  float piece[PIECE];

  g_assert (!gguf == !!error);
  for (guint i = 0; gguf && i < avatar_gguf_n (gguf); i++) {
    AvatarTensorSource t;

    g_assert (avatar_gguf_nth (gguf, i, &t));
    g_assert (avatar_tensor_source_stored_size (&t) <= size);
    for (guint64 at = 0; at < avatar_tensor_source_n (&t); at += PIECE)
      g_assert (avatar_tensor_source_read (&t, at, MIN (PIECE, avatar_tensor_source_n (&t) - at),
          piece, NULL));
  }
  return 0;
}
