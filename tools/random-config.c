/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sections are changed as JSON, so that unknown members are kept. */
#include "tools/random-config.h"

#include "engine/text/tokenizer.h"
#include "tools/random-text.h"
#include "tools/random-tokenizer.h"

#include <string.h>

/* Ids of the prompt and of the text after it, if the configuration has byte embeddings. */
#define SMALL_PROMPT 64

GStrv
random_config_texts (const AvatarConfig *config)
{
  const AvatarTextConfig *c = &config->text;
  GStrv texts = g_new0 (char *, 4);

  texts[0] = g_strdup (c->template_head);
  texts[1] = g_strconcat (c->template_tail, c->suffix, NULL);
  texts[2] = g_strdup (c->quality);
  return texts;
}

/* Counts the ids before the prompt. Returns 0 with @error. The result does not depend on the
 * vocabulary beyond the texts around a prompt. */
static guint
count_head (const AvatarConfig *config, guint vocab, GError **error)
{
  g_auto (GStrv) texts = random_config_texts (config);
  const RandomTokenizerSizes sizes = { .vocab = vocab };
  g_auto (RandomTokenizer) random = random_tokenizer_llama (&sizes, (const char *const *) texts);
  g_autoptr (AvatarTokenizer) tokenizer
      = avatar_tokenizer_parse_llama (random.json, strlen (random.json), "tokenizer.json", error);

  if (tokenizer)
    avatar_tokenizer_configure (tokenizer, random.config, strlen (random.config), "", NULL);
  return tokenizer ? avatar_tokens_count_head (tokenizer, &config->text) : 0;
}

char *
random_config_with_text (const char *json, const AvatarConfig *config, RandomSizes kind,
    GError **error)
{
  LlavaSizes sizes = random_llava_sizes (config, kind);
  guint side = sizes.image / sizes.patch, head;
  g_autoptr (JsonNode) root = json_from_string (json, error);
  g_autofree char *between = NULL;
  g_autoptr (AvatarConfig) other = NULL;
  JsonObject *text;

  if (!root)
    return NULL;
  if (config->text.kind == AVATAR_TEXT_BYTES) {
    text = json_object_new ();
    json_object_set_string_member (text, "kind", "llava+clip");
    json_object_set_object_member (json_node_get_object (root), "text", text);
  }
  text = json_object_get_object_member (json_node_get_object (root), "text");
  json_object_set_int_member (text, "image_tokens", side * side);
  between = json_to_string (root, FALSE);
  other = avatar_config_parse (between, -1, "the configuration", error);
  head = other ? count_head (other, sizes.vocab, error) : 0;
  if (head == 0)
    return NULL;
  json_object_set_int_member (text, "crop_start", head);
  json_object_set_int_member (text, "max_length",
      head
          + (config->text.kind == AVATAR_TEXT_BYTES
                  ? SMALL_PROMPT
                  : config->text.max_length - config->text.crop_start));
  return json_to_string (root, TRUE);
}
