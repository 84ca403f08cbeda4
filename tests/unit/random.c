/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random weights depend on nothing but seed, name and index; what is written is read back. */
#include "engine/formats/tensor-file.h"
#include "engine/model/random-weights.h"
#include "engine/formats/safetensors.h"
#include "engine/model/config-released.h"
#include "engine/formats/tensor-writer.h"
#include "engine/text/tokenizer.h"
#include "tools/random-config.h"
#include "tools/random-text.h"
#include "tools/random-tokenizer.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#define N 200000

static void
test_pieces (void)
{
  static const AvatarDType dtypes[] = { AVATAR_F32, AVATAR_F16, AVATAR_BF16, AVATAR_F8_E4M3 };
  AvatarTensor t = avatar_tensor (AVATAR_F32, NULL, 2, (gint64) 100, (gint64) N / 100);
  AvatarRandom random = avatar_random_for ("single_blocks.3.linear1.weight", t, 7);

  random.width = 448;
  for (guint i = 0; i < G_N_ELEMENTS (dtypes); i++) {
    gsize size = avatar_dtype_size (dtypes[i]);
    g_autofree guint8 *whole = g_malloc (N * size), *pieces = g_malloc (N * size);

    avatar_random_fill (&random, 0, N, dtypes[i], whole);
    /* backwards, in pieces of odd lengths but at multiples of 4 */
    for (gssize at = N / 1236 * 1236; at >= 0; at -= 1236)
      avatar_random_fill (&random, at, MIN (1236, N - at), dtypes[i], pieces + at * size);
    g_assert_cmpmem (whole, N * size, pieces, N * size);
  }
}

static void
test_law (void)
{
  AvatarTensor t = avatar_tensor (AVATAR_F32, NULL, 2, (gint64) 64, (gint64) N / 64);
  AvatarTensor vector = avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 64);
  AvatarRandom matrix = avatar_random_for ("a.weight", t, 0), other;
  g_autofree float *values = g_new (float, N);
  double sum = 0, squares = 0;

  avatar_random_fill (&matrix, 0, N, AVATAR_F32, values);
  for (guint i = 0; i < N; i++) {
    g_assert_cmpfloat (fabsf (values[i]), <=, matrix.width);
    sum += values[i];
    squares += values[i] * values[i];
  }
  g_assert_cmpfloat (fabs (sum / N), <, 0.01 * matrix.width);
  g_assert_cmpfloat (fabs (sqrt (3 * squares / N) / matrix.width - 1), <, 0.01);
  other = avatar_random_for ("a.weight", t, 1);
  g_assert_cmpuint (other.stream, !=, matrix.stream);
  other = avatar_random_for ("b.weight", t, 0);
  g_assert_cmpuint (other.stream, !=, matrix.stream);
  g_assert_cmpfloat (avatar_random_for ("norm.weight", vector, 0).centre, ==, 1);
  g_assert_cmpfloat (avatar_random_for ("norm.bias", vector, 0).centre, ==, 0);
}

/* The bench's tables rest on these values. */
static void
test_values (void)
{
  AvatarRandom random = { .stream = 1, .centre = 0, .width = 32768 };
  float values[4];

  avatar_random_fill (&random, 0, 4, AVATAR_F32, values);
  g_assert_cmpfloat (values[0], ==, (gint16) 0x5e5);
  g_assert_cmpfloat (values[3], ==, (gint16) 0x5692);
}

static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  AvatarRandom random = avatar_random_for (t->name, t->tensor, 0);

  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

static void
test_safetensors (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "x.safetensors", NULL);
  g_autofree char *part = g_strconcat (path, ".part", NULL);
  g_autoptr (AvatarSafetensors) file = NULL;
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  /* more than one piece of the writer's; 8-bit before 16-bit, which the writer must not keep */
  AvatarNamedTensor tensors[] = {
    { "b", avatar_tensor (AVATAR_F8_E4M3, NULL, 1, (gint64) 3) },
    { "a", avatar_tensor (AVATAR_BF16, NULL, 2, (gint64) 1025, (gint64) 2047) },
  };

  g_array_append_vals (list, tensors, G_N_ELEMENTS (tensors));
  g_assert_true (avatar_write_safetensors (path, list, fill, NULL, &error));
  g_assert_no_error (error);
  g_assert_false (g_file_test (part, G_FILE_TEST_EXISTS));
  file = avatar_safetensors_open (path, &error);
  g_assert_no_error (error);
  for (guint i = 0; i < G_N_ELEMENTS (tensors); i++) {
    gsize bytes = avatar_tensor_bytes (tensors[i].tensor);
    g_autofree guint8 *want = g_malloc (bytes), *stored = g_malloc (bytes);
    AvatarTensorSource found;
    guint64 n;

    g_assert_true (avatar_safetensors_get (file, tensors[i].name, &found));
    g_assert_cmpint (found.dtype, ==, tensors[i].tensor.dtype);
    n = avatar_tensor_source_n (&found);
    fill (&tensors[i], 0, n, want, NULL);
    g_assert_true (avatar_tensor_source_read_stored (&found, 0, n, stored, NULL));
    g_assert_cmpmem (stored, avatar_tensor_source_size (&found), want, bytes);
  }
  g_unlink (path);
  g_rmdir (folder);
  g_assert_false (avatar_write_safetensors (path, list, fill, NULL, &error)); /* no such folder */
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_READ);
}

static gint64
count (GArray *list)
{
  gint64 n = 0;

  for (guint i = 0; i < list->len; i++)
    n += avatar_tensor_n (g_array_index (list, AvatarNamedTensor, i).tensor);
  return n;
}

/* Without values: as long, with the same table, zeros, and hardly a block on the disk. */
static void
test_holes (void)
{
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor pair[]
      = { { "a", avatar_tensor (AVATAR_F16, NULL, 2, (gint64) 3000, (gint64) 3000) },
          { "b", avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 3) } };
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  const gsize bytes = 3000 * 3000 * 2 + 3 * 4;

  g_array_append_vals (list, pair, 2);
  for (guint i = 0; i < 2; i++) {
    g_autofree char *path = g_build_filename (folder, "x", NULL);
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarTensorFile) file = NULL;
    AvatarTensorSource t;
    GStatBuf st;

    g_assert_true (i ? avatar_write_torch (path, NULL, list, NULL, NULL, &error)
                     : avatar_write_safetensors (path, list, NULL, NULL, &error));
    g_assert_cmpint (g_stat (path, &st), ==, 0);
    g_assert_cmpint (st.st_size, >=, bytes);
    g_assert_cmpint (st.st_blocks * 512, <, bytes / 2);
    file = avatar_tensor_file_open (path, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (avatar_tensor_file_n (file), ==, 2);
    for (guint j = 0; j < 2; j++) {
      g_autofree float *values = NULL;

      g_assert_nonnull (avatar_tensor_file_nth (file, j, &t));
      values = avatar_tensor_source_read_all (&t, &error);
      g_assert_no_error (error);
      for (guint64 k = 0; k < avatar_tensor_source_n (&t); k++)
        g_assert_cmpfloat (values[k], ==, 0);
    }
    g_remove (path);
  }
  g_rmdir (folder);
}

/* The text encoders have as many values as the released ones
 * (docs/dev/spec/vae-text-face-formats.md 2.1, 3). */
static void
test_text (void)
{
  g_autoptr (AvatarConfig) config = avatar_config_released ();
  g_autoptr (GStringChunk) names = g_string_chunk_new (65536);
  LlavaSizes llava = random_llava_sizes (config, RANDOM_SIZES_RELEASED);
  ClipSizes clip = random_clip_sizes (config, RANDOM_SIZES_RELEASED);
  g_autoptr (GArray) llava_list = random_llava_list (&llava, names);
  g_autoptr (GArray) clip_list = random_clip_list (&clip, names);

  g_assert_cmpint (count (llava_list), ==, 8355272704);
  g_assert_cmpint (count (clip_list), ==, 123060480);
}

/* Tokenizers of the released sizes have the released ids, and the released crop_start. */
static void
test_tokenizers (void)
{
  g_autoptr (AvatarConfig) config = avatar_config_released ();
  g_auto (GStrv) texts = random_config_texts (config);
  const RandomTokenizerSizes sizes = { 128320, 280147, 0 }, clip_sizes = { 49408, 48894, 0 };
  g_auto (RandomTokenizer) random = random_tokenizer_llama (&sizes, (const char *const *) texts);
  g_autofree char *merges = NULL;
  g_autofree char *vocab
      = random_tokenizer_clip (&clip_sizes, (const char *const *) texts, &merges);
  g_autoptr (AvatarTokenizer) llama
      = avatar_tokenizer_parse_llama (random.json, strlen (random.json), "t", NULL);
  g_autoptr (AvatarTokenizer) clip
      = avatar_tokenizer_parse_clip (vocab, strlen (vocab), merges, strlen (merges), "c", NULL);

  g_assert_true (llama && clip);
  g_assert_true (
      avatar_tokenizer_configure (llama, random.config, strlen (random.config), "t", NULL));
  g_assert_cmpint (llama->bos, ==, 128000);
  g_assert_cmpint (avatar_tokenizer_find (llama, "<|eot_id|>"), ==, 128009);
  g_assert_cmpint (avatar_tokenizer_find (llama, "<|reserved_special_token_250|>"), ==, 128255);
  g_assert_cmpint (avatar_tokenizer_find (llama, "<image>"), ==, 128257);
  g_assert_cmpint (avatar_tokenizer_find (llama, "<pad>"), ==, 128258);
  g_assert_cmpuint (avatar_tokens_count_head (llama, &config->text), ==, 95);
  g_assert_cmpint (clip->bos, ==, 49406);
  g_assert_cmpint (clip->eos, ==, 49407);
}

/* A seed determines the bytes. Tokens without merges have names that occur in no text. */
static void
test_tokenizer_seeds (void)
{
  static const char *const texts[] = { "A man talks.", NULL };
  RandomTokenizerSizes sizes = { 4096, 6000, 1 };
  g_auto (RandomTokenizer) first = random_tokenizer_llama (&sizes, texts),
                           again = random_tokenizer_llama (&sizes, texts), other = { 0 },
                           small = { 0 };
  g_autoptr (AvatarTokenizer) full
      = avatar_tokenizer_parse_llama (first.json, strlen (first.json), "t", NULL);

  sizes.seed = 2;
  other = random_tokenizer_llama (&sizes, texts);
  sizes.merges = 0;
  small = random_tokenizer_llama (&sizes, texts);
  g_assert_cmpstr (first.json, ==, again.json);
  g_assert_cmpstr (first.json, !=, other.json);
  g_assert_nonnull (full);
  g_assert_cmpuint (avatar_bpe_n_tokens (full->bpe), ==, 4096 - 320);
  g_assert_cmpuint (avatar_bpe_n_merges (full->bpe), ==, 6000);
  g_assert_nonnull (strstr (small.json,
      "\"\xc4\x80"
      "0\":"));
}

/* Another template has another length, which the configuration is told. */
static void
test_other_template (void)
{
  g_autoptr (GString) json = g_string_new (avatar_config_released_json ());
  g_autoptr (AvatarConfig) config = NULL, fitting = NULL;
  g_autofree char *changed = NULL;

  g_string_replace (json, "\"crop_start\": 95,",
      "\"crop_start\": 90, \"template\": \"One two: {}<|eot_id|>\",", 1);
  config = avatar_config_parse (json->str, -1, "c.json", NULL);
  g_assert_nonnull (config);
  changed = random_config_with_text (json->str, config, RANDOM_SIZES_SMALL, NULL);
  fitting = avatar_config_parse (changed, -1, "c.json", NULL);
  g_assert_cmpuint (fitting->text.crop_start, ==, 5); /* BOS, One, two, :, space */
  g_assert_cmpuint (fitting->text.max_length, ==, 351 - 90 + 5);
  g_assert_cmpuint (fitting->text.image_tokens, ==, 16);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/random/pieces", test_pieces);
  g_test_add_func ("/random/law", test_law);
  g_test_add_func ("/random/values", test_values);
  g_test_add_func ("/random/safetensors", test_safetensors);
  g_test_add_func ("/random/holes", test_holes);
  g_test_add_func ("/random/text", test_text);
  g_test_add_func ("/random/tokenizers", test_tokenizers);
  g_test_add_func ("/random/tokenizer-seeds", test_tokenizer_seeds);
  g_test_add_func ("/random/other-template", test_other_template);
  return g_test_run ();
}
