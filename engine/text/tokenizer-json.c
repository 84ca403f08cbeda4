/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaMA-3's tokenizer: tokenizer.json as the library tokenizers writes it. Whatever there changes ids,
 * and is not as LLaMA-3 has it, is refused by name. */
#include "engine/text/split.h"
#include "engine/text/tokenizer.h"

#include <string.h>

#define MAX_FILE (48u << 20) /* the released one: 9 MiB; with lists for merges 17 MiB */
#define MAX_VALUES 1200000u  /* values of JSON; the released one: 0.4 million, or 1.0 with lists */
#define BOS "<|begin_of_text|>"

/* ----------------------------------------------------------------------------- reading by name */

static gboolean
refuse (const AvatarTokenizer *self, const char *what, const char *expected, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: its %s is not that of LLaMA-3, which alone is implemented; expected %s", self->name,
      what, expected);
  return FALSE;
}

/* NULL: not there, or null. */
static JsonNode *
find (JsonObject *object, const char *key)
{
  JsonNode *node = object ? json_object_get_member (object, key) : NULL;

  return node && !JSON_NODE_HOLDS_NULL (node) ? node : NULL;
}

static JsonObject *
as_object (JsonNode *node)
{
  return node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static JsonArray *
as_array (JsonNode *node)
{
  return node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

/* NULL: no string. */
static const char *
as_text (JsonNode *node)
{
  return node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
}

static gboolean
is_text (JsonObject *object, const char *key, const char *value)
{
  return g_strcmp0 (as_text (find (object, key)), value) == 0;
}

/* Of an optional member; -1: it is neither true nor false. */
static int
flag_of (JsonObject *object, const char *key, gboolean otherwise)
{
  JsonNode *node = find (object, key);

  if (!node)
    return otherwise;
  if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_BOOLEAN)
    return -1;
  return json_node_get_boolean (node) ? 1 : 0;
}

/* -------------------------------------------------------------------------------- what is around */

/* Split by LLaMA-3's expression, then bytes. */
static gboolean
check_pre_tokenizer (AvatarTokenizer *self, JsonObject *root, GError **error)
{
  JsonObject *all = as_object (find (root, "pre_tokenizer"));
  JsonArray *list = as_array (find (all, "pretokenizers"));
  JsonObject *split = NULL, *bytes = NULL;

  if (list && json_array_get_length (list) == 2) {
    split = as_object (json_array_get_element (list, 0));
    bytes = as_object (json_array_get_element (list, 1));
  }
  if (!is_text (all, "type", "Sequence") || !is_text (split, "type", "Split")
      || !is_text (split, "behavior", "Isolated") || flag_of (split, "invert", FALSE) != FALSE
      || !is_text (bytes, "type", "ByteLevel") || flag_of (bytes, "add_prefix_space", TRUE) != FALSE
      || flag_of (bytes, "use_regex", TRUE) != FALSE)
    return refuse (self, "pre_tokenizer",
        "a sequence of Split (Isolated) and ByteLevel without prefix space and regex", error);
  if (!is_text (as_object (find (split, "pattern")), "Regex", avatar_split_llama_regex))
    return refuse (self, "pre_tokenizer's regular expression", avatar_split_llama_regex, error);
  return TRUE;
}

static gboolean
check_rest (AvatarTokenizer *self, JsonObject *root, JsonObject *model, GError **error)
{
  JsonNode *prefix = find (model, "continuing_subword_prefix");
  JsonNode *suffix = find (model, "end_of_word_suffix");

  if (find (root, "normalizer"))
    return refuse (self, "normalizer", "null", error);
  if (!is_text (as_object (find (root, "decoder")), "type", "ByteLevel"))
    return refuse (self, "decoder", "ByteLevel", error);
  if (!model || (find (model, "type") && !is_text (model, "type", "BPE")))
    return refuse (self, "model", "one of type BPE", error);
  if (find (model, "dropout") || (prefix && g_strcmp0 (as_text (prefix), "") != 0)
      || (suffix && g_strcmp0 (as_text (suffix), "") != 0)
      || flag_of (model, "byte_fallback", FALSE) != FALSE
      || flag_of (model, "ignore_merges", FALSE) < 0)
    return refuse (self, "model",
        "no dropout, continuing_subword_prefix, end_of_word_suffix and byte_fallback", error);
  return TRUE;
}

/* ---------------------------------------------------------------------------------------- tables */

static gboolean
read_vocabulary (AvatarTokenizer *self, JsonObject *model, GError **error)
{
  JsonObject *vocabulary = as_object (find (model, "vocab"));
  JsonObjectIter iter;
  const char *name;
  JsonNode *id;

  if (!vocabulary) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: \"model.vocab\" is missing; expected an object of tokens and ids", self->name);
    return FALSE;
  }
  json_object_iter_init (&iter, vocabulary);
  while (json_object_iter_next (&iter, &name, &id))
    if (!avatar_tokenizer_add (self, name, id, error))
      return FALSE;
  return avatar_tokenizer_finish (self, error);
}

/* "a b", or ["a", "b"] in newer files. FALSE: neither. */
static gboolean
read_merge (JsonNode *node, char **left, char **right)
{
  JsonArray *pair = as_array (node);
  const char *text = as_text (node), *space = text ? strchr (text, ' ') : NULL;

  if (pair && json_array_get_length (pair) == 2) {
    *left = g_strdup (as_text (json_array_get_element (pair, 0)));
    *right = g_strdup (as_text (json_array_get_element (pair, 1)));
  } else if (space && !strchr (space + 1, ' ')) {
    *left = g_strndup (text, space - text);
    *right = g_strdup (space + 1);
  }
  return *left && *right && **left && **right;
}

static gboolean
read_merges (AvatarTokenizer *self, JsonObject *model, GError **error)
{
  JsonArray *merges = as_array (find (model, "merges"));

  if (!merges) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: \"model.merges\" is missing; expected a list of pairs of tokens", self->name);
    return FALSE;
  }
  for (guint i = 0; i < json_array_get_length (merges); i++) {
    g_autofree char *left = NULL, *right = NULL;

    if (!read_merge (json_array_get_element (merges, i), &left, &right)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: model.merges [%u]: expected two tokens, as \"a b\" or [\"a\", \"b\"]", self->name,
          i);
      return FALSE;
    }
    if (!avatar_bpe_add_merge (self->bpe, left, right)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: model.merges [%u]: \"%.100s\", \"%.100s\" or both together are no tokens of "
          "model.vocab",
          self->name, i, left, right);
      return FALSE;
    }
  }
  return TRUE;
}

static gboolean
read_added_token (AvatarTokenizer *self, JsonObject *object, guint i, GError **error)
{
  JsonNode *id = find (object, "id");
  int before = flag_of (object, "lstrip", FALSE), behind = flag_of (object, "rstrip", FALSE),
      late = flag_of (object, "normalized", FALSE), alone = flag_of (object, "single_word", FALSE);
  AvatarAddedToken token = { (char *) as_text (find (object, "content")), -1, before == TRUE,
    behind == TRUE, late == TRUE };
  gint64 value = -1;
  gint32 other;

  if (id && JSON_NODE_HOLDS_VALUE (id) && json_node_get_value_type (id) == G_TYPE_INT64)
    value = json_node_get_int (id);
  if (!token.name || !token.name[0] || value < 0 || value > AVATAR_MAX_TOKEN_ID || before < 0
      || behind < 0 || late < 0 || alone < 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: added_tokens [%u]: expected content, an id of 0 to %d, and flags", self->name, i,
        AVATAR_MAX_TOKEN_ID);
    return FALSE;
  }
  if (alone)
    return refuse (self, "added token of a single word", "\"single_word\": false", error);
  token.id = value;
  other = avatar_bpe_find (self->bpe, token.name);
  if ((other >= 0 && other != token.id) || !avatar_added_add (self->added, &token)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: added_tokens [%u]: \"%.100s\" is there already; expected each token once", self->name,
        i, token.name);
    return FALSE;
  }
  self->n_ids = MAX (self->n_ids, (guint) value + 1);
  return TRUE;
}

static gboolean
read_added_tokens (AvatarTokenizer *self, JsonObject *root, GError **error)
{
  JsonArray *list = as_array (find (root, "added_tokens"));
  guint n = list ? json_array_get_length (list) : 0;

  for (guint i = 0; i < n; i++)
    if (!read_added_token (self, as_object (json_array_get_element (list, i)), i, error))
      return FALSE;
  return TRUE;
}

/* ------------------------------------------------------------------------------------------ all */

/* json-glib takes hundreds of bytes for a value of two, so that some megabytes would become gigabytes.
 * What stands in strings is counted, too, which does no harm. */
static gboolean
has_too_many_values (const char *json, gsize length)
{
  guint n = 0;

  for (gsize i = 0; i < length; i++)
    if (json[i] == ',' || json[i] == '[' || json[i] == '{')
      n++;
  return n > MAX_VALUES;
}

static gboolean
set_bos (AvatarTokenizer *self, const char *name, GError **error)
{
  self->bos = avatar_tokenizer_find (self, name);
  if (self->bos >= 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: there is no token \"%.100s\", with which every text begins; expected LLaMA-3's "
      "vocabulary, or another bos_token in tokenizer_config.json",
      self->name, name);
  return FALSE;
}

AvatarTokenizer *
avatar_tokenizer_parse_llama (const char *json, gsize length, const char *name, GError **error)
{
  g_autoptr (AvatarTokenizer) self = NULL;
  g_autoptr (JsonObject) root = NULL;
  JsonObject *model;
  AvatarBpeRules rules = { 0 };

  if (has_too_many_values (json, length)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: more than %u values; no tokenizer has so many", name, MAX_VALUES);
    return NULL;
  }
  root = avatar_json_parse (json, length, name, error);
  if (!root)
    return NULL;
  model = as_object (find (root, "model"));
  rules.ignore_merges = flag_of (model, "ignore_merges", FALSE) == TRUE;
  self = avatar_tokenizer_new (AVATAR_TOKENIZER_LLAMA, name, &rules);
  if (check_pre_tokenizer (self, root, error) && check_rest (self, root, model, error)
      && read_vocabulary (self, model, error) && read_merges (self, model, error)
      && read_added_tokens (self, root, error))
    return g_steal_pointer (&self);
  return NULL;
}

/* bos_token is a string, or an object that has it as its content. Upstream's LlamaTokenizerFast puts it
 * before every text and nothing behind, whatever post_processor tokenizer.json has. */
gboolean
avatar_tokenizer_configure (AvatarTokenizer *self, const char *json, gsize length, const char *name,
    GError **error)
{
  g_autoptr (JsonObject) root = avatar_json_parse (json, length, name, error);
  JsonNode *node = find (root, "bos_token");
  const char *bos = as_text (node);

  if (!root)
    return FALSE;
  if (!bos)
    bos = as_text (find (as_object (node), "content"));
  if (flag_of (root, "add_bos_token", TRUE) != TRUE
      || flag_of (root, "add_eos_token", FALSE) != FALSE) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: add_bos_token is not true, or add_eos_token is not false; the release has a BOS and no "
        "EOS",
        name);
    return FALSE;
  }
  return set_bos (self, bos ? bos : BOS, error);
}

AvatarTokenizer *
avatar_tokenizer_new_llama (const char *folder, GError **error)
{
  g_autofree char *path = g_build_filename (folder, "tokenizer.json", NULL);
  g_autofree char *config_path = g_build_filename (folder, "tokenizer_config.json", NULL);
  g_autoptr (GError) config_error = NULL;
  gsize length, config_length;
  g_autofree char *json = avatar_json_read (path, MAX_FILE, "a tokenizer", &length, error);
  g_autofree char *config = NULL;
  g_autoptr (AvatarTokenizer) self = NULL;
  gboolean ready;

  if (json)
    self = avatar_tokenizer_parse_llama (json, length, path, error);
  if (!self)
    return NULL;
  config = avatar_json_read_config (config_path, &config_length, &config_error);
  if (config)
    ready = avatar_tokenizer_configure (self, config, config_length, config_path, error);
  else if (g_error_matches (config_error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND))
    ready = set_bos (self, BOS, error);
  else
    ready = (g_propagate_error (error, g_steal_pointer (&config_error)), FALSE);
  return ready ? g_steal_pointer (&self) : NULL;
}
