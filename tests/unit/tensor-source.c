/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading tensors from files: every dtype and format in pieces, ranges that a tensor does not have,
 * and files that are cut short. */
#include "engine/formats/tensor-file.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define ROWS 7
#define COLS 19000 /* several pieces of the reader in all */
/* Number of the files below of which no tensor is copied to memory when they are opened. */
#define N_MAPPED 6
#define ODD 3 /* offset of the values: no address that is aligned */

static const gint64 shape[] = { ROWS, COLS };

typedef struct
{
  AvatarDType dtype;
  GBytes *bytes;
  AvatarTensorSource source;
  float *truth;
} Values;

/* Value @i, which every dtype can hold. */
static float
value_of (gsize i, AvatarDType dtype)
{
  gint value = i % 15;

  return dtype == AVATAR_U8 ? value : value - 7;
}

/* Writes @value in @dtype at any address. */
static void
put (guint8 *out, AvatarDType dtype, float value)
{
  gint64 large = GINT64_TO_LE ((gint64) value);
  gint32 medium = GINT32_TO_LE ((gint32) value);
  float aligned;

  switch (dtype) {
    case AVATAR_I64:
      memcpy (out, &large, sizeof large);
      break;
    case AVATAR_I32:
      memcpy (out, &medium, sizeof medium);
      break;
    case AVATAR_I8:
    case AVATAR_U8:
      *out = (guint8) (gint) value;
      break;
    default:
      avatar_dtype_from_f32 (&aligned, dtype, &value, 1);
      memcpy (out, &aligned, avatar_dtype_size (dtype));
  }
}

/* float8_e5m2 is read and not written. */
static guint8
e5m2_of (float value)
{
  guint16 half;

  avatar_dtype_from_f32 (&half, AVATAR_F16, &value, 1);
  return half >> 8;
}

static void
values_init (Values *v, AvatarDType dtype)
{
  gsize n = ROWS * COLS, size = avatar_dtype_size (dtype);
  guint8 *data = g_malloc (ODD + n * size);

  v->dtype = dtype;
  v->truth = g_new (float, n);
  for (gsize i = 0; i < n; i++) {
    v->truth[i] = dtype == AVATAR_F8_E5M2 ? (gint) (i % 8) : value_of (i, dtype);
    if (dtype == AVATAR_F8_E5M2)
      data[ODD + i] = e5m2_of (v->truth[i]);
    else
      put (data + ODD + i * size, dtype, v->truth[i]);
  }
  v->bytes = g_bytes_new_take (data, ODD + n * size);
  v->source = avatar_tensor_source_in_bytes (v->bytes, ODD, dtype, 2, shape);
}

static void
values_clear (Values *v)
{
  g_bytes_unref (v->bytes);
  g_free (v->truth);
}

/* @truth: all values of @source */
static void
check_pieces (const AvatarTensorSource *source, const float *truth)
{
  guint64 all = avatar_tensor_source_n (source);
  g_autofree float *some = g_new (float, MAX (all, 1));

  for (guint i = 0; i < 20; i++) {
    guint64 first = g_test_rand_int_range (0, all + 1);
    guint64 n = g_test_rand_int_range (0, all - first + 1);
    g_autoptr (GError) error = NULL;

    g_assert_true (avatar_tensor_source_read (source, first, n, some, &error));
    g_assert_no_error (error);
    g_assert_cmpmem (some, n * sizeof (float), truth + first, n * sizeof (float));
  }
}

static void
test_dtypes (void)
{
  for (guint dtype = 0; dtype < AVATAR_N_DTYPES; dtype++) {
    gsize size = avatar_dtype_size (dtype);
    g_autofree guint8 *stored = g_malloc (COLS * size);
    g_autofree float *found = NULL;
    AvatarTensorSource row;
    Values v;

    values_init (&v, dtype);
    found = avatar_tensor_source_read_all (&v.source, NULL);
    g_assert_cmpmem (found, ROWS * COLS * sizeof (float), v.truth, ROWS * COLS * sizeof (float));
    check_pieces (&v.source, v.truth);
    row = avatar_tensor_source_rows (&v.source, 5, 1);
    g_assert_true (avatar_tensor_source_read_stored (&row, 0, COLS, stored, NULL));
    g_assert_cmpmem (stored, COLS * size,
        (const guint8 *) g_bytes_get_data (v.bytes, NULL) + ODD + 5 * COLS * size, COLS * size);
    values_clear (&v);
  }
}

static void
test_shapes (void)
{
  AvatarTensorSource rows, matrix;
  g_autofree char *text = NULL;
  Values v;

  values_init (&v, AVATAR_BF16);
  rows = avatar_tensor_source_rows (&v.source, 2, 4);
  g_assert_cmpint (rows.shape[0], ==, 4);
  check_pieces (&rows, v.truth + 2 * COLS);
  rows = avatar_tensor_source_rows (&rows, 1, 2);
  check_pieces (&rows, v.truth + 3 * COLS);
  matrix = avatar_tensor_source_as_matrix (&rows, 2 * COLS, 1);
  check_pieces (&matrix, v.truth + 3 * COLS);
  g_assert_cmpuint (avatar_tensor_source_size (&matrix), ==, 2 * COLS * 2);
  text = avatar_tensor_source_describe (&matrix);
  g_assert_cmpstr (text, ==, "[38000, 1] bfloat16");
  values_clear (&v);
}

static void
refuse (const AvatarTensorSource *source, guint64 first, guint64 n)
{
  g_autoptr (GError) error = NULL, stored_error = NULL;
  float out[16];

  g_assert_false (avatar_tensor_source_read (source, first, n, out, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_READ);
  g_assert_false (avatar_tensor_source_read_stored (source, first, n, out, &stored_error));
  g_assert_error (stored_error, AVATAR_ERROR, AVATAR_ERROR_READ);
}

static void
test_bounds (void)
{
  const guint64 all = ROWS * COLS;
  AvatarTensorSource row, none = { 0 }, shape_only, outside;
  float out[1];
  Values v;

  values_init (&v, AVATAR_F16);
  g_assert_true (avatar_tensor_source_read (&v.source, all, 0, out, NULL));
  refuse (&v.source, all, 1);
  refuse (&v.source, all - 1, 2);
  refuse (&v.source, all + 1, 0);
  refuse (&v.source, G_MAXUINT64, 2);
  refuse (&v.source, 2, G_MAXUINT64);
  /* values of the next row are in the file, and not in the source */
  row = avatar_tensor_source_rows (&v.source, 1, 1);
  refuse (&row, COLS, 1);
  refuse (&none, 0, 1);
  shape_only = avatar_tensor_source_of_shape (AVATAR_F16, 2, shape);
  refuse (&shape_only, 0, 1);
  outside = avatar_tensor_source_in_bytes (v.bytes, ODD + 2, AVATAR_F16, 2, shape);
  refuse (&outside, all - 1, 1);
  outside.offset = G_MAXUINT64 - 1;
  refuse (&outside, 0, 1);
  values_clear (&v);
}

/* Every tensor of a file, whatever its format is. */
static void
test_file (gconstpointer path)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open (path, &error);

  g_assert_no_error (error);
  g_assert_cmpuint (avatar_tensor_file_n (file), >, 0);
  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    AvatarTensorSource source, same;
    const char *name = avatar_tensor_file_nth (file, i, &source);
    g_autofree float *truth = avatar_tensor_source_read_all (&source, &error);

    g_assert_no_error (error);
    g_assert_cmpstr (source.name, ==, name);
    g_assert_nonnull (source.file);
    g_assert_true (avatar_tensor_file_find (file, name, &same));
    check_pieces (&source, truth);
    if (source.rank > 1 && source.shape[0] > 1) {
      AvatarTensorSource rows = avatar_tensor_source_rows (&source, 1, source.shape[0] - 1);

      check_pieces (&rows, truth + avatar_tensor_source_n (&source) / source.shape[0]);
    }
  }
}

/* A file that is cut short after it has been opened: an error that names file and tensor. */
static void
test_cut_short (gconstpointer path)
{
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *name = g_path_get_basename (path);
  g_autofree char *copy = g_build_filename (folder, name, NULL);
  g_autoptr (AvatarTensorFile) file = NULL;
  g_autofree char *data = NULL;
  gsize length;

  g_assert_true (g_file_get_contents (path, &data, &length, NULL));
  g_assert_true (g_file_set_contents (copy, data, length, NULL));
  file = avatar_tensor_file_open (copy, NULL);
  g_assert_cmpint (truncate (copy, 0), ==, 0);
  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    g_autoptr (GError) error = NULL;
    AvatarTensorSource source;
    const char *tensor = avatar_tensor_file_nth (file, i, &source);
    g_autofree float *values = avatar_tensor_source_read_all (&source, &error);

    if (avatar_tensor_source_n (&source) == 0)
      continue;
    g_assert_null (values);
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_READ);
    g_assert_nonnull (strstr (error->message, copy));
    g_assert_nonnull (strstr (error->message, tensor));
    g_assert_nonnull (strstr (error->message, "cut short"));
  }
  g_unlink (copy);
  g_rmdir (folder);
}

int
main (int argc, char **argv)
{
  static const char *const files[] = { CORPUS_DIR "/gguf/kinds.gguf", CORPUS_DIR "/gguf/llama.gguf",
    CORPUS_DIR "/gguf/mmproj.gguf", AVATAR_PLAIN_DIR "/whisper_encoder.safetensors",
    AVATAR_PLAIN_DIR "/vae.safetensors", CORPUS_DIR "/torch/dtypes.pt",
    CORPUS_DIR "/torch/traced.pt", CORPUS_DIR "/torch/views.pt", CORPUS_DIR "/torch/strides.pt",
    CORPUS_DIR "/torch/legacy_views.pt" };

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/tensor-source/dtypes", test_dtypes);
  g_test_add_func ("/tensor-source/shapes", test_shapes);
  g_test_add_func ("/tensor-source/bounds", test_bounds);
  for (guint i = 0; i < G_N_ELEMENTS (files); i++) {
    g_autofree char *name = g_path_get_basename (files[i]);
    g_autofree char *whole = g_strconcat ("/tensor-source/file/", name, NULL);
    g_autofree char *cut = g_strconcat ("/tensor-source/cut-short/", name, NULL);

    g_test_add_data_func (whole, files[i], test_file);
    if (i < N_MAPPED)
      g_test_add_data_func (cut, files[i], test_cut_short);
  }
  return g_test_run ();
}
