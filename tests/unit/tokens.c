/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ids of texts and prompts, compared with Hugging Face's tokenizers (tools/goldens/tokens.py). */
#include "engine/text/clip-text-normalize.h"
#include "engine/text/tokenizer.h"
#include "engine/model/config-released.h"
#include "tests/unit/growth.h"
#include "tools/random-config.h"
#include "tools/random-tokenizer.h"

#include <string.h>

#define TEXT GOLDEN_DIR "/text/"

static AvatarTokenizer *llama, *clip;

static char *
read_file (const char *path)
{
  char *text = NULL;
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

static char *
print_ids (const gint32 *ids, guint n)
{
  GString *out = g_string_new (NULL);

  for (guint i = 0; i < n; i++)
    g_string_append_printf (out, "%s%d", i ? " " : "", ids[i]);
  return g_string_free (out, FALSE);
}

/* "N#CHECKSUM": FNV-1a over the ids' bytes. */
static char *
checksum (const gint32 *ids, guint n)
{
  guint32 h = 2166136261u;

  for (guint i = 0; i < n; i++)
    for (guint k = 0; k < 4; k++)
      h = (h ^ ((guint32) ids[i] >> (8 * k) & 0xff)) * 16777619u;
  return g_strdup_printf ("%u#%08x", n, h);
}

static void
compare (const char *who, const char *text, const char *expected, const gint32 *ids, guint n)
{
  g_autofree char *found = strchr (expected, '#') ? checksum (ids, n) : print_ids (ids, n);

  if (strcmp (found, expected) != 0) {
    g_autofree char *all = print_ids (ids, n), *shown = g_strescape (text, NULL);

    g_error ("%s: \"%s\": expected %s, found %s: %s", who, shown, expected, found, all);
  }
}

/* The lines of a golden file that are no comments, in columns. */
static GPtrArray *
read_lines (const char *path)
{
  g_autofree char *text = read_file (path);
  g_auto (GStrv) lines = g_strsplit (text, "\n", -1);
  GPtrArray *rows = g_ptr_array_new_with_free_func ((GDestroyNotify) g_strfreev);

  for (guint i = 0; lines[i]; i++) {
    GStrv row = g_strsplit (lines[i], "\t", -1);

    if (lines[i][0] == '#' || g_strv_length (row) != 3)
      g_strfreev (row);
    else
      g_ptr_array_add (rows, row);
  }
  return rows;
}

/* @c: NULL: CLIP's ids are not compared. */
static void
compare_texts (const char *path, guint least, const AvatarTokenizer *l, const AvatarTokenizer *c)
{
  g_autoptr (GPtrArray) rows = read_lines (path);

  g_assert_cmpuint (rows->len, >, least);
  for (guint i = 0; i < rows->len; i++) {
    const char *const *row = rows->pdata[i];
    g_autofree char *text = g_strcompress (row[0]);
    g_autoptr (GArray) a = encode (l, text), b = c ? encode (c, text) : NULL;

    compare ("LLaMA", text, row[1], (gint32 *) a->data, a->len);
    if (b)
      compare ("CLIP", text, row[2], (gint32 *) b->data, b->len);
  }
}

static void
test_texts (void)
{
  compare_texts (TEXT "texts.txt", 2000, llama, clip);
}

/* Merges as lists of two, written as strings instead. */
static char *
with_strings (const char *json)
{
  static const struct
  {
    const char *from, *to;
  } changes[] = { { "[\n        \"", "\"" }, { "\",\n        \"", " " }, { "\"\n      ]", "\"" } };
  const char *merges = strstr (json, "\"merges\"");
  GString *out = g_string_new_len (json, merges - json);

  while (*merges) {
    guint i = 0;

    while (i < G_N_ELEMENTS (changes) && !g_str_has_prefix (merges, changes[i].from))
      i++;
    if (i < G_N_ELEMENTS (changes)) {
      g_string_append (out, changes[i].to);
      merges += strlen (changes[i].from);
    } else {
      g_string_append_c (out, *merges++);
    }
  }
  return g_string_free (out, FALSE);
}

/* Tokenizers of the released sizes, as avatar-random makes them: ids are Hugging Face's, also where
 * merges are written as strings. */
static void
test_full (void)
{
  const RandomTokenizerSizes sizes = { 128320, 280147, 0 }, clip_sizes = { 49408, 48894, 0 };
  g_autoptr (AvatarConfig) config = avatar_config_released ();
  g_auto (GStrv) texts = random_config_texts (config);
  g_auto (RandomTokenizer) random = random_tokenizer_llama (&sizes, (const char *const *) texts);
  g_autofree char *strings = with_strings (random.json), *merges = NULL;
  g_autofree char *vocab
      = random_tokenizer_clip (&clip_sizes, (const char *const *) texts, &merges);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTokenizer) a
      = avatar_tokenizer_parse_llama (random.json, strlen (random.json), "t", &error),
      b = avatar_tokenizer_parse_llama (strings, strlen (strings), "t", &error),
      c = avatar_tokenizer_parse_clip (vocab, strlen (vocab), merges, strlen (merges), "c", &error);

  g_assert_no_error (error);
  g_assert_cmpuint (strlen (random.json), >, 16000000);
  g_assert_cmpuint (strlen (strings), <, 10000000);
  g_assert_cmpuint (avatar_bpe_n_tokens (a->bpe), ==, 128000);
  g_assert_cmpuint (avatar_bpe_n_merges (a->bpe), ==, 280147);
  g_assert_cmpuint (avatar_bpe_n_merges (b->bpe), ==, 280147);
  g_assert_cmpuint (avatar_bpe_n_tokens (c->bpe), ==, 49408);
  g_assert_cmpuint (avatar_bpe_n_merges (c->bpe), ==, 48894);
  compare_texts (TEXT "full.txt", 400, a, c);
  compare_texts (TEXT "full.txt", 400, b, NULL);
}

/* -------------------------------------------------------------------------------------- prompts */

/* Upstream's, but for a shorter template, as tokens.py has it. */
static AvatarConfig *
make_config (void)
{
  AvatarConfig *config = avatar_config_released ();
  g_autofree char *text = read_file (TEXT "prompts.txt");
  const char *found = g_strstr_len (text, -1, "crop_start ");

  g_assert_nonnull (found);
  config->text.crop_start = strtoul (found + strlen ("crop_start "), NULL, 10);
  g_assert_cmpuint (config->text.max_length, ==, 351);
  g_free (config->text.template_head);
  config->text.template_head = g_strdup (
      "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the "
      "following aspects: 1. The main content and theme of the video.2. The "
      "color.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n");
  return config;
}

static void
test_prompts (void)
{
  g_autoptr (GPtrArray) rows = read_lines (TEXT "prompts.txt");
  g_autoptr (AvatarConfig) config = make_config ();

  g_assert_cmpuint (rows->len, >, 50);
  for (guint i = 0; i < rows->len; i++) {
    const char *const *row = rows->pdata[i];
    g_autofree char *text = g_strcompress (row[0]);
    g_auto (AvatarLlavaTokens) a = { 0 };
    g_auto (AvatarClipTokens) b = { 0 };
    g_autoptr (GError) error = NULL;

    avatar_tokens_llava (llama, &config->text, text, AVATAR_PROMPT_NEGATIVE, &a, &error);
    g_assert_no_error (error);
    avatar_tokens_clip (clip, &config->text, text, AVATAR_PROMPT_NEGATIVE, &b, &error);
    g_assert_no_error (error);
    compare ("LLaVA's prompt", text, row[1], a.ids, a.n);
    compare ("CLIP's prompt", text, row[2], b.ids, b.n);
    g_assert_cmpuint (a.length, ==, 351);
    g_assert_cmpuint (a.crop, ==, config->text.crop_start);
    g_assert_cmpuint (a.dropped, ==, 0);
    g_assert_cmpint (b.ids[b.eos], ==, avatar_tokenizer_find (clip, "<|endoftext|>"));
    for (guint k = 0; k < b.eos; k++)
      g_assert_cmpint (b.ids[k], !=, b.ids[b.eos]);
  }
}

/* A positive prompt has the quality words before it, for both encoders. */
static void
test_quality (void)
{
  g_autoptr (AvatarConfig) config = make_config ();
  g_auto (AvatarLlavaTokens) a = { 0 }, b = { 0 };
  g_auto (AvatarClipTokens) c = { 0 }, d = { 0 };
  const char *full = "Authentic, Realistic, Natural, High-quality, Lens-Fixed, A man";

  g_assert_true (
      avatar_tokens_llava (llama, &config->text, "A man", AVATAR_PROMPT_POSITIVE, &a, NULL));
  g_assert_true (
      avatar_tokens_llava (llama, &config->text, full, AVATAR_PROMPT_NEGATIVE, &b, NULL));
  g_assert_cmpmem (a.ids, a.n * 4, b.ids, b.n * 4);
  g_assert_true (
      avatar_tokens_clip (clip, &config->text, "A man", AVATAR_PROMPT_POSITIVE, &c, NULL));
  g_assert_true (avatar_tokens_clip (clip, &config->text, full, AVATAR_PROMPT_NEGATIVE, &d, NULL));
  g_assert_cmpmem (c.ids, c.n * 4, d.ids, d.n * 4);
  g_assert_cmpuint (c.eos, >, 5);
}

/* The prompt is cut, and all that follows it stays. */
static void
test_truncation (void)
{
  g_autoptr (AvatarConfig) config = make_config ();
  g_autoptr (GArray) tail = encode (llama, "<|eot_id|>\nThe person looks like<image>");
  g_autoptr (GString) prompt = g_string_new ("a");
  guint room = 351 - config->text.crop_start - tail->len;
  guint expected = 0;

  /* "a" and " a" are an id each */
  for (guint words = 1; words < room + 30; words++, g_string_append (prompt, " a")) {
    g_auto (AvatarLlavaTokens) t = { 0 };

    g_assert_true (
        avatar_tokens_llava (llama, &config->text, prompt->str, AVATAR_PROMPT_NEGATIVE, &t, NULL));
    g_assert_cmpuint (t.n, ==, MIN (351, config->text.crop_start + words + tail->len));
    g_assert_cmpuint (t.dropped, ==, expected);
    g_assert_cmpmem (t.ids + t.n - tail->len, tail->len * 4, tail->data, tail->len * 4);
    expected += words >= room;
  }
  for (guint words = 1; words < 100; words++) {
    g_autofree char *text = g_strnfill (words, '!');
    g_auto (AvatarClipTokens) t = { 0 };

    for (guint i = 1; i < words; i += 2)
      text[i] = ' ';
    g_assert_true (
        avatar_tokens_clip (clip, &config->text, text, AVATAR_PROMPT_NEGATIVE, &t, NULL));
    g_assert_cmpuint (t.n, ==, 77);
    g_assert_cmpuint (t.eos, ==, MIN (76, 1 + (words + 1) / 2));
    g_assert_cmpuint (t.dropped, ==, (words + 1) / 2 > 75 ? (words + 1) / 2 - 75 : 0);
  }
}

static void
refuse_prompt (const AvatarTextConfig *c, const char *prompt, int code, const char *what)
{
  g_auto (AvatarLlavaTokens) t = { 0 };
  g_autoptr (GError) error = NULL;

  g_assert_false (avatar_tokens_llava (llama, c, prompt, AVATAR_PROMPT_POSITIVE, &t, &error));
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, what))
    g_error ("expected \"%s\" in \"%s\"", what, error->message);
  g_assert_null (t.ids);
}

static void
test_bad_prompts (void)
{
  g_autoptr (AvatarConfig) config = make_config ();
  AvatarTextConfig c = config->text;
  g_autofree char *endless = g_strnfill ((1 << 20) + 1, 'a');
  g_auto (AvatarClipTokens) t = { 0 };
  g_autoptr (GError) error = NULL;

  refuse_prompt (&c, "abc\xff", AVATAR_ERROR_SETTINGS, "UTF-8 at byte 3");
  refuse_prompt (&c, "an <image> of", AVATAR_ERROR_SETTINGS, "portrait");
  refuse_prompt (&c, endless, AVATAR_ERROR_SETTINGS, "1048577 bytes");
  g_assert_false (avatar_tokens_clip (clip, &c, "\xc0\x80", AVATAR_PROMPT_NEGATIVE, &t, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  c.crop_start++;
  refuse_prompt (&c, "a", AVATAR_ERROR_MISMATCH, "crop_start");
  c.crop_start--;
  c.max_length = c.crop_start + 3;
  refuse_prompt (&c, "a", AVATAR_ERROR_MISMATCH, "max_length");
  c.max_length = 351;
  c.suffix = "nothing";
  refuse_prompt (&c, "a", AVATAR_ERROR_MISMATCH, "<image>");
  c.suffix = "nothing<image> ";
  refuse_prompt (&c, "a", AVATAR_ERROR_MISMATCH, "<image>");
}

/* ---------------------------------------------------------------------------------------- BPE */

static void
encode_long_piece (gsize n, gconstpointer bpe)
{
  g_autoptr (GArray) ids = g_array_new (FALSE, FALSE, sizeof (gint32));
  g_autofree char *text = g_strnfill (n, 'a');

  avatar_bpe_encode (bpe, text, n, ids);
  g_assert_cmpuint (ids->len, ==, n / 1024);
  for (guint i = 0; i < ids->len; i++)
    g_assert_cmpint (g_array_index (ids, gint32, i), ==, 2024);
}

/* Runs of "a" are tokens up to a length of 1024; a word of half a MiB is encoded in linear time. */
static void
test_long_piece (void)
{
  static const AvatarBpeRules rules = { 0 };
  g_autoptr (AvatarBpe) bpe = avatar_bpe_new (&rules);

  for (guint byte = 0; byte < 256; byte++) {
    g_autoptr (GString) name = g_string_new (NULL);

    avatar_bpe_name_byte (byte, name);
    g_assert_true (avatar_bpe_add_token (bpe, name->str, name->len, byte));
  }
  for (guint n = 1; n < 1024; n *= 2) {
    g_autofree char *half = g_strnfill (n, 'a'), *all = g_strnfill (2 * n, 'a');

    g_assert_true (avatar_bpe_add_token (bpe, all, 2 * n, 1000 + 2 * n));
    g_assert_true (avatar_bpe_add_merge (bpe, half, n, half, n));
  }
  g_assert_cmpint (avatar_bpe_finish (bpe), ==, -1);
  assert_grows_linearly (encode_long_piece, 1 << 15, bpe);
}

/* Merges of abcabc with the ranks "b c", "abc a", "a bc". Applied one at a time, "abca" is made
 * from the first "abc" at once; applied in passes, both "abc" are made before. */
static void
test_passes (void)
{
  for (guint passes = 0; passes < 2; passes++) {
    const AvatarBpeRules rules = { .in_passes = passes };
    g_autoptr (AvatarBpe) bpe = avatar_bpe_new (&rules);
    g_autoptr (GArray) ids = g_array_new (FALSE, FALSE, sizeof (gint32));
    g_autofree char *found = NULL;

    for (guint byte = 0; byte < 256; byte++) {
      g_autoptr (GString) name = g_string_new (NULL);

      avatar_bpe_name_byte (byte, name);
      avatar_bpe_add_token (bpe, name->str, name->len, byte);
    }
    avatar_bpe_add_token (bpe, "bc", strlen ("bc"), 300);
    avatar_bpe_add_token (bpe, "abc", strlen ("abc"), 301);
    avatar_bpe_add_token (bpe, "abca", strlen ("abca"), 302);
    g_assert_false (avatar_bpe_add_token (bpe, "bc", strlen ("bc"), 303));
    g_assert_true (avatar_bpe_add_merge (bpe, "b", strlen ("b"), "c", strlen ("c")));
    g_assert_true (avatar_bpe_add_merge (bpe, "abc", strlen ("abc"), "a", strlen ("a")));
    g_assert_true (avatar_bpe_add_merge (bpe, "a", strlen ("a"), "bc", strlen ("bc")));
    g_assert_false (avatar_bpe_add_merge (bpe, "a", strlen ("a"), "b", strlen ("b")));
    avatar_bpe_finish (bpe);
    avatar_bpe_encode (bpe, "abcabc", 6, ids);
    found = print_ids ((gint32 *) ids->data, ids->len);
    g_assert_cmpstr (found, ==, passes ? "301 301" : "302 300");
  }
}

/* About @n bytes of @pattern, for both. */
static void
encode_run (gsize n, gconstpointer pattern)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_autoptr (GArray) a = NULL, b = NULL;

  while (text->len < n)
    g_string_append (text, pattern);
  a = encode (llama, text->str);
  b = encode (clip, text->str);
  g_assert_cmpuint (a->len, >, 0);
}

/* Runs that a careless reading takes the square of their length for. */
static void
test_long_texts (void)
{
  static const char *const patterns[] = { " ", "<", "<|", "\n ", "\xcc\x81\xcc\xa3", "\xce\xa3.",
    "'", "1", "<|reserved_special_token_" };

  for (guint i = 0; i < G_N_ELEMENTS (patterns); i++)
    assert_grows_linearly (encode_run, 1 << 13, patterns[i]);
}

static void
test_clean (void)
{
  static const struct
  {
    const char *text, *clean;
  } cases[] = {
    { "  A\tB\r\n C ", "a b c" },
    { "\xe4\xb8\xad\xe6\x96\x87x", "\xe4\xb8\xad \xe6\x96\x87 x" },
    { "a\xcc\x81", "\xc3\xa1" },
    { "\xc4\xb0", "i\xcc\x87" },
    { "\xce\x91\xce\xa3 \xce\xa3\xce\x91", "\xce\xb1\xcf\x82 \xcf\x83\xce\xb1" },
    { "a\xe2\x80\x8d\x62\xef\xbf\xbd\x01", "ab" },
    { "a\xe2\x80\xa8\xe2\x80\xa9z", "a z" },
    { "", "" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *clean = avatar_clip_normalize (cases[i].text, strlen (cases[i].text));

    g_assert_cmpstr (clean, ==, cases[i].clean);
  }
}

int
main (int argc, char **argv)
{
  GError *error = NULL;

  g_test_init (&argc, &argv, NULL);
  llama = avatar_tokenizer_new_llama (TEXT "llama", &error);
  g_assert_no_error (error);
  clip = avatar_tokenizer_new_clip (TEXT "clip", &error);
  g_assert_no_error (error);
  g_test_add_func ("/tokens/texts", test_texts);
  g_test_add_func ("/tokens/full", test_full);
  g_test_add_func ("/tokens/prompts", test_prompts);
  g_test_add_func ("/tokens/quality", test_quality);
  g_test_add_func ("/tokens/truncation", test_truncation);
  g_test_add_func ("/tokens/bad-prompts", test_bad_prompts);
  g_test_add_func ("/tokens/long-piece", test_long_piece);
  g_test_add_func ("/tokens/passes", test_passes);
  g_test_add_func ("/tokens/long-texts", test_long_texts);
  g_test_add_func ("/tokens/clean", test_clean);
  return g_test_run ();
}
