/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of tokenizers: which are read, and why others are refused. */
#include "engine/text/tokenizer.h"

#include <glib/gstdio.h>
#include <string.h>

#define TEXT GOLDEN_DIR "/text/"

static char *
read_file (const char *path)
{
  char *text;
  GError *error = NULL;

  g_file_get_contents (path, &text, NULL, &error);
  g_assert_no_error (error);
  return text;
}

static GArray *
encode (const AvatarTokenizer *t, const char *text)
{
  GArray *ids = g_array_new (FALSE, FALSE, sizeof (gint32));

  avatar_tokenizer_encode (t, text, strlen (text), ids);
  return ids;
}

static AvatarTokenizer *
parse (const char *json, GError **error)
{
  return avatar_tokenizer_parse_llama (json, strlen (json), "t.json", error);
}

/* A file of the corpus, with @from replaced by @to. */
static char *
change (const char *file, const char *from, const char *to)
{
  g_autofree char *text = read_file (file);
  GString *changed = g_string_new (text);

  g_assert_cmpuint (g_string_replace (changed, from, to, 1), ==, 1);
  return g_string_free (changed, FALSE);
}

static void
refuse_json (const char *from, const char *to, int code, const char *what)
{
  g_autofree char *json = change (CORPUS_DIR "/tokenizer/strings.json", from, to);
  g_autoptr (GError) error = NULL;

  g_assert_null (parse (json, &error));
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, what) || !strstr (error->message, "t.json"))
    g_error ("expected \"%s\" in \"%s\"", what, error->message);
}

static void
test_bad_tokenizers (void)
{
  const int other = AVATAR_ERROR_MISMATCH, format = AVATAR_ERROR_FORMAT;

  refuse_json ("{1,3}", "{1,4}", other, "regular expression");
  refuse_json ("\"Isolated\"", "\"Removed\"", other, "pre_tokenizer");
  refuse_json ("\"invert\":false", "\"invert\":true", other, "pre_tokenizer");
  refuse_json ("\"use_regex\":false", "\"use_regex\":true", other, "pre_tokenizer");
  refuse_json ("\"add_prefix_space\":false", "\"add_prefix_space\":true", other, "pre_tokenizer");
  refuse_json ("\"pretokenizers\":[", "\"pretokenizers\":[null,", other, "pre_tokenizer");
  refuse_json ("\"normalizer\":null", "\"normalizer\":{\"type\":\"NFC\"}", other, "normalizer");
  refuse_json ("\"decoder\":{\"type\":\"ByteLevel\"}", "\"decoder\":null", other, "decoder");
  refuse_json ("\"BPE\"", "\"Unigram\"", other, "model");
  refuse_json ("\"BPE\",", "\"BPE\",\"dropout\":0.1,", other, "dropout");
  refuse_json ("\"BPE\",", "\"BPE\",\"end_of_word_suffix\":\"</w>\",", other, "suffix");
  refuse_json ("\"BPE\",", "\"BPE\",\"byte_fallback\":true,", other, "byte_fallback");
  refuse_json ("\"ignore_merges\":false", "\"ignore_merges\":3", other, "model");
  refuse_json ("\"single_word\":false", "\"single_word\":true", other, "single word");
  refuse_json ("\"lstrip\":false", "\"lstrip\":0", format, "added_tokens [0]");
  refuse_json ("\"<|eot_id|>\"", "\"<image>\"", format, "exists already");
  refuse_json ("\"<|eot_id|>\"", "\"ab\"", format, "exists already");
  refuse_json ("\"<|eot_id|>\"", "\"\"", format, "added_tokens [2]");
  refuse_json ("\"id\":258", "\"id\":16777216", format, "added_tokens [0]");
  refuse_json ("\"!\":0", "\"!\":-1", format, "no valid id");
  refuse_json ("\"!\":0", "\"!\":0.5", format, "no valid id");
  refuse_json ("\"!\":0", "\"!!\":0", other, "byte 0x21");
  refuse_json ("\"!\":0", "\"!\":0,\"!\":0", format, "twice");
  refuse_json ("\"a b\"", "\"a  b\"", format, "merges [0]");
  refuse_json ("\"a b\"", "\"ab\"", format, "merges [0]");
  refuse_json ("\"a b\"", "[\"a\",\"b\",\"c\"]", format, "merges [0]");
  refuse_json ("\"a b\"", "[\"a\",3]", format, "merges [0]");
  refuse_json ("\"a b\"", "\"a z\"", format, "model.vocab");
  refuse_json ("\"merges\"", "\"merge\"", format, "model.merges");
  refuse_json ("\"vocab\"", "\"vocabulary\"", format, "model.vocab");
  refuse_json ("{", "[", format, "JSON");
}

/* Invalid JSON in vocabulary and merges that json-glib accepts, and duplicate members. */
static void
test_bad_tables (void)
{
  static const char *const members[] = { "\"x\":300 ", "\"x\" 300,", "\"x\":300,,", ",", "\"x:300,",
    "x:300,", "'x':300,", "\"x\\y\":300,", "\"\\ud800\":300,", "\"\\u0000\":300,", "\"x\ty\":300,",
    "\"\xff\":300,", "/* */", "\"x\":300],", "\"x\":300},\"y\":{" };
  static const char *const ids[] = { "01", "-0", "+0", "0e0", "1e3", "1.0", "16777216",
    "4294967296", "00000000001", "\"0\"", "null", "true", "[0]", "{}", "" };

  for (guint i = 0; i < G_N_ELEMENTS (members); i++) {
    g_autofree char *to = g_strconcat ("\"vocab\":{", members[i], NULL);
    g_autofree char *json = change (CORPUS_DIR "/tokenizer/strings.json", "\"vocab\":{", to);
    g_autoptr (GError) error = NULL;

    g_assert_null (parse (json, &error));
    g_assert_nonnull (error);
  }
  for (guint i = 0; i < G_N_ELEMENTS (ids); i++) {
    g_autofree char *to = g_strconcat ("\"!\":", ids[i], NULL);

    refuse_json ("\"!\":0", to, AVATAR_ERROR_FORMAT, "no valid id");
  }
  refuse_json ("\"vocab\":{", "\"vocab\":{},\"vocab\":{", AVATAR_ERROR_FORMAT, "twice");
  refuse_json ("\"vocab\":{", "\"voc\\u0061b\":{},\"vocab\":{", AVATAR_ERROR_FORMAT, "twice");
  refuse_json ("\"model\":", "\"model\":{},\"model\":", AVATAR_ERROR_FORMAT, "twice");
  refuse_json ("\"vocab\":{", "\"vocab\":{\"\\u0061\":1,", AVATAR_ERROR_FORMAT, "twice");
  refuse_json ("\"vocab\":{", "\"vocab\":[{", AVATAR_ERROR_FORMAT, "JSON");
  refuse_json ("\"ab c\"]", "\"ab c\",]", AVATAR_ERROR_FORMAT, "merges [2]");
  refuse_json ("\"ab c\"]", "\"ab c\" 3]", AVATAR_ERROR_FORMAT, "expected \",\"");
  refuse_json ("\"ab c\"]", "\"ab c\"]]", AVATAR_ERROR_FORMAT, "JSON");
  refuse_json ("\"ab c\"]", "\"ab c\"] 3", AVATAR_ERROR_FORMAT, "expected the end, found 3");
  refuse_json ("\"ab c\"]", "\"ab c\"}", AVATAR_ERROR_FORMAT, "JSON");
  refuse_json ("\"a b\"", "[\"a\" \"b\"]", AVATAR_ERROR_FORMAT, "merges [0]");
  refuse_json ("\"a b\"", "[\"a\"]", AVATAR_ERROR_FORMAT, "merges [0]");
  refuse_json ("\"a b\"", "[\"a\",\"\"]", AVATAR_ERROR_FORMAT, "merges [0]");
}

static void
refuse_many (const char *from, const char *format, guint n)
{
  g_autoptr (GString) json = g_string_new (from);
  g_autofree char *all = NULL;
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < n; i++)
    g_string_append_printf (json, format, i);
  all = change (CORPUS_DIR "/tokenizer/strings.json", from, json->str);
  g_assert_null (parse (all, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "more than"));
}

/* More values than a tokenizer has would take gigabytes of memory. */
static void
test_too_many_values (void)
{
  refuse_many ("\"added_tokens\":[", "0,", 100000);
  refuse_many ("\"vocab\":{", "\"x%u\":7,", 1200001);
  refuse_many ("\"merges\":[", "\"a b\",", 1200001);
}

/* Merges as lists are the same, and so is another order, white space, and names with escapes;
 * ignore_merges makes a difference. */
static void
test_dialects (void)
{
  static const char *const others[] = { "lists.json", "spread.json", "escaped.json" };
  g_autofree char *a = read_file (CORPUS_DIR "/tokenizer/strings.json");
  g_autofree char *c
      = change (TEXT "llama/tokenizer.json", "\"ignore_merges\":true", "\"ignore_merges\":false");
  g_autoptr (AvatarTokenizer) strings = parse (a, NULL), merging = parse (c, NULL),
                              whole_words = avatar_tokenizer_new_llama (TEXT "llama", NULL);
  g_autoptr (GArray) of_strings = encode (strings, "abc ab cab");
  g_autoptr (GArray) whole = encode (whole_words, "xyzzyx"), parts = encode (merging, "xyzzyx");

  g_assert_cmpuint (of_strings->len, ==, 6);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++) {
    g_autofree char *path = g_strconcat (CORPUS_DIR "/tokenizer/", others[i], NULL);
    g_autofree char *json = read_file (path);
    g_autoptr (AvatarTokenizer) other = parse (json, NULL);
    g_autoptr (GArray) ids = encode (other, "abc ab cab");

    g_assert_cmpmem (of_strings->data, of_strings->len * 4, ids->data, ids->len * 4);
  }
  g_assert_cmpuint (whole->len, ==, 1);
  g_assert_cmpuint (parts->len, >, 1);
}

static void
refuse_merges (const char *merges, const char *what)
{
  g_autofree char *vocab = read_file (TEXT "clip/vocab.json");
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_tokenizer_parse_clip (vocab, strlen (vocab), merges, strlen (merges),
      "folder", &error));
  g_assert_nonnull (error);
  if (!strstr (error->message, what))
    g_error ("expected \"%s\" in \"%s\"", what, error->message);
}

static void
refuse_vocabulary (const char *from, const char *to, const char *what)
{
  g_autofree char *vocab = change (TEXT "clip/vocab.json", from, to);
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_tokenizer_parse_clip (vocab, strlen (vocab), "#\n", 2, "folder", &error));
  g_assert_nonnull (error);
  if (!strstr (error->message, what))
    g_error ("expected \"%s\" in \"%s\"", what, error->message);
}

static void
test_bad_clip (void)
{
  refuse_merges ("#version\na b c\n", "line 2");
  refuse_merges ("#version\nt h\nab\n", "line 3");
  refuse_merges ("#version\n\nt h\n", "line 2");
  refuse_merges ("#version\n t\n", "line 2");
  refuse_merges ("#version\n\xc4\xa2 \xc4\xa2\n", "do not belong together");
  refuse_merges ("#version\n\xff \xff\n", "UTF-8");
  refuse_vocabulary ("\"<|endoftext|>\"", "\"<|end|>\"", "<|endoftext|>");
  refuse_vocabulary ("\"a</w>\"", "\"a</v>\"", "0x61");
  refuse_vocabulary ("{", "{\"none\":[],", "no valid id");
}

static void
test_folders (void)
{
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "tokenizer.json", NULL);
  g_autofree char *config = g_build_filename (folder, "tokenizer_config.json", NULL);
  g_autofree char *json = read_file (CORPUS_DIR "/tokenizer/strings.json");
  static const struct
  {
    const char *config, *what; /* NULL: fine */
  } cases[] = {
    { "{}", NULL },
    { "{\"bos_token\": \"<image>\"}", NULL },
    { "{\"bos_token\": {\"content\": \"<|eot_id|>\"}}", NULL },
    { "{\"bos_token\": \"<s>\"}", "<s>" },
    { "{\"add_bos_token\": false}", "add_bos_token" },
    { "{\"add_eos_token\": true}", "add_eos_token" },
    { "[]", "JSON" },
  };

  g_assert_null (avatar_tokenizer_new_llama (folder, NULL));
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarTokenizer) t = NULL;

    g_assert_true (g_file_set_contents (path, json, -1, NULL));
    g_assert_true (g_file_set_contents (config, cases[i].config, -1, NULL));
    t = avatar_tokenizer_new_llama (folder, &error);
    g_assert_true (!t == !!cases[i].what);
    if (error && !strstr (error->message, cases[i].what))
      g_error ("expected \"%s\" in \"%s\"", cases[i].what, error->message);
    if (i == 1)
      g_assert_cmpint (t->bos, ==, avatar_tokenizer_find (t, "<image>"));
  }
  g_remove (path);
  g_remove (config);
  g_rmdir (folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/tokenizer/bad-tokenizers", test_bad_tokenizers);
  g_test_add_func ("/tokenizer/bad-tables", test_bad_tables);
  g_test_add_func ("/tokenizer/too-many-values", test_too_many_values);
  g_test_add_func ("/tokenizer/dialects", test_dialects);
  g_test_add_func ("/tokenizer/bad-clip", test_bad_clip);
  g_test_add_func ("/tokenizer/folders", test_folders);
  return g_test_run ();
}
