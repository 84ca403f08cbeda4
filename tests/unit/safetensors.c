/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* safetensors files, good and bad, and the number formats inside them. */
#include "tests/unit/growth.h"
#include "tests/unit/tables.h"

static AvatarSafetensors *
open_table (const char *header, gsize n_data, GError **error)
{
  g_autoptr (GBytes) bytes = table_new (header, n_data);

  return avatar_safetensors_open_bytes (bytes, "x.safetensors", error);
}

/* The table must be refused, for the reason that @message tells. */
static void
refuse (const char *header, gsize n_data, const char *message)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file = open_table (header, n_data, &error);

  g_assert_null (file);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  if (!strstr (error->message, message) || !strstr (error->message, "x.safetensors"))
    g_error ("expected \"%s\" in \"%s\"", message, error->message);
}

static guint8
first_byte (const AvatarTensorSource *t)
{
  guint8 value[8];

  g_assert_true (avatar_tensor_source_read_stored (t, 0, 1, value, NULL));
  return value[0];
}

static void
test_good (void)
{
  g_autoptr (GError) error = NULL;
  /* unsorted, misaligned, with a scalar, an empty tensor and padding in the header */
  g_autoptr (AvatarSafetensors) file = open_table (
      "{\"__metadata__\":{\"a\":\"b\"},\"late\":{\"dtype\":\"F32\",\"shape\":[2,1],"
      "\"data_offsets\":[3,11]},\"early\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
      "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[11,13]},"
      "\"none\":{\"dtype\":\"I64\",\"shape\":[0,7],\"data_offsets\":[13,13]}}   ",
      13, &error);
  AvatarTensorSource t;

  g_assert_no_error (error);
  g_assert_cmpuint (avatar_safetensors_n (file), ==, 4);
  g_assert_cmpstr (avatar_safetensors_nth (file, 0, NULL), ==, "early");
  g_assert_true (avatar_safetensors_get (file, "late", &t));
  g_assert_cmpint (t.dtype, ==, AVATAR_F32);
  g_assert_cmpuint (t.rank, ==, 2);
  g_assert_cmpint (t.shape[0], ==, 2);
  g_assert_cmpuint (first_byte (&t), ==, 3);
  g_assert_true (avatar_safetensors_get (file, "scalar", &t));
  g_assert_cmpuint (avatar_tensor_source_n (&t), ==, 1);
  g_assert_cmpuint (first_byte (&t), ==, 11);
  g_assert_true (avatar_safetensors_get (file, "none", &t));
  g_assert_cmpuint (avatar_tensor_source_n (&t), ==, 0);
  g_assert_false (avatar_safetensors_get (file, "__metadata__", &t));
}

#define ONE(rest) "{\"a\":{" rest "}}"

static void
test_bad_tables (void)
{
  refuse ("[]", 0, "expected a JSON object");
  refuse ("{\"a\":", 0, "not valid JSON");
  refuse ("{}{}", 0, "found another value after the JSON object");
  refuse ("{\"a\":{}} []", 0, "found another value after the JSON object");
  refuse ("{\"\xff\":1}", 0, "UTF-8");
  refuse ("{\"a\":3}", 0, "\"a\"");
  refuse (ONE ("\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]"), 9, "follow the last");
  refuse (ONE ("\"dtype\":\"new\",\"shape\":[1],\"data_offsets\":[0,8]"), 7, "truncated");
  refuse (ONE ("\"dtype\":5,\"shape\":[1],\"data_offsets\":[0,8]"), 8, "expected {");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4, "need 8 bytes");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4, "not an integer");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,6]"), 6, "not an integer");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]"), 0,
      "too large");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]"), 0,
      "too large");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]"), 7, "truncated");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 8, "data_offsets");
  refuse (ONE ("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 5, "follow the last");
  refuse (ONE ("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]"), 2, "no tensor");
  refuse ("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
          "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
      3, "overlaps");
  /* a parser keeps the last of two */
  refuse ("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
          "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
      2, "occurs twice");
}

/* @n names, the last of which is given @n times more. */
static void
refuse_repeated (gsize n, gconstpointer data)
{
  g_autoptr (GString) many = g_string_new ("{");

  for (gsize i = 0; i < n; i++)
    g_string_append_printf (many, "\"%" G_GSIZE_FORMAT "\":1,", i);
  for (gsize i = 0; i < n; i++)
    g_string_append_printf (many, "\"%" G_GSIZE_FORMAT "\":1,", n - 1);
  g_string_append (many, "\"end\":1}");
  refuse (many->str, 0, "occurs twice");
}

/* Tensors of kinds that are not read are known by name, and the rest as if they were not there. */
static void
test_unread (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarSafetensors) file
      = open_table ("{\"a\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,3]},"
                    "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]},"
                    "\"c\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1],\"data_offsets\":[5,9]},"
                    "\"d\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[9,11]}}",
          11, &error);
  static const char *const expected[][2]
      = { { "a", "BOOL" }, { "c", "6 dimensions" }, { "d", "F4" } };
  GHashTable *unusable;
  AvatarTensorSource t;

  g_assert_no_error (error);
  g_assert_cmpuint (avatar_safetensors_n (file), ==, 1);
  g_assert_cmpuint (avatar_safetensors_n_stored (file), ==, 1);
  g_assert_true (avatar_safetensors_get (file, "b", &t));
  g_assert_cmpuint (first_byte (&t), ==, 3);
  unusable = avatar_safetensors_get_unusable (file);
  g_assert_cmpuint (g_hash_table_size (unusable), ==, G_N_ELEMENTS (expected));
  for (guint i = 0; i < G_N_ELEMENTS (expected); i++) {
    const char *reason = g_hash_table_lookup (unusable, expected[i][0]);

    g_assert_nonnull (reason);
    g_assert_nonnull (strstr (reason, expected[i][1]));
    g_assert_false (avatar_safetensors_get (file, expected[i][0], &t));
  }
}

/* Duplicate names in different spellings: a parser may take long to find them. */
static void
test_names_given_twice (void)
{
  static const char *const twice[] = { "{\"a\":1,\"\\u0061\":1}", "{\"a\\/\":1,\"a/\":1}",
    "{\"x\":{\"b\":1,\"b\" :2}}", "{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}",
    /* and a name that one can only guess at */
    "{\"\\u0000\":1}" };
  /* here as well as in names */
  static const char *const broken[] = { "{\"\\ud83d\":1}", "{\"\\ude00\":1}", "{\"\\141\":1}",
    "{\"\\u00g0\":1}", "{\"a\":\"\\ud83d\\u0041\"}", "{\"a\":\"\\u12\"}" };

  for (guint i = 0; i < G_N_ELEMENTS (twice); i++)
    refuse (twice[i], 0, "occurs twice in one JSON object, or is not a valid string");
  for (guint i = 0; i < G_N_ELEMENTS (broken); i++)
    refuse (broken[i], 0, "a backslash in a string begins an invalid escape");
  /* the same one in two objects is nothing of the kind */
  refuse ("{\"x\":{\"b\":1},\"y\":{\"b\":\"b\"}}", 0, "\"x\": expected {");
  assert_grows_linearly (refuse_repeated, 1 << 11, NULL);
}

static void
test_deep_nesting (void)
{
  g_autoptr (GString) header = g_string_new ("{\"a\":");

  for (guint i = 0; i < 200000; i++)
    g_string_append_c (header, '[');
  refuse (header->str, 0, "nested");
}

/* json-glib takes single quotes and comments, in which a quote would hide brackets from us. */
static void
test_hidden_nesting (void)
{
  static const char *const starts[] = { "{\"a\": '\"', \"b\": ", "{/* \" */ \"b\": " };

  for (guint k = 0; k < G_N_ELEMENTS (starts); k++) {
    g_autoptr (GString) header = g_string_new (starts[k]);

    for (guint i = 0; i < 200000; i++)
      g_string_append_c (header, '[');
    refuse (header->str, 0, "not valid JSON");
  }
}

static void
refuse_file (const char *content, gsize n, const char *message)
{
  g_autoptr (GBytes) bytes = g_bytes_new (content, n);
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_safetensors_open_bytes (bytes, "x.safetensors", &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  if (!strstr (error->message, message))
    g_error ("expected \"%s\" in \"%s\"", message, error->message);
}

static void
test_foreign_files (void)
{
  refuse_file ("", 0, "empty");
  refuse_file ("abc", 3, "shorter");
  refuse_file ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", 54, "Git LFS pointer");
  refuse_file ("<!DOCTYPE html><html></html>", 28, "web page");
  refuse_file ("PK\003\004rest of it", 14, "zip");
  refuse_file ("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10, "at most");
  refuse_file ("\x40\0\0\0\0\0\0\0{}", 10, "truncated");
}

static void
test_missing_file (void)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_safetensors_open ("/nowhere/x.safetensors", &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
}

static void
check_number (AvatarDType dtype, guint32 bits, double expected)
{
  guint8 bytes[4] = { bits & 255, bits >> 8 & 255, bits >> 16 & 255, bits >> 24 };
  float found;

  avatar_dtype_to_f32 (&found, bytes, dtype, 1);
  if (isnan (expected))
    g_assert_true (isnan (found));
  else
    g_assert_cmpfloat (found, ==, expected);
}

static void
test_numbers (void)
{
  check_number (AVATAR_F32, 0x40490fdb, (float) G_PI);
  check_number (AVATAR_F16, 0x3c00, 1);
  check_number (AVATAR_F16, 0xc000, -2);
  check_number (AVATAR_F16, 0x7bff, 65504);
  check_number (AVATAR_F16, 0x0001, 0x1p-24);
  check_number (AVATAR_F16, 0x83ff, -1023 * 0x1p-24);
  check_number (AVATAR_F16, 0x7c00, INFINITY);
  check_number (AVATAR_F16, 0x7e00, NAN);
  check_number (AVATAR_BF16, 0x3f80, 1);
  check_number (AVATAR_BF16, 0xc0a0, -5);
  check_number (AVATAR_F8_E4M3, 0x7e, 448);
  check_number (AVATAR_F8_E4M3, 0x38, 1);
  check_number (AVATAR_F8_E4M3, 0x01, 0x1p-9);
  check_number (AVATAR_F8_E4M3, 0x87, -7 * 0x1p-9);
  check_number (AVATAR_F8_E4M3, 0xff, NAN);
  check_number (AVATAR_F8_E5M2, 0x3c, 1);
  check_number (AVATAR_F8_E5M2, 0xfb, -57344);
  check_number (AVATAR_F8_E5M2, 0x01, 0x1p-16);
  check_number (AVATAR_F8_E5M2, 0x7c, INFINITY);
  check_number (AVATAR_F8_E5M2, 0xfd, NAN);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/safetensors/good", test_good);
  g_test_add_func ("/safetensors/bad-tables", test_bad_tables);
  g_test_add_func ("/safetensors/unread", test_unread);
  g_test_add_func ("/safetensors/names-given-twice", test_names_given_twice);
  g_test_add_func ("/safetensors/deep-nesting", test_deep_nesting);
  g_test_add_func ("/safetensors/hidden-nesting", test_hidden_nesting);
  g_test_add_func ("/safetensors/foreign-files", test_foreign_files);
  g_test_add_func ("/safetensors/missing-file", test_missing_file);
  g_test_add_func ("/safetensors/numbers", test_numbers);
  return g_test_run ();
}
