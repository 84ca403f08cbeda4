/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Builds a vocabulary and merges that cover given texts, adds the special tokens, and writes the
 * files of both tokenizers. */
#include "tools/random-tokenizer.h"

#include "engine/text/added-tokens.h"
#include "engine/text/clip-text-normalize.h"
#include "engine/text/pre-tokenizer.h"
#include "tools/random-table.h"

#include <json-glib/json-glib.h>
#include <string.h>

/* The release has 259 special tokens from id 128000 on, and 128320 rows. */
#define SPECIAL_ROWS 320

static JsonNode *
node_of (JsonBuilder *b)
{
  g_autoptr (JsonBuilder) builder = b;

  return json_builder_get_root (builder);
}

/* White space of a list of members or elements, on one line or with a line for each. */
typedef struct
{
  const char *line, *deep,
      *end; /* before a member, before an element of a pair, and before the closing bracket */
  const char *colon;
} Style;

static const Style compact = { "", "", "", ":" };
static const Style nested = { "\n      ", "\n        ", "\n    ", ": " };

/* Quotes a name; names have no control characters. */
static void
append_name (GString *out, const char *name, gsize n)
{
  g_string_append_c (out, '"');
  for (gsize i = 0; i < n; i++) {
    if (name[i] == '"' || name[i] == '\\')
      g_string_append_c (out, '\\');
    g_string_append_c (out, name[i]);
  }
  g_string_append_c (out, '"');
}

/* Appends "name": id, in the order of ids. */
static void
append_vocabulary (GString *out, const RandomTable *t, const Style *style)
{
  g_string_append_c (out, '{');
  for (guint i = 0; i < t->names->len; i++) {
    const char *name = t->names->pdata[i];

    g_string_append_printf (out, "%s%s", i ? "," : "", style->line);
    append_name (out, name, strlen (name));
    g_string_append_printf (out, "%s%u", style->colon, i);
  }
  g_string_append_printf (out, "%s}", style->end);
}

/* Appends the merges. @pairs: TRUE for lists of two tokens, as in current releases, FALSE for
 * strings */
static void
append_merges (GString *out, const RandomTable *t, const Style *style, gboolean pairs)
{
  g_string_append_c (out, '[');
  for (guint i = 0; i < t->merges->len; i++) {
    const char *merge = t->merges->pdata[i], *space = strchr (merge, ' ');

    g_string_append_printf (out, "%s%s", i ? "," : "", style->line);
    if (!pairs) {
      append_name (out, merge, strlen (merge));
      continue;
    }
    g_string_append_printf (out, "[%s", style->deep);
    append_name (out, merge, space - merge);
    g_string_append_printf (out, ",%s", style->deep);
    append_name (out, space + 1, strlen (space + 1));
    g_string_append_printf (out, "%s]", style->line);
  }
  g_string_append_printf (out, "%s]", style->end);
}

/* -------------------------------------------------------------------------------------- LLaMA-3 */

/* Returns the @i-th special token of LLaVA-LLaMA-3, or NULL after the last. */
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

/* Appends the model to the text of an object without one. */
static void
append_model (GString *out, const RandomTable *t, gboolean full)
{
  const Style *style = full ? &nested : &compact;
  const char *line = full ? "\n    " : "", *end = full ? "\n  }\n}" : "}}";

  g_string_truncate (out, strrchr (out->str, '}') - out->str);
  while (g_ascii_isspace (out->str[out->len - 1]))
    g_string_truncate (out, out->len - 1);
  g_string_append_printf (out, ",%s\"model\"%s{%s\"type\"%s\"BPE\",%s\"ignore_merges\"%strue",
      full ? "\n  " : "", style->colon, line, style->colon, line, style->colon);
  g_string_append_printf (out, ",%s\"vocab\"%s", line, style->colon);
  append_vocabulary (out, t, style);
  g_string_append_printf (out, ",%s\"merges\"%s", line, style->colon);
  append_merges (out, t, style, full);
  g_string_append (out, end);
}

/* Members around the model, without the regular expression. */
static const char frame[]
    = "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":null,"
      "\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":["
      "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\"},\"behavior\":\"Isolated\",\"invert\":false},"
      "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
      "\"use_regex\":false}]},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\","
      "\"add_prefix_space\":true,\"trim_offsets\":true,\"use_regex\":true}}";

static void
add_piece (const char *piece, gsize n, gpointer data)
{
  random_table_spell (data, piece, n);
}

/* Adds the words of a text between special tokens. */
static void
add_stretch (const char *text, gsize n, const AvatarAddedToken *token, gpointer data)
{
  if (!token)
    avatar_pre_tokenize_llama (text, n, add_piece, data);
}

static void
add_texts (RandomTable *t, const char *const *texts)
{
  g_autoptr (AvatarAddedTokens) specials = avatar_added_tokens_new ();
  char *name;

  for (guint i = 0; (name = special_name (i)); i++) {
    avatar_added_tokens_add (specials, &(AvatarAddedToken){ .name = name });
    g_free (name);
  }
  for (; *texts; texts++)
    avatar_added_tokens_split (specials, *texts, strlen (*texts), add_stretch, t);
}

/* Builds all members but the model. */
static GString *
print_frame (guint first_special, gboolean full)
{
  g_autoptr (JsonNode) root = json_from_string (frame, NULL);
  JsonObject *object = json_node_get_object (root), *split;
  g_autofree char *text = NULL;

  split = json_array_get_object_element (
      json_object_get_array_member (json_object_get_object_member (object, "pre_tokenizer"),
          "pretokenizers"),
      0);
  json_object_set_string_member (json_object_get_object_member (split, "pattern"), "Regex",
      avatar_pre_tokenize_llama_regex);
  json_object_set_member (object, "added_tokens", added_tokens (first_special));
  text = json_to_string (root, full);
  return g_string_new (text);
}

RandomTokenizer
random_tokenizer_llama (const RandomTokenizerSizes *sizes, const char *const *texts)
{
  RandomTokenizer self = { 0 };
  g_auto (RandomTable) t = { 0 };
  GString *json;
  gboolean full = sizes->merges > 0;

  g_return_val_if_fail (sizes->vocab >= 640, self);
  t = random_table_new (sizes->vocab - SPECIAL_ROWS, "");
  add_texts (&t, texts);
  if (full)
    random_table_grow (&t, sizes->merges, sizes->seed);
  random_table_pad (&t);
  json = print_frame (t.names->len, full);
  append_model (json, &t, full);
  self.json = g_string_free (json, FALSE);
  self.config = g_strdup ("{\n  \"bos_token\": \"<|begin_of_text|>\",\n"
                          "  \"eos_token\": \"<|end_of_text|>\",\n  \"unk_token\": \"<unk>\",\n"
                          "  \"pad_token\": \"<pad>\",\n"
                          "  \"tokenizer_class\": \"LlamaTokenizer\"\n}\n");
  return self;
}

void
random_tokenizer_clear (RandomTokenizer *self)
{
  g_free (self->json);
  g_free (self->config);
  *self = (RandomTokenizer){ 0 };
}

/* ----------------------------------------------------------------------------------------- CLIP */

char *
random_tokenizer_clip (const RandomTokenizerSizes *sizes, const char *const *texts, char **merges)
{
  g_auto (RandomTable) t = random_table_new (sizes->vocab - 2, "</w>");
  g_autoptr (GString) list = g_string_new ("#version: 0.2\n");
  GString *json = g_string_new (NULL);

  for (; *texts; texts++) {
    g_autofree char *clean = avatar_clip_normalize (*texts, strlen (*texts));

    avatar_pre_tokenize_clip (clean, strlen (clean), add_piece, &t);
  }
  if (sizes->merges > 0)
    random_table_grow (&t, sizes->merges, sizes->seed);
  random_table_pad (&t);
  for (guint i = 0; i < t.merges->len; i++)
    g_string_append_printf (list, "%s\n", (char *) t.merges->pdata[i]);
  t.max_tokens += 2;
  random_table_add (&t, "<|startoftext|>");
  random_table_add (&t, "<|endoftext|>");
  append_vocabulary (json, &t, &compact);
  *merges = g_string_free (g_steal_pointer (&list), FALSE);
  return g_string_free (json, FALSE);
}
