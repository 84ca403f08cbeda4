/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaMA-3's tokenizer: tokenizer.json as the library tokenizers writes it. Whatever there changes
 * ids, and is not as LLaMA-3 has it, is refused by name. Vocabulary and merges are read where they
 * stand, since json-glib's tree of them takes ten times their room and most of the time; all else
 * is read from the text without them. */
#include "engine/text/pre-tokenizer.h"
#include "engine/text/tokenizer.h"

#include <string.h>

#define MAX_FILE (48u << 20) /* the released one: 9 MiB; with lists for merges 17 MiB */
#define MAX_VALUES 100000u   /* around vocabulary and merges; the released one: 2500 */
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

/* Where vocabulary and merges stand, brackets included; n: 0: they are not there, or are no object
 * and no list. */
typedef struct
{
  AvatarJsonText vocabulary, merges;
} Tables;

/* The value at the cursor, of which @rest gets the brackets alone; *@copied: what it has by now. */
static void
cut_out (AvatarJsonCursor *cursor, AvatarJsonText *table, GString *rest, const char **copied)
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
cut_out_of_model (AvatarJsonCursor *cursor, Tables *out, GString *rest, const char **copied)
{
  g_autoptr (GString) scratch = g_string_new (NULL);
  AvatarJsonText name;

  avatar_json_cursor_enter (cursor, '{');
  while (
      avatar_json_cursor_next (cursor, '}') && avatar_json_cursor_name (cursor, scratch, &name)) {
    if (avatar_json_text_is (name, "vocab") && avatar_json_cursor_is_at (cursor, '{'))
      cut_out (cursor, &out->vocabulary, rest, copied);
    else if (avatar_json_text_is (name, "merges") && avatar_json_cursor_is_at (cursor, '['))
      cut_out (cursor, &out->merges, rest, copied);
    else
      avatar_json_cursor_skip (cursor);
  }
}

/* Only as much syntax is looked at as finding them takes: json-glib reads what is left, of which
 * names must not come twice. Returns the text without the tables. */
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
      cut_out_of_model (&cursor, out, rest, &copied);
    else
      avatar_json_cursor_skip (&cursor);
  }
  return g_string_append_len (rest, copied, json + length - copied);
}

/* "a b", or ["a", "b"] in newer files. FALSE: neither. */
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
        "%s: more than %u tokens and merges; no tokenizer has so many", self->name,
        AVATAR_MAX_TOKENIZER_ENTRIES);
  else if (!avatar_bpe_add_merge (self->bpe, pair[0].text, pair[0].n, pair[1].text, pair[1].n))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: model.merges [%u]: \"%.*s\", \"%.*s\" or both together are no tokens of "
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
  avatar_json_cursor_complain (&cursor, self->name, error);
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
  if ((other >= 0 && other != token.id) || !avatar_added_tokens_add (self->added, &token)) {
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
      "%s: more than %u values around vocabulary and merges; no tokenizer has so many", name,
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
      "%s: there is no token \"%.100s\", with which every text begins; expected LLaMA-3's "
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
  rules.ignore_merges = flag_of (model, "ignore_merges", FALSE) == TRUE;
  self = avatar_tokenizer_new (AVATAR_TOKENIZER_LLAMA, name, &rules);
  if (check_pre_tokenizer (self, root, error) && check_rest (self, root, model, error)
      && read_tables (self, &tables, error) && read_added_tokens (self, root, error))
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
