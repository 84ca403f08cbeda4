/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a safetensors file. Every tensor of a table that is accepted is read
 * from end to end, so that a view outside the file shows. */
#include "tests/fuzz/target.h"

#include "engine/formats/safetensors.h"

static volatile guint8 sum; /* keeps the reads */

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file = avatar_safetensors_open_bytes (bytes, "fuzz", &error);
  GHashTableIter iter;
  gpointer name, reason;

  g_assert (!file == !!error);
  if (!file)
    return 0;
  for (guint i = 0; i < avatar_safetensors_n (file); i++) {
    AvatarTensorSource tensor, same;
    const char *key = avatar_safetensors_nth (file, i, &tensor);
    gsize length = avatar_tensor_source_size (&tensor);
    g_autofree guint8 *values = g_malloc (MAX (length, 1));

    g_assert (avatar_safetensors_get (file, key, &same));
    g_assert (avatar_tensor_source_read_stored (&tensor, 0, avatar_tensor_source_n (&tensor),
        values, NULL));
    for (gsize j = 0; j < length; j++)
      sum += values[j];
  }
  g_hash_table_iter_init (&iter, avatar_safetensors_get_unusable (file));
  while (g_hash_table_iter_next (&iter, &name, &reason))
    g_assert (reason && g_utf8_validate (reason, -1, NULL) && g_utf8_validate (name, -1, NULL));
  return 0;
}
