/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a vocab.json, up to the first 0, and the rest as its merges.txt. */
#include "tests/fuzz/target.h"

#include "engine/text/tokenizer.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static const char text[] = "ABC abc ab<|endoftext|> 12 \xc3\xa9";
  const guint8 *end = memchr (data, 0, size);
  gsize length = end ? (gsize) (end - data) : size;
  const char *merges = end ? (const char *) end + 1 : "";
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) ids = g_array_new (FALSE, FALSE, sizeof (gint32));
  g_autoptr (AvatarTokenizer) t = avatar_tokenizer_parse_clip ((const char *) data, length, merges,
      end ? size - length - 1 : 0, "fuzz", &error);

  g_assert (!t == !!error);
  if (!t)
    return 0;
  avatar_tokenizer_encode (t, text, strlen (text), ids);
  g_assert (ids->len > 0 && ids->len <= strlen (text));
  for (guint i = 0; i < ids->len; i++)
    g_assert (g_array_index (ids, gint32, i) >= 0
        && (guint) g_array_index (ids, gint32, i) < avatar_tokenizer_get_n_ids (t));
  return 0;
}
