/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a prompt of both tokenizers. The tokens of LLaMA's tokenizer spell
 * all bytes of a text, and every prompt keeps the token of the portrait. */
#include "tests/fuzz/target.h"

#include "engine/text/clip-text-normalize.h"
#include "engine/text/tokenizer.h"
#include "engine/model/config-released.h"

static AvatarTokenizer *llama, *clip;
static AvatarConfig *config;
static guint *lengths; /* bytes of each of LLaMA's tokens; 0 of added ones */

static void
measure_tokens (const char *folder)
{
  g_autofree char *path = g_build_filename (folder, "tokenizer.json", NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  JsonObject *model;
  JsonObjectIter iter;
  const char *name;
  JsonNode *id;

  g_assert (json_parser_load_from_file (parser, path, NULL));
  model = json_object_get_object_member (json_node_get_object (json_parser_get_root (parser)),
      "model");
  lengths = g_new0 (guint, avatar_tokenizer_get_n_ids (llama));
  json_object_iter_init (&iter, json_object_get_object_member (model, "vocab"));
  while (json_object_iter_next (&iter, &name, &id))
    lengths[json_node_get_int (id)] = g_utf8_strlen (name, -1); /* one character a byte */
}

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  llama = avatar_tokenizer_new_llama (GOLDEN_DIR "/text/llama", NULL);
  clip = avatar_tokenizer_new_clip (GOLDEN_DIR "/text/clip", NULL);
  g_assert (llama && clip);
  measure_tokens (GOLDEN_DIR "/text/llama");
  config = avatar_config_released ();
  for (config->text.crop_start = 1;; config->text.crop_start++) {
    g_auto (AvatarLlavaTokens) tokens = { 0 };

    if (avatar_tokens_llava (llama, &config->text, "", AVATAR_PROMPT_NEGATIVE, &tokens, NULL))
      break;
    config->text.max_length = config->text.crop_start + 40;
  }
  return 0;
}

static void
check_bytes (const char *text, gsize n)
{
  g_autoptr (GArray) ids = g_array_new (FALSE, FALSE, sizeof (gint32));
  gsize sum = 0;

  avatar_tokenizer_encode (llama, text, n, ids);
  for (guint i = 0; i < ids->len; i++) {
    guint length = lengths[g_array_index (ids, gint32, i)];

    if (length == 0)
      return; /* an added token, which may have taken white space with it */
    sum += length;
  }
  g_assert (sum == n);
}

static void
check_clean (const char *text, gsize n)
{
  g_autofree char *clean = avatar_clip_normalize (text, n);
  g_autofree char *again = avatar_clip_normalize (clean, strlen (clean));

  g_assert (g_utf8_validate (clean, -1, NULL));
  g_assert (
      !strstr (clean, "  ") && !g_str_has_prefix (clean, " ") && !g_str_has_suffix (clean, " "));
  g_assert (g_utf8_validate (again, -1, NULL));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autofree char *prompt = g_strndup ((const char *) data, size);
  gboolean valid = g_utf8_validate (prompt, -1, NULL);
  AvatarPromptKind kind = size % 2;
  g_auto (AvatarLlavaTokens) l = { 0 };
  g_auto (AvatarClipTokens) c = { 0 };
  g_autoptr (GError) error = NULL;

  if (avatar_tokens_llava (llama, &config->text, prompt, kind, &l, &error)) {
    g_assert (valid && l.n <= l.length && (!l.dropped || l.n == l.length));
    g_assert (l.ids[0] == llama->bos);
    g_assert (l.ids[l.n - 1] == avatar_tokenizer_find (llama, "<image>"));
  } else {
    g_assert (error && (!valid || strstr (error->message, "portrait")));
  }
  g_assert (avatar_tokens_clip (clip, &config->text, prompt, kind, &c, NULL) == valid);
  if (!valid)
    return 0;
  g_assert (c.n == 77 && c.eos < 77 && c.ids[c.eos] == clip->eos);
  check_bytes (prompt, strlen (prompt));
  check_clean (prompt, strlen (prompt));
  return 0;
}
