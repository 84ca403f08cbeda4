/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that torch has written, in every layout that is read, and files that try to break the
 * reader (both made by tools/goldens/corpus_torch.py); what our own writer makes. */
#include "engine/formats/tensor-file.h"
#include "engine/formats/pickle.h"
#include "engine/formats/tensor-writer.h"

#include <glib/gstdio.h>
#include <string.h>

static AvatarTensorFile *
open_file (const char *name, GError **error)
{
  g_autofree char *path = g_build_filename (CORPUS_DIR, "torch", name, NULL);

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

static double
value (const AvatarTensorSource *t, guint i)
{
  float out;

  g_assert_true (avatar_tensor_source_read (t, i, 1, &out, NULL));
  return out;
}

/* @name is there, of @n values that count up from @first. */
static void
expect (AvatarTensorFile *file, const char *name, guint n, double first)
{
  AvatarTensorSource t;

  if (!avatar_tensor_file_find (file, name, &t))
    g_error ("%s: \"%s\" is not there", avatar_tensor_file_get_name (file), name);
  g_assert_cmpuint (avatar_tensor_source_n (&t), ==, n);
  for (guint i = 0; i < n; i++)
    g_assert_cmpfloat (value (&t, i), ==, first + i);
}

static void
expect_not (AvatarTensorFile *file, const char *name, const char *why)
{
  const char *found = avatar_tensor_file_unusable_reason (file, name);
  AvatarTensorSource t;

  g_assert_false (avatar_tensor_file_find (file, name, &t));
  if (!found || !strstr (found, why))
    g_error ("\"%s\": expected \"%s\" in \"%s\"", name, why, found ? found : "(nothing)");
}

static void
test_dtypes (gconstpointer data)
{
  static const AvatarDType dtypes[] = { AVATAR_F32, AVATAR_F16, AVATAR_BF16, AVATAR_F8_E4M3,
    AVATAR_I64, AVATAR_I32, AVATAR_I8, AVATAR_U8 };
  static const char *const names[]
      = { "float32", "float16", "bfloat16", "float8_e4m3fn", "int64", "int32", "int8", "uint8" };
  g_autoptr (AvatarTensorFile) file = open_good (data);
  AvatarTensorSource t;

  g_assert_cmpuint (avatar_tensor_file_n (file), ==, G_N_ELEMENTS (names));
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_assert_cmpstr (avatar_tensor_file_nth (file, i, &t), ==, names[i]);
    g_assert_cmpint (t.dtype, ==, dtypes[i]);
    g_assert_cmpuint (t.rank, ==, 2);
    g_assert_cmpint (t.shape[1], ==, 3);
    expect (file, names[i], 6, 0);
  }
}

/* @name is there, of these values. */
static void
expect_values (AvatarTensorFile *file, const char *name, guint n, const double *values)
{
  AvatarTensorSource t;

  if (!avatar_tensor_file_find (file, name, &t))
    g_error ("%s: \"%s\" is not there", avatar_tensor_file_get_name (file), name);
  g_assert_cmpuint (avatar_tensor_source_n (&t), ==, n);
  for (guint i = 0; i < n; i++)
    g_assert_cmpfloat (value (&t, i), ==, values[i]);
}

static void
test_views (gconstpointer data)
{
  static const double columns[] = { 1, 2, 3, 5, 6, 7, 9, 10, 11 };
  static const double turned[] = { 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11 };
  static const double turned6[] = { 0, 3, 1, 4, 2, 5 };
  g_autoptr (AvatarTensorFile) file = open_good (data);
  AvatarTensorSource t;

  expect (file, "whole", 12, 0);
  expect (file, "rows", 8, 4);
  expect (file, "one_row", 4, 4);
  expect (file, "again", 12, 0);
  expect (file, "parameter", 3, 0);
  expect (file, "scalar", 1, 2.5);
  expect (file, "number", 1, 1.5);
  expect (file, "none", 0, 0);
  g_assert_true (avatar_tensor_file_find (file, "one_row", &t));
  g_assert_cmpuint (t.rank, ==, 3);
  g_assert_false (avatar_tensor_file_find (file, "text", &t));
  expect_values (file, "columns", 9, columns);
  expect_values (file, "turned", 12, turned);
  expect (file, "last", 24, 0); /* channels last, in their order all the same */
  expect (file, "double", 2, 0);
  expect_values (file, "double_turned", 6, turned6);
  expect_not (file, "spread", "contiguous");
  expect_not (file, "many", "dimensions");
  expect_not (file, "short", "dtype");
}

static void
test_strides (void)
{
  static const double turned[] = { 0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11 };
  static const double steps[] = { 2, 5, 8 };
  g_autoptr (AvatarTensorFile) file = open_good ("strides.pt");
  g_autoptr (AvatarTensorFile) copies = open_good ("copies.pt");

  expect (file, "wide", 12, 0);
  expect_values (file, "wide_turned", 12, turned);
  expect_values (file, "steps", 3, steps);
  expect (file, "none", 0, 0);
  expect (file, "ones", 3, 0);
  expect_not (file, "repeats", "contiguous");
  expect_not (file, "overlaps", "contiguous");
  expect_not (file, "far", "beyond its storage");
  expect_not (file, "far_steps", "beyond its storage");
  /* copies the bytes that the file has */
  g_assert_cmpuint (avatar_tensor_file_n (copies), ==, 1);
  expect_not (copies, "t1", "too large");
}

static void
test_scripts (gconstpointer data)
{
  static const double table[] = { 0, 2, 1, 3 };
  g_autoptr (AvatarTensorFile) file = open_good (data);
  gboolean traced = strcmp (data, "traced.pt") == 0; /* traced modules have no lists */
  AvatarTensorSource t;

  expect (file, "row.0.weight", 2, 0);
  expect (file, "row.0.bias", 2, 0);
  expect (file, "row.1.weight", 2, 0);
  expect_values (file, "row.1.running_var", 2, (const double[]){ 1, 1 });
  expect (file, "first.weight", 2, 0);
  expect (file, "again.weight", 2, 0);
  expect_values (file, "table", 4, table);
  expect (file, "small", 3, 0);
  g_assert_true (avatar_tensor_file_find (file, "small", &t) && t.dtype == AVATAR_F16);
  g_assert_false (avatar_tensor_file_find (file, "number", &t)
      || avatar_tensor_file_find (file, "row", &t) || avatar_tensor_file_find (file, "none", &t));
  if (!traced) {
    expect (file, "list.0", 2, 0);
    expect (file, "list.1", 3, 0);
  }
}

static void
test_odd_scripts (void)
{
  g_autoptr (AvatarTensorFile) frozen = open_good ("frozen.pt");
  g_autoptr (AvatarTensorFile) list = open_good ("script_list.pt");
  g_autoptr (AvatarTensorFile) shapes = open_good ("script_shapes.pt");
  g_autoptr (AvatarTensorFile) constants = open_good ("script_constants.pt");
  AvatarTensorSource t;

  /* with the norm folded in */
  g_assert_true (avatar_tensor_file_find (frozen, "CONSTANTS.0", &t) && t.rank == 4);
  g_assert_true (avatar_tensor_file_find (frozen, "CONSTANTS.1", &t) && t.rank == 1);
  g_assert_cmpuint (avatar_tensor_file_n (list), ==, 3);
  g_assert_cmpstr (avatar_tensor_file_nth (list, 2, NULL), ==, "l.2");
  g_assert_cmpuint (avatar_tensor_file_n (shapes), ==, 1);
  expect_not (shapes, "huge", "too large");
  expect_not (shapes, "far", "beyond its storage");
  /* its storage is one of data/ alone */
  expect_not (constants, "CONSTANTS.0", "not in the archive");
}

static void
test_dicts (void)
{
  static const char *const training[] = { "training.pt", "training4.pt", "ema.pt" };
  g_autoptr (AvatarTensorFile) state = open_good ("state_dict.pt");
  g_autoptr (AvatarTensorFile) map = open_good ("map.pt");

  expect (state, "vae.a", 4, 0);
  expect (map, "double_blocks.0.img_mod.linear", 1, 0.25);
  expect (map, "single_blocks.0.linear1", 1, 0.5);
  for (guint i = 0; i < G_N_ELEMENTS (training); i++) {
    g_autoptr (AvatarTensorFile) file = open_good (training[i]);

    g_assert_cmpuint (avatar_tensor_file_n (file), ==, 1);
    expect (file, "a", 4, 0);
  }
}

static void
test_shapes (void)
{
  g_autoptr (AvatarTensorFile) file = open_good ("shapes.pt");

  g_assert_cmpuint (avatar_tensor_file_n (file), ==, 1);
  expect_not (file, "huge", "too large");
  expect_not (file, "huger", "an integer");
  expect_not (file, "negative", "an integer");
  expect_not (file, "backwards", "an integer");
  expect_not (file, "far", "beyond its storage");
  expect_not (file, "further", "beyond its storage");
  expect_not (file, "empty", "too large");
  expect_not (file, "short", "shorter than its description");
  expect_not (file, "missing", "not in the archive");
  expect_not (file, "outside", "not in the archive");
  expect_not (file, "uneven", "different lengths");
  expect_not (file, "wide", "dimensions");
  expect_not (file, "odd", "dtype");
  expect_not (file, "still", "contiguous");
}

static void
refuse (const char *name, const char *message)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = open_file (name, &error);

  if (file)
    g_error ("%s was not refused", name);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  if (!strstr (error->message, message) || !strstr (error->message, name))
    g_error ("expected \"%s\" in \"%s\"", message, error->message);
}

static void
test_refused (void)
{
  refuse ("object.pt", "state_dict()");
  refuse ("legacy_object.pt", "state_dict()");
  refuse ("legacy_truncated.pt", "truncated");
  refuse ("legacy_empty.pt", "more bytes, found");
  refuse ("legacy_long.pt", "does not have the size");
  refuse ("legacy_negative.pt", "does not have the size");
  refuse ("legacy_other.pt", "does not have the size");
  refuse ("legacy_big_endian.pt", "not little-endian");
  refuse ("legacy_1002.pt", "version");
  refuse ("script_deep.pt", "deeper than 32 levels");
  refuse ("script_laughs.pt", "65536 attributes");
  refuse ("script_selfish.pt", "deeper than 32 levels");
  refuse ("script_names.pt", "an invalid name");
  refuse ("script_tensor.pt", "does not contain a module");
  refuse ("script_unbuilt.pt", "does not contain a module");
  refuse ("script_odd_constants.pt", "values are left");
  refuse ("truncated.pt", "truncated");
  refuse ("lfs.pt", "Git LFS pointer");
  refuse ("page.pt", "web page");
  refuse ("long_entry.pt", "ends after");
  refuse ("overlap.pt", "overlap");
  refuse ("many_entries.pt", "65534 entries");
  refuse ("compressed.pt", "compressed");
  refuse ("pickle_long_text.pt", "4294967295 more bytes");
  refuse ("pickle_pop.pt", "no mark");
  refuse ("pickle_no_key.pt", "no value");
  refuse ("pickle_call.pt", "expected a tensor or a dict");
}

/* Nothing of it is called: it is a dict without a tensor. */
static void
test_bomb (void)
{
  g_autoptr (AvatarTensorFile) file = open_good ("bomb.pt");
  g_autoptr (AvatarTensorFile) selfish = open_good ("pickle_selfish.pt");

  g_assert_cmpuint (avatar_tensor_file_n (file), ==, 0);
  g_assert_cmpuint (avatar_tensor_file_n (selfish), ==, 0);
}

static AvatarPickle *
parse (const char *name, char **data, GError **error)
{
  g_autofree char *path = g_build_filename (CORPUS_DIR, "pickle", name, NULL);
  gsize size;

  g_assert_true (g_file_get_contents (path, data, &size, NULL));
  return avatar_pickle_parse ((const guint8 *) *data, size, name, error);
}

/* The value of @key of a dict. */
static const AvatarPickleNode *
member (AvatarPickle *p, const AvatarPickleNode *dict, const char *key)
{
  for (guint i = 0; i < avatar_pickle_n_items (dict); i += 2)
    if (avatar_pickle_is (avatar_pickle_item (p, dict, i), AVATAR_PICKLE_STRING, key))
      return avatar_pickle_item (p, dict, i + 1);
  g_error ("\"%s\" is not there", key);
}

static void
test_protocols (void)
{
  static const char *const names[] = { "protocol2", "protocol3", "protocol4", "protocol5" };
  static const gint64 integers[] = { 1, 300, 70000, -1, (gint64) 1 << 40, -((gint64) 1 << 40) };

  for (guint k = 0; k < G_N_ELEMENTS (names); k++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *data = NULL;
    g_autoptr (AvatarPickle) p = parse (names[k], &data, &error);
    const AvatarPickleNode *root, *list;

    g_assert_no_error (error);
    root = avatar_pickle_get (p, avatar_pickle_root (p));
    g_assert_cmpint (root->type, ==, AVATAR_PICKLE_DICT);
    list = member (p, root, "a");
    g_assert_cmpuint (avatar_pickle_n_items (list), ==, 11);
    for (guint i = 0; i < G_N_ELEMENTS (integers); i++)
      g_assert_cmpint (avatar_pickle_item (p, list, i)->integer, ==, integers[i]);
    g_assert_cmpint (avatar_pickle_item (p, list, 6)->type, ==, AVATAR_PICKLE_OTHER);
    g_assert_cmpfloat (avatar_pickle_item (p, list, 7)->number, ==, 1.5);
    g_assert_cmpint (avatar_pickle_item (p, list, 8)->type, ==, AVATAR_PICKLE_NONE);
    g_assert_cmpint (avatar_pickle_item (p, list, 9)->integer, ==, 1);
    g_assert_cmpuint (avatar_pickle_n_items (member (p, root, "b")), ==, 5);
    g_assert_cmpint (member (p, root, "d")->type, ==, AVATAR_PICKLE_OBJECT);
    g_assert_cmpuint (avatar_pickle_n_items (member (p, root, "d")), ==, 2);
    g_assert_true (avatar_pickle_is (member (p, root, "é"), AVATAR_PICKLE_GLOBAL, "torch.float16"));
  }
}

static void
test_bad_pickles (void)
{
  static const char *const bad[][2] = { { "marks", "more bytes" }, { "long_text8", "more bytes" },
    { "long_int", "more bytes" }, { "odd_items", "cannot hold" }, { "protocol9", "protocol 9" } };
  static const char *const odd[] = { "laughs", "stack", "selfish", "nested", "wrapped", "call" };

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *data = NULL;

    g_assert_null (parse (bad[i][0], &data, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
    if (!strstr (error->message, bad[i][1]))
      g_error ("expected \"%s\" in \"%s\"", bad[i][1], error->message);
  }
  for (guint i = 0; i < G_N_ELEMENTS (odd); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *data = NULL;
    g_autoptr (AvatarPickle) p = parse (odd[i], &data, &error);

    g_assert_true (p || error); /* at once, and without harm */
  }
}

/* Ten million values are refused before they are made. */
static void
test_many_values (void)
{
  gsize n = 10000000;
  g_autofree guint8 *data = g_malloc (n);
  g_autoptr (GError) error = NULL;

  memset (data, 'N', n);
  g_assert_null (avatar_pickle_parse (data, n, "x", &error));
  g_assert_nonnull (strstr (error->message, "more than 1048576 values"));
  g_clear_error (&error);
  g_assert_null (avatar_pickle_parse (data, 100 * n, "x", &error)); /* not even looked at */
  g_assert_nonnull (strstr (error->message, "at most"));
}

static void
fill (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  for (gsize i = 0; i < n; i++) {
    float v = (first + i) % 240;

    if (t->tensor.dtype == AVATAR_F8_E5M2) {
      ((guint8 *) out)[i] = 0x3c; /* 1 */
      continue;
    }
    avatar_dtype_from_f32 ((guint8 *) out + i * avatar_dtype_size (t->tensor.dtype),
        t->tensor.dtype, &v, 1);
  }
}

static void
test_writer (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "x.pt", NULL);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor tensors[] = {
    { "a.weight", avatar_tensor (AVATAR_BF16, NULL, 3, (gint64) 3, (gint64) 1, (gint64) 70) },
    { "b.weight", avatar_tensor (AVATAR_F8_E4M3, NULL, 1, (gint64) 5) },
    { "c.bias", avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 7) },
    { "d.weight", avatar_tensor (AVATAR_F8_E5M2, NULL, 1, (gint64) 3) },
  };

  g_array_append_vals (list, tensors, G_N_ELEMENTS (tensors));
  for (guint k = 0; k < 2; k++) {
    g_autoptr (AvatarTensorFile) file = NULL;

    g_assert_true (avatar_write_torch (path, k ? "module" : NULL, list, fill, NULL, &error));
    g_assert_no_error (error);
    file = avatar_tensor_file_open (path, &error);
    g_assert_no_error (error);
    g_assert_cmpuint (avatar_tensor_file_n (file), ==, G_N_ELEMENTS (tensors));
    for (guint i = 0; i < G_N_ELEMENTS (tensors); i++) {
      AvatarTensorSource t;

      g_assert_cmpstr (avatar_tensor_file_nth (file, i, &t), ==, tensors[i].name);
      g_assert_cmpint (t.dtype, ==, tensors[i].tensor.dtype);
      g_assert_cmpuint (t.rank, ==, tensors[i].tensor.rank);
      g_assert_cmpuint (t.offset % 64, ==, 0);
      for (guint j = 0; j < avatar_tensor_source_n (&t) && i != 1; j++)
        g_assert_cmpfloat (value (&t, j), ==, i == 3 ? 1 : j % 240);
    }
  }
  g_unlink (path);
  g_rmdir (folder);
}

/* A module and what is in it, as PyTorch's own archives are read. */
static void
test_script_writer (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "x.pt", NULL);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (AvatarTensorFile) file = NULL;
  static const char *const names[] = { "top", "model.0.stem_1.conv.weight",
    "model.0.stem_1.bn.running_var", "model.0.other.weight", "model.10.bias", "last.bias" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    AvatarNamedTensor t
        = { names[i], avatar_tensor (AVATAR_F32, NULL, 2, (gint64) i + 1, (gint64) 3) };

    g_array_append_val (list, t);
  }
  g_assert_true (avatar_write_torch_script (path, list, fill, NULL, &error));
  g_assert_no_error (error);
  file = avatar_tensor_file_open (path, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_tensor_file_n (file), ==, G_N_ELEMENTS (names));
  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_assert_cmpstr (avatar_tensor_file_nth (file, i, NULL), ==, names[i]);
    expect (file, names[i], 3 * (i + 1), 0);
  }
  g_unlink (path);
  g_rmdir (folder);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/torch/dtypes", "dtypes.pt", test_dtypes);
  g_test_add_data_func ("/torch/protocol4", "protocol4.pt", test_dtypes);
  for (guint i = 0; i < 4; i++) {
    static const char *const names[] = { "legacy2.pt", "legacy3.pt", "legacy4.pt", "legacy5.pt" };
    g_autofree char *path = g_strdup_printf ("/torch/legacy%u", i + 2);

    g_test_add_data_func (path, names[i], test_dtypes);
  }
  g_test_add_data_func ("/torch/views", "views.pt", test_views);
  g_test_add_data_func ("/torch/legacy-views", "legacy_views.pt", test_views);
  g_test_add_func ("/torch/strides", test_strides);
  g_test_add_data_func ("/torch/script", "script.pt", test_scripts);
  g_test_add_data_func ("/torch/traced", "traced.pt", test_scripts);
  g_test_add_func ("/torch/odd-scripts", test_odd_scripts);
  g_test_add_func ("/torch/dicts", test_dicts);
  g_test_add_func ("/torch/shapes", test_shapes);
  g_test_add_func ("/torch/refused", test_refused);
  g_test_add_func ("/torch/bomb", test_bomb);
  g_test_add_func ("/torch/writer", test_writer);
  g_test_add_func ("/torch/script-writer", test_script_writer);
  g_test_add_func ("/pickle/protocols", test_protocols);
  g_test_add_func ("/pickle/bad", test_bad_pickles);
  g_test_add_func ("/pickle/many-values", test_many_values);
  return g_test_run ();
}
