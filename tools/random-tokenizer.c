/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bytes, merges that spell a word from its first letter on, names that no text has up to where the
 * special tokens begin, and these. */
#include "tools/random-tokenizer.h"

#include "engine/text/added.h"
#include "engine/text/bpe.h"
#include "engine/text/clean.h"
#include "engine/text/split.h"

#include <json-glib/json-glib.h>
#include <string.h>

/* In the release the special tokens begin at 128000 of 128320 rows, and there are 259. */
#define SPECIAL_ROWS 320

typedef struct
{
  GPtrArray *names;  /* of tokens, by id */
  GHashTable *known; /* the same */
  GPtrArray *merges; /* "a b" */
  const char *ending;
  guint most; /* tokens, before the special ones */
} Table;

static gboolean
add_name (Table *t, const char *name)
{
  char *copy;

  if (g_hash_table_contains (t->known, name))
    return TRUE;
  if (t->names->len >= t->most)
    return FALSE;
  copy = g_strdup (name);
  g_ptr_array_add (t->names, copy);
  g_hash_table_add (t->known, copy);
  return TRUE;
}

static void
add_bytes (Table *t, const char *ending)
{
  for (guint byte = 0; byte < 256; byte++) {
    g_autoptr (GString) name = g_string_new (NULL);

    avatar_bpe_name_byte (byte, name);
    g_string_append (name, ending);
    add_name (t, name->str);
  }
}

/* The merges that make one token of @piece. */
static void
add_piece (const char *piece, gsize n, gpointer data)
{
  Table *t = data;
  g_autoptr (GString) left = g_string_new (NULL);

  avatar_bpe_name_byte (piece[0], left);
  for (gsize i = 1; i < n; i++) {
    g_autoptr (GString) right = g_string_new (NULL);
    g_autofree char *both = NULL;

    avatar_bpe_name_byte (piece[i], right);
    if (i + 1 == n)
      g_string_append (right, t->ending);
    both = g_strconcat (left->str, right->str, NULL);
    if (!g_hash_table_contains (t->known, both)) {
      if (!add_name (t, both))
        return;
      g_ptr_array_add (t->merges, g_strdup_printf ("%s %s", left->str, right->str));
    }
    g_string_append (left, right->str);
  }
}

/* No text has a byte of 0, with which these begin. */
static void
fill (Table *t)
{
  for (guint i = 0; t->names->len < t->most; i++) {
    g_autofree char *name = g_strdup_printf ("\xc4\x80%u%s", i, t->ending);

    add_name (t, name);
  }
}

static Table
table_new (guint most, const char *ending)
{
  Table t = { g_ptr_array_new_with_free_func (g_free), g_hash_table_new (g_str_hash, g_str_equal),
    g_ptr_array_new_with_free_func (g_free), ending, most };

  add_bytes (&t, "");
  if (*ending)
    add_bytes (&t, ending);
  return t;
}

static void
table_clear (Table *t)
{
  g_hash_table_unref (t->known);
  g_ptr_array_unref (t->names);
  g_ptr_array_unref (t->merges);
}

static JsonNode *
node_of (JsonBuilder *b)
{
  g_autoptr (JsonBuilder) builder = b;

  return json_builder_get_root (builder);
}

/* "name": id, in the order of ids. */
static JsonNode *
vocabulary_of (const Table *t)
{
  JsonBuilder *b = json_builder_new ();

  json_builder_begin_object (b);
  for (guint i = 0; i < t->names->len; i++) {
    json_builder_set_member_name (b, t->names->pdata[i]);
    json_builder_add_int_value (b, i);
  }
  json_builder_end_object (b);
  return node_of (b);
}

static char *
print (JsonNode *root)
{
  g_autoptr (JsonNode) node = root;

  return json_to_string (node, FALSE);
}

/* ---------------------------------------------------------------------------------------- LLaMA-3 */

/* The @i-th special token of LLaVA-LLaMA-3; NULL: there are no more. */
static char *
special_name (guint i)
{
  static const char *const first[] = { "<|begin_of_text|>", "<|end_of_text|>", NULL, NULL, NULL,
    NULL, "<|start_header_id|>", "<|end_header_id|>", NULL, "<|eot_id|>" };
  static const char *const last[] = { "<unk>", "<image>", "<pad>" };
  static const guint named[] = { 0, 1, 6, 7, 9 };
  guint reserved = i;

  if (i >= 256)
    return i < 256 + G_N_ELEMENTS (last) ? g_strdup (last[i - 256]) : NULL;
  if (i < G_N_ELEMENTS (first) && first[i])
    return g_strdup (first[i]);
  for (guint k = 0; k < G_N_ELEMENTS (named); k++)
    reserved -= named[k] < i;
  return g_strdup_printf ("<|reserved_special_token_%u|>", reserved);
}

static JsonNode *
added_tokens (guint first_id)
{
  JsonBuilder *b = json_builder_new ();
  char *name;

  json_builder_begin_array (b);
  for (guint i = 0; (name = special_name (i)); i++) {
    static const char *const flags[] = { "single_word", "lstrip", "rstrip", "normalized" };

    json_builder_begin_object (b);
    json_builder_set_member_name (b, "id");
    json_builder_add_int_value (b, first_id + i);
    json_builder_set_member_name (b, "content");
    json_builder_add_string_value (b, name);
    for (guint k = 0; k < G_N_ELEMENTS (flags); k++) {
      json_builder_set_member_name (b, flags[k]);
      json_builder_add_boolean_value (b, FALSE);
    }
    json_builder_set_member_name (b, "special");
    json_builder_add_boolean_value (b, TRUE);
    json_builder_end_object (b);
    g_free (name);
  }
  json_builder_end_array (b);
  return node_of (b);
}

static JsonNode *
model_of (const Table *t)
{
  JsonBuilder *b = json_builder_new ();

  json_builder_begin_object (b);
  json_builder_set_member_name (b, "type");
  json_builder_add_string_value (b, "BPE");
  json_builder_set_member_name (b, "ignore_merges");
  json_builder_add_boolean_value (b, TRUE);
  json_builder_set_member_name (b, "vocab");
  json_builder_add_value (b, vocabulary_of (t));
  json_builder_set_member_name (b, "merges");
  json_builder_begin_array (b);
  for (guint i = 0; i < t->merges->len; i++)
    json_builder_add_string_value (b, t->merges->pdata[i]);
  json_builder_end_array (b);
  json_builder_end_object (b);
  return node_of (b);
}

/* What stands around the model, but for the regular expression. */
static const char frame[]
    = "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":null,"
      "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
      "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\"},\"behavior\":\"Isolated\",\"invert\":false},"
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
      "\"use_regex\":false}]},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
      "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true},\"model\":null}";

/* A stretch of text between special tokens. */
static void
add_stretch (const char *text, gsize n, const AvatarAddedToken *token, gpointer data)
{
  if (!token)
    avatar_split_llama (text, n, add_piece, data);
}

static void
add_texts (Table *t, const char *const *texts)
{
  g_autoptr (AvatarAdded) specials = avatar_added_new ();
  char *name;

  for (guint i = 0; (name = special_name (i)); i++) {
    avatar_added_add (specials, &(AvatarAddedToken){ .name = name });
    g_free (name);
  }
  for (; *texts; texts++)
    avatar_added_split (specials, *texts, strlen (*texts), add_stretch, t);
}

RandomTokenizer
random_tokenizer_llama (guint vocab, const char *const *texts)
{
  Table t = table_new (vocab - SPECIAL_ROWS, "");
  JsonNode *root = json_from_string (frame, NULL);
  JsonObject *object = json_node_get_object (root), *split;
  RandomTokenizer self = { 0 };

  g_return_val_if_fail (vocab >= 640, self);
  add_texts (&t, texts);
  fill (&t);
  split = json_array_get_object_element (
      json_object_get_array_member (json_object_get_object_member (object, "pre_tokenizer"),
          "pretokenizers"),
      0);
  json_object_set_string_member (json_object_get_object_member (split, "pattern"), "Regex",
      avatar_split_llama_regex);
  json_object_set_member (object, "added_tokens", added_tokens (t.names->len));
  json_object_set_member (object, "model", model_of (&t));
  self.json = print (root);
  self.config = g_strdup ("{\n  \"bos_token\": \"<|begin_of_text|>\",\n"
                          "  \"eos_token\": \"<|end_of_text|>\",\n  \"unk_token\": \"<unk>\",\n"
                          "  \"pad_token\": \"<pad>\",\n"
                          "  \"tokenizer_class\": \"LlamaTokenizer\"\n}\n");
  table_clear (&t);
  return self;
}

void
random_tokenizer_clear (RandomTokenizer *self)
{
  g_free (self->json);
  g_free (self->config);
  *self = (RandomTokenizer){ 0 };
}

/* ------------------------------------------------------------------------------------------- CLIP */

char *
random_tokenizer_clip (guint vocab, const char *const *texts, char **merges)
{
  Table t = table_new (vocab - 2, "</w>");
  g_autoptr (GString) list = g_string_new ("#version: 0.2\n");
  char *json;

  for (; *texts; texts++) {
    g_autofree char *clean = avatar_clean_clip (*texts, strlen (*texts));

    avatar_split_clip (clean, strlen (clean), add_piece, &t);
  }
  fill (&t);
  for (guint i = 0; i < t.merges->len; i++)
    g_string_append_printf (list, "%s\n", (char *) t.merges->pdata[i]);
  t.most += 2;
  add_name (&t, "<|startoftext|>");
  add_name (&t, "<|endoftext|>");
  json = print (vocabulary_of (&t));
  *merges = g_string_free (g_steal_pointer (&list), FALSE);
  table_clear (&t);
  return json;
}
