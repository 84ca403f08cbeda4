/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a tokenizer.json, or as the tokenizer_config.json of a valid
 * tokenizer.json. An accepted tokenizer encodes a text. */
#include "tests/fuzz/target.h"

#include "engine/text/tokenizer.h"

static AvatarTokenizer *sound;

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  sound = avatar_tokenizer_new_llama (GOLDEN_DIR "/text/llama", NULL);
  g_assert (sound);
  return 0;
}

static void
try_config (const char *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  gboolean done = avatar_tokenizer_configure (sound, data, size, "fuzz", &error);

  g_assert (done == !error);
  g_assert (!done || (sound->bos >= 0 && (guint) sound->bos < avatar_tokenizer_get_n_ids (sound)));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static const char text[] = "abcab <l> ab  <r> 123'LL late\n\n \xc3\xa9<image>";
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) ids = g_array_new (FALSE, FALSE, sizeof (gint32));
  g_autoptr (AvatarTokenizer) t
      = avatar_tokenizer_parse_llama ((const char *) data, size, "fuzz", &error);

  g_assert (!t == !!error);
  try_config ((const char *) data, size);
  if (!t)
    return 0;
  avatar_tokenizer_encode (t, text, strlen (text), ids);
  g_assert (ids->len > 0 && ids->len <= strlen (text));
  for (guint i = 0; i < ids->len; i++)
    g_assert (g_array_index (ids, gint32, i) >= 0
        && (guint) g_array_index (ids, gint32, i) < avatar_tokenizer_get_n_ids (t));
  return 0;
}
