/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaMA-3's tokenizer: tokenizer.json of the Python library tokenizers. Settings that affect the
 * ids and differ from LLaMA-3's are refused by name. Vocabulary and merges are read by a cursor,
 * because json-glib's tree of them takes ten times their size and most of the time; json-glib reads
 * the rest of the file. */
#include "engine/text/pre-tokenizer.h"
#include "engine/text/tokenizer.h"

#include <string.h>

#define MAX_FILE (48u << 20) /* bytes; the released file has 9 MiB, with merges as lists 17 MiB */
#define MAX_VALUES 100000u   /* besides vocabulary and merges; the released file has 2500 */
#define BOS "<|begin_of_text|>"

/* -------------------------------------------------------------------------------------- members */

static gboolean
refuse (const AvatarTokenizer *self, const char *what, const char *expected, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: its %s is not that of LLaMA-3, the only implemented tokenizer; expected %s", self->name,
      what, expected);
  return FALSE;
}

/* Returns the member @key, or NULL if it is missing or null. */
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

/* Returns NULL if @node is not a string. */
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

/* Returns the boolean member @key, @missing if there is none, or -1 if it is not a boolean. */
static int
get_flag (JsonObject *object, const char *key, int missing)
{
  JsonNode *node = find (object, key);

  if (!node)
    return missing;
  if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_BOOLEAN)
    return -1;
  return json_node_get_boolean (node) ? 1 : 0;
}

/* ------------------------------------------------------------------------------------- settings */

/* Checks that the pre-tokenizer splits by LLaMA-3's expression and then maps bytes. */
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
      || !is_text (split, "behavior", "Isolated") || get_flag (split, "invert", FALSE) != FALSE
      || !is_text (bytes, "type", "ByteLevel")
      || get_flag (bytes, "add_prefix_space", TRUE) != FALSE
      || get_flag (bytes, "use_regex", TRUE) != FALSE)
    return refuse (self, "pre_tokenizer",
        "a sequence of Split (Isolated) and ByteLevel without prefix space and regex", error);
  if (!is_text (as_object (find (split, "pattern")), "Regex", avatar_pre_tokenize_llama_regex))
    return refuse (self, "pre_tokenizer's regular expression", avatar_pre_tokenize_llama_regex,
        error);
  return TRUE;
}

static gboolean
check_settings (AvatarTokenizer *self, JsonObject *root, JsonObject *model, GError **error)
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
      || get_flag (model, "byte_fallback", FALSE) != FALSE
      || get_flag (model, "ignore_merges", FALSE) < 0)
    return refuse (self, "model",
        "no dropout, continuing_subword_prefix, end_of_word_suffix and byte_fallback", error);
  return TRUE;
}

/* --------------------------------------------------------------------------------------- tables */

/* The texts of vocabulary and merges, including brackets; empty if the member is missing or is not
 * an object or a list. */
typedef struct
{
  AvatarJsonText vocabulary, merges;
} Tables;

/* Sets @table to the value at the cursor, and copies to @rest the text before it, from *@copied,
 * and empty brackets in its place. */
static void
extract_table (AvatarJsonCursor *cursor, AvatarJsonText *table, GString *rest, const char **copied)
{
  const char *start = cursor->at, bracket = *start;

  if (!avatar_json_cursor_skip (cursor))
    return;
  *table = (AvatarJsonText){ start, cursor->at - start };
  g_string_append_len (rest, *copied, start - *copied);
  g_string_append (rest, bracket == '{' ? "{}" : "[]");
  *copied = cursor->at;
}

static void
extract_tables (AvatarJsonCursor *cursor, Tables *out, GString *rest, const char **copied)
{
  g_autoptr (GString) scratch = g_string_new (NULL);
  AvatarJsonText name;

  avatar_json_cursor_enter (cursor, '{');
  while (
      avatar_json_cursor_next (cursor, '}') && avatar_json_cursor_name (cursor, scratch, &name)) {
    if (avatar_json_text_is (name, "vocab") && avatar_json_cursor_is_at (cursor, '{'))
      extract_table (cursor, &out->vocabulary, rest, copied);
    else if (avatar_json_text_is (name, "merges") && avatar_json_cursor_is_at (cursor, '['))
      extract_table (cursor, &out->merges, rest, copied);
    else
      avatar_json_cursor_skip (cursor);
  }
}

/* Finds the tables and returns the text without them. Checks only the syntax that this needs;
 * json-glib checks the remaining text. */
static GString *
find_tables (const char *json, gsize length, Tables *out)
{
  AvatarJsonCursor cursor = avatar_json_cursor (json, length);
  g_autoptr (GString) scratch = g_string_new (NULL);
  GString *rest = g_string_new (NULL);
  const char *copied = json;
  AvatarJsonText name;

  avatar_json_cursor_enter (&cursor, '{');
  while (
      avatar_json_cursor_next (&cursor, '}') && avatar_json_cursor_name (&cursor, scratch, &name)) {
    if (avatar_json_text_is (name, "model") && avatar_json_cursor_is_at (&cursor, '{'))
      extract_tables (&cursor, out, rest, &copied);
    else
      avatar_json_cursor_skip (&cursor);
  }
  return g_string_append_len (rest, copied, json + length - copied);
}

/* Reads "a b", or ["a", "b"] of newer files. Returns FALSE if it is neither. */
static gboolean
read_merge (AvatarJsonCursor *cursor, GString *const scratch[2], AvatarJsonText pair[2])
{
  AvatarJsonText text;

  if (!avatar_json_cursor_is_at (cursor, '['))
    return avatar_json_cursor_string (cursor, scratch[0], &text)
        && avatar_tokenizer_split_merge (text.text, text.n, pair);
  avatar_json_cursor_enter (cursor, '[');
  for (guint i = 0; i < 2; i++)
    if (!avatar_json_cursor_next (cursor, ']')
        || !avatar_json_cursor_string (cursor, scratch[i], &pair[i]) || pair[i].n == 0)
      return FALSE;
  return !avatar_json_cursor_next (cursor, ']') && !cursor->expected;
}

static gboolean
add_merge (AvatarTokenizer *self, const AvatarJsonText pair[2], guint i, GError **error)
{
  if (i + avatar_bpe_n_tokens (self->bpe) >= AVATAR_MAX_TOKENIZER_ENTRIES)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: more than %u tokens and merges; expected at most as many", self->name,
        AVATAR_MAX_TOKENIZER_ENTRIES);
  else if (!avatar_bpe_add_merge (self->bpe, pair[0].text, pair[0].n, pair[1].text, pair[1].n))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: model.merges [%u]: \"%.*s\", \"%.*s\" or their concatenation is not a token of "
        "model.vocab",
        self->name, i, (int) MIN (pair[0].n, 100), pair[0].text, (int) MIN (pair[1].n, 100),
        pair[1].text);
  else
    return TRUE;
  return FALSE;
}

static gboolean
read_merges (AvatarTokenizer *self, AvatarJsonText json, GError **error)
{
  AvatarJsonCursor cursor = avatar_json_cursor (json.text, json.n);
  g_autoptr (GString) left = g_string_new (NULL), right = g_string_new (NULL);
  GString *const scratch[2] = { left, right };
  AvatarJsonText pair[2];

  avatar_json_cursor_enter (&cursor, '[');
  for (guint i = 0; avatar_json_cursor_next (&cursor, ']'); i++) {
    if (!read_merge (&cursor, scratch, pair)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: model.merges [%u]: expected two tokens, as \"a b\" or [\"a\", \"b\"]", self->name,
          i);
      return FALSE;
    }
    if (!add_merge (self, pair, i, error))
      return FALSE;
  }
  if (avatar_json_cursor_finish (&cursor))
    return TRUE;
  avatar_json_cursor_set_error (&cursor, self->name, error);
  return FALSE;
}

static gboolean
check_table (const AvatarTokenizer *self, AvatarJsonText table, const char *key,
    const char *expected, GError **error)
{
  if (table.n > 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: \"model.%s\" is missing; expected %s",
      self->name, key, expected);
  return FALSE;
}

static gboolean
read_tables (AvatarTokenizer *self, const Tables *tables, GError **error)
{
  const AvatarJsonText *vocab = &tables->vocabulary;

  return check_table (self, *vocab, "vocab", "an object of tokens and ids", error)
      && avatar_tokenizer_read_vocabulary (self, vocab->text, vocab->n, error)
      && check_table (self, tables->merges, "merges", "a list of pairs of tokens", error)
      && read_merges (self, tables->merges, error);
}

static gboolean
read_added_token (AvatarTokenizer *self, JsonObject *object, guint i, GError **error)
{
  JsonNode *id = find (object, "id");
  int left = get_flag (object, "lstrip", FALSE), right = get_flag (object, "rstrip", FALSE),
      normalized = get_flag (object, "normalized", FALSE),
      single_word = get_flag (object, "single_word", FALSE);
  AvatarAddedToken token = { (char *) as_text (find (object, "content")), -1, left == TRUE,
    right == TRUE, normalized == TRUE };
  gint64 value = -1;
  gint32 other;

  if (id && JSON_NODE_HOLDS_VALUE (id) && json_node_get_value_type (id) == G_TYPE_INT64)
    value = json_node_get_int (id);
  if (!token.name || !token.name[0] || value < 0 || value > AVATAR_MAX_TOKEN_ID || left < 0
      || right < 0 || normalized < 0 || single_word < 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: added_tokens [%u]: expected content, an id from 0 to %d, and flags", self->name, i,
        AVATAR_MAX_TOKEN_ID);
    return FALSE;
  }
  if (single_word)
    return refuse (self, "added token of a single word", "\"single_word\": false", error);
  token.id = value;
  other = avatar_bpe_find (self->bpe, token.name);
  if ((other >= 0 && other != token.id) || !avatar_added_tokens_add (self->added, &token)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: added_tokens [%u]: \"%.100s\" exists already; expected each token once", self->name, i,
        token.name);
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

/* ----------------------------------------------------------------------------------------- file */

/* Parses the text without the tables. Limits the number of values first, since json-glib needs
 * hundreds of bytes for a value of two bytes. Brackets and commas in strings are counted as well,
 * which only lowers the limit. */
static JsonObject *
parse_rest (const char *json, gsize length, const char *name, GError **error)
{
  guint n = 0;

  for (gsize i = 0; i < length; i++)
    if (json[i] == ',' || json[i] == '[' || json[i] == '{')
      n++;
  if (n <= MAX_VALUES)
    return avatar_json_parse (json, length, name, error);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: more than %u values besides vocabulary and merges; expected at most as many", name,
      MAX_VALUES);
  return NULL;
}

static gboolean
set_bos (AvatarTokenizer *self, const char *name, GError **error)
{
  self->bos = avatar_tokenizer_find (self, name);
  if (self->bos >= 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: the token \"%.100s\", with which every text starts, is missing; expected LLaMA-3's "
      "vocabulary, or another bos_token in tokenizer_config.json",
      self->name, name);
  return FALSE;
}

AvatarTokenizer *
avatar_tokenizer_parse_llama (const char *json, gsize length, const char *name, GError **error)
{
  Tables tables = { 0 };
  g_autoptr (GString) rest = find_tables (json, length, &tables);
  g_autoptr (JsonObject) root = parse_rest (rest->str, rest->len, name, error);
  g_autoptr (AvatarTokenizer) self = NULL;
  JsonObject *model;
  AvatarBpeRules rules = { 0 };

  if (!root)
    return NULL;
  model = as_object (find (root, "model"));
  rules.ignore_merges = get_flag (model, "ignore_merges", FALSE) == TRUE;
  self = avatar_tokenizer_new (AVATAR_TOKENIZER_LLAMA, name, &rules);
  if (check_pre_tokenizer (self, root, error) && check_settings (self, root, model, error)
      && read_tables (self, &tables, error) && read_added_tokens (self, root, error))
    return g_steal_pointer (&self);
  return NULL;
}

/* Reads bos_token, a string or an object with a member "content". Upstream's LlamaTokenizerFast
 * puts it before every text and nothing after it, independent of post_processor in
 * tokenizer.json. */
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
  if (get_flag (root, "add_bos_token", TRUE) != TRUE
      || get_flag (root, "add_eos_token", FALSE) != FALSE) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "%s: add_bos_token is not true, or add_eos_token is not false; expected a BOS and no EOS, as in "
        "the release",
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
