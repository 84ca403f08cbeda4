/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GGUF files that ggml's own package has written, and files that try to break the reader (both
 * made by tools/goldens/corpus_gguf.py). */
#include "engine/formats/tensor-file.h"
#include "engine/weights/weights.h"
#include "tests/named-weights.h"

#include <string.h>

static AvatarTensorFile *
open_file (const char *name, GError **error)
{
  g_autofree char *path = g_build_filename (CORPUS_DIR, "gguf", name, NULL);

  return avatar_tensor_file_open (path, error);
}

static AvatarTensorFile *
open_good (const char *name)
{
  g_autoptr (GError) error = NULL;
  AvatarTensorFile *file = open_file (name, &error);

  g_assert_no_error (error);
  return file;
}

/* The values of @name; free with g_free(). */
static float *
values_of (AvatarTensorFile *file, const char *name, gint64 *n)
{
  g_autoptr (GError) error = NULL;
  AvatarTensorSource t;
  float *out;

  if (!avatar_tensor_file_find (file, name, &t))
    g_error ("\"%s\" is not there", name);
  *n = avatar_tensor_source_n (&t);
  out = avatar_tensor_source_read_all (&t, &error);
  g_assert_no_error (error);
  return out;
}

static void
test_plain (void)
{
  static const char *const names[] = { "f32", "f16", "bf16", "flat" };
  g_autoptr (AvatarTensorFile) file = open_good ("kinds.gguf");
  AvatarTensorSource t;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    gint64 n;
    g_autofree float *values = values_of (file, names[i], &n);

    for (gint64 j = 0; j < n; j++)
      g_assert_cmpfloat (values[j], ==, j);
  }
  g_assert_true (avatar_tensor_file_find (file, "f16", &t) && t.dtype == AVATAR_F16 && t.rank == 2);
  g_assert_true (t.shape[0] == 2 && t.shape[1] == 3);
  g_assert_true (avatar_tensor_file_find (file, "bf16", &t) && t.dtype == AVATAR_BF16);
  g_assert_true (avatar_tensor_file_find (file, "i32", &t) && t.dtype == AVATAR_I32);
  g_assert_true (avatar_tensor_file_find (file, "i8", &t) && t.dtype == AVATAR_I8);
  /* the shape before it was flattened */
  g_assert_true (avatar_tensor_file_find (file, "flat", &t) && t.rank == 5 && t.shape[0] == 2
      && t.shape[2] == 3);
  g_assert_nonnull (strstr (avatar_tensor_file_unusable_reason (file, "IQ4_NL"), "not supported"));
  g_assert_nonnull (strstr (avatar_tensor_file_unusable_reason (file, "short"), "not supported"));
  g_assert_null (avatar_tensor_file_unusable_reason (file, "f32"));
}

/* To the last bit, and from any place in a tensor. */
static void
test_blocks (gconstpointer name)
{
  g_autoptr (AvatarTensorFile) file = open_good ("kinds.gguf");
  g_autofree char *truth_name = g_strconcat (name, ".f32", NULL);
  gint64 n, m;
  g_autofree float *found = values_of (file, name, &n);
  g_autofree float *truth = values_of (file, truth_name, &m);
  AvatarTensorSource t;
  float some[700];

  g_assert_cmpint (n, ==, 3 * 512);
  for (gint64 i = 0; i < n; i++)
    g_assert_cmpfloat (found[i], ==, truth[i]);
  g_assert_true (avatar_tensor_file_find (file, name, &t) && t.shape[0] == 3 && t.shape[1] == 512);
  for (guint i = 0; i < 300; i++) {
    gint64 first = g_test_rand_int_range (0, n), count = g_test_rand_int_range (0, 700);

    count = MIN (count, n - first);
    g_assert_true (avatar_tensor_source_read (&t, first, count, some, NULL));
    g_assert_cmpmem (some, count * 4, truth + first, count * 4);
  }
  g_assert_false (avatar_tensor_source_read (&t, n - 1, 2, some, NULL));
}

/* Reads through AvatarWeights, which knows nothing of blocks. */
static void
test_weights (void)
{
  g_autoptr (AvatarTensorFile) file = open_good ("kinds.gguf");
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (GHashTable) table = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (AvatarWeights) weights = NULL;
  g_auto (NamedWeights) names = { 0 };
  g_autofree float *truth = NULL;
  AvatarTensorSource source;
  AvatarTensor t;
  gint64 n;

  g_assert_true (avatar_tensor_file_find (file, "Q4_K", &source));
  g_hash_table_insert (table, g_strdup ("w"), g_memdup2 (&source, sizeof source));
  named_weights_init (&names, 0);
  named_weights_add_all (&names, table);
  weights = avatar_weights_new_from_table (table, device, AVATAR_COMPONENT_LLAVA, names.list, NULL,
      AVATAR_WEIGHTS_LOAD, NULL);
  g_assert_nonnull (weights);
  truth = values_of (file, "Q4_K.f32", &n);
  t = named_weights_get (&names, "w");
  g_assert_cmpmem (t.data, n * 4, truth, n * 4);
}

/* Rows that llama.cpp's converter has permuted are restored, in every type and from any offset. */
static void
test_llama (void)
{
  g_autoptr (AvatarTensorFile) file = open_good ("llama.gguf");
  static const char ours[] = "language_model.model.";
  static const char *const parts[] = { "q", "k" };
  AvatarTensorSource t;

  g_assert_true (avatar_tensor_file_find (file, "language_model.model.embed_tokens.weight", &t)
      && t.dtype == AVATAR_F16);
  g_assert_true (avatar_tensor_file_find (file, "language_model.model.norm.weight", &t));
  g_assert_true (
      avatar_tensor_file_find (file, "language_model.model.layers.3.self_attn.o_proj.weight", &t));
  g_assert_nonnull (avatar_tensor_file_unusable_reason (file,
      "language_model.model.layers.0.mlp.gate_proj.weight"));
  for (guint i = 0; i < 8; i++) {
    g_autofree char *name
        = g_strdup_printf ("%slayers.%u.self_attn.%s_proj.weight", ours, i / 2, parts[i % 2]);
    g_autofree char *truth_name = g_strdup_printf ("truth.%u.%s", i / 2, parts[i % 2]);
    gint64 n, m;
    g_autofree float *found = values_of (file, name, &n), *truth = values_of (file, truth_name, &m);

    g_assert_cmpmem (found, n * 4, truth, m * 4);
    g_assert_true (avatar_tensor_file_find (file, name, &t));
    for (guint j = 0; j < 50; j++) {
      gint64 first = g_test_rand_int_range (0, n), count = g_test_rand_int_range (0, n - first + 1);
      g_autofree float *some = g_new (float, count + 1);

      g_assert_true (avatar_tensor_source_read (&t, first, count, some, NULL));
      g_assert_cmpmem (some, count * 4, truth + first, count * 4);
    }
  }
}

/* Both ways in which converters have named an MLP and the projector. */
static void
test_vision (gconstpointer name)
{
  static const char tower[] = "vision_tower.vision_model.";
  static const struct
  {
    const char *name;
    gint64 first, last; /* sides */
  } known[] = { { "embeddings.class_embedding", 8, 8 },
    { "embeddings.patch_embedding.weight", 8, 2 }, { "embeddings.position_embedding.weight", 5, 8 },
    { "pre_layrnorm.weight", 8, 8 }, { "encoder.layers.0.self_attn.q_proj.weight", 8, 8 },
    { "encoder.layers.0.self_attn.out_proj.bias", 8, 8 },
    { "encoder.layers.0.layer_norm1.weight", 8, 8 }, { "encoder.layers.0.mlp.fc1.weight", 16, 8 },
    { "encoder.layers.0.mlp.fc1.bias", 16, 16 }, { "encoder.layers.0.mlp.fc2.weight", 8, 16 },
    { "encoder.layers.0.mlp.fc2.bias", 8, 8 } };
  g_autoptr (AvatarTensorFile) file = open_good (name);
  AvatarTensorSource t;

  for (guint i = 0; i < G_N_ELEMENTS (known); i++) {
    g_autofree char *full = g_strconcat (tower, known[i].name, NULL);

    if (!avatar_tensor_file_find (file, full, &t) || t.shape[0] != known[i].first
        || t.shape[t.rank - 1] != known[i].last)
      g_error ("\"%s\" is not as it should be", full);
  }
  for (guint i = 0; i < 2; i++) {
    g_autofree char *full = g_strdup_printf ("multi_modal_projector.linear_%u.weight", i + 1);
    gint64 n;
    g_autofree float *values = values_of (file, full, &n);

    g_assert_cmpfloat (values[0], ==, i);
  }
}

static void
test_odd (void)
{
  static const char *const fine[] = { "one", "version2", "overlap", "same" };
  static const char *const without[][2] = { { "huge", "too large" }, { "huger", "too large" },
    { "empty", "too large" }, { "wide", "dimensions" }, { "no_dimensions", "dimensions" },
    { "half_block", "whole number" }, { "unknown", "not supported" } };
  static const struct
  {
    const char *name;
    guint rank;
  } shapes[]
      = { { "shape0", 2 }, { "shape1", 1 }, { "shape2", 1 }, { "shape3", 1 }, { "shape4", 1 } };
  g_autoptr (AvatarTensorFile) none = open_good ("none");
  AvatarTensorSource t;

  for (guint i = 0; i < G_N_ELEMENTS (fine); i++) {
    g_autoptr (AvatarTensorFile) file = open_good (fine[i]);

    g_assert_cmpuint (avatar_tensor_file_n (file), >, 0);
  }
  for (guint i = 0; i < G_N_ELEMENTS (without); i++) {
    g_autoptr (AvatarTensorFile) file = open_good (without[i][0]);

    g_assert_nonnull (strstr (avatar_tensor_file_unusable_reason (file, "a"), without[i][1]));
  }
  for (guint i = 0; i < G_N_ELEMENTS (shapes); i++) {
    g_autoptr (AvatarTensorFile) file = open_good (shapes[i].name);

    g_assert_true (avatar_tensor_file_find (file, "a", &t) && t.rank == shapes[i].rank);
  }
  g_assert_cmpuint (avatar_tensor_file_n (none), ==, 2);
}

static void
test_refused (void)
{
  static const char *const bad[][2] = { { "version1", "version" }, { "version4", "version" },
    { "short", "truncated" }, { "truncated", "truncated" }, { "many_tensors", "more than 65536" },
    { "many_properties", "more than 65536" }, { "long_name", "within its table" },
    { "bad_name", "within its table" }, { "far", "truncated" }, { "far_shape", "truncated" },
    { "twice", "the same name" }, { "dimensions", "within its table" },
    { "alignment0", "alignment" }, { "alignment", "alignment" }, { "nested", "within its table" },
    { "long_array", "within its table" }, { "longer_array", "within its table" },
    { "type", "within its table" }, { "llama_no_heads", "heads" }, { "llama_three_heads", "heads" },
    { "llama_eight_heads", "heads" }, { "llama_many_heads", "heads" },
    { "llama_twice", "the same name" } };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (AvatarTensorFile) file = open_file (bad[i][0], &error);

    if (file)
      g_error ("%s was not refused", bad[i][0]);
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
    if (!strstr (error->message, bad[i][1]) || !strstr (error->message, bad[i][0]))
      g_error ("expected \"%s\" in \"%s\"", bad[i][1], error->message);
  }
}

int
main (int argc, char **argv)
{
  static const char *const blocks[]
      = { "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K" };

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/gguf/plain", test_plain);
  for (guint i = 0; i < G_N_ELEMENTS (blocks); i++) {
    g_autofree char *path = g_strconcat ("/gguf/", blocks[i], NULL);

    g_test_add_data_func (path, blocks[i], test_blocks);
  }
  g_test_add_func ("/gguf/weights", test_weights);
  g_test_add_func ("/gguf/llama", test_llama);
  g_test_add_data_func ("/gguf/mmproj", "mmproj.gguf", test_vision);
  g_test_add_data_func ("/gguf/mmproj-old", "mmproj_old.gguf", test_vision);
  g_test_add_func ("/gguf/odd", test_odd);
  g_test_add_func ("/gguf/refused", test_refused);
  return g_test_run ();
}
