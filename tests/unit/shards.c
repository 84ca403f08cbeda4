/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights in several files: an index and shards that agree are one table, and whatever does not
 * agree, is missing or leads out of the folder is refused by name. */
#include "engine/formats/tensor-file.h"
#include "engine/formats/safetensors-shards.h"
#include "tests/unit/tables.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

#define INDEX "model.safetensors.index.json"
#define MAP(text) "{\"metadata\":{\"total_size\":9},\"weight_map\":{" text "}}"
#define BYTES(name, start, n, end) \
  "\"" name "\":{\"dtype\":\"U8\",\"shape\":[" #n "],\"data_offsets\":[" #start "," #end "]}"

typedef struct
{
  char *folder, *index;
} Fixture;

static char *
path_of (Fixture *f, const char *file)
{
  return g_build_filename (f->folder, file, NULL);
}

static void
write_file (Fixture *f, const char *file, const void *data, gssize n)
{
  g_autofree char *path = path_of (f, file);
  g_autoptr (GError) error = NULL;

  g_file_set_contents (path, data, n, &error);
  g_assert_no_error (error);
}

static void
write_shard (Fixture *f, const char *file, const char *header, gsize n_data)
{
  g_autoptr (GBytes) bytes = table_new (header, n_data);
  gsize n;
  gconstpointer data = g_bytes_get_data (bytes, &n);

  write_file (f, file, data, n);
}

/* a [3] and b [1] in the first shard, c [5] in the second. */
static void
setup (Fixture *f, gconstpointer data)
{
  f->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->index = path_of (f, INDEX);
  write_file (f, INDEX, MAP ("\"a\":\"1.st\",\"c\":\"2.st\",\"b\":\"1.st\""), -1);
  write_shard (f, "1.st", "{" BYTES ("a", 1, 3, 4) "," BYTES ("b", 0, 1, 1) "}", 4);
  write_shard (f, "2.st", "{" BYTES ("c", 0, 5, 5) "}", 5);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  g_autoptr (GDir) dir = g_dir_open (f->folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir))) {
    g_autofree char *path = path_of (f, name);

    g_remove (path);
  }
  g_rmdir (f->folder);
  g_free (f->index);
  g_free (f->folder);
}

static void
refuse (Fixture *f, gint code, const char *first, const char *second)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_tensor_file_open (f->index, &error));
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, first) || !strstr (error->message, second))
    g_error ("expected \"%s\" and \"%s\" in \"%s\"", first, second, error->message);
}

static void
refuse_map (Fixture *f, const char *index, const char *first, const char *second)
{
  write_file (f, INDEX, index, -1);
  refuse (f, AVATAR_ERROR_FORMAT, first, second);
}

static void
test_good (Fixture *f, gconstpointer data)
{
  static const char *const names[] = { "b", "a", "c" };
  static const guint8 firsts[] = { 0, 1, 0 };
  guint8 first;
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open (f->index, &error);
  g_autoptr (AvatarTensorFile) again = NULL;
  gsize n, n_again;
  AvatarTensorSource t;

  g_assert_no_error (error);
  g_assert_cmpuint (avatar_tensor_file_n (file), ==, 3);
  g_assert_cmpuint (avatar_tensor_file_n_files (file), ==, 2);
  g_assert_cmpstr (avatar_tensor_file_get_name (file), ==, f->index);
  g_assert_null (avatar_tensor_file_unusable_reason (file, "a"));
  for (guint i = 0; i < 3; i++) {
    g_assert_cmpstr (avatar_tensor_file_nth (file, i, &t), ==, names[i]);
    g_assert_true (avatar_tensor_source_read_stored (&t, 0, 1, &first, NULL));
    g_assert_cmpuint (first, ==, firsts[i]);
  }
  /* another table in a shard, and the same index: not the same weights */
  write_shard (f, "2.st", "{" BYTES ("c", 0, 4, 4) "}", 4);
  again = avatar_tensor_file_open (f->index, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (avatar_tensor_file_get_header (file, &n), 64,
      avatar_tensor_file_get_header (file, &n_again), 64);
  g_assert_cmpuint (n, ==, 64);
  g_assert_true (memcmp (avatar_tensor_file_get_header (file, &n),
                     avatar_tensor_file_get_header (again, &n_again), 64)
      != 0);
}

/* A tensor of a dtype that is not read is in the index and in its shard all the same. */
static void
test_unread (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = NULL;

  write_shard (f, "2.st", "{\"c\":{\"dtype\":\"BOOL\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
  file = avatar_tensor_file_open (f->index, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_tensor_file_n (file), ==, 2);
  g_assert_nonnull (strstr (avatar_tensor_file_unusable_reason (file, "c"), "BOOL"));
  write_shard (f, "2.st", "{\"d\":{\"dtype\":\"BOOL\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
  refuse (f, AVATAR_ERROR_MISMATCH, "\"d\" is in 2.st", "does not mention it");
}

static void
test_missing (Fixture *f, gconstpointer data)
{
  g_autofree char *shard = path_of (f, "2.st");

  g_assert_cmpint (g_unlink (shard), ==, 0);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "2.st", "download this shard as well");
  g_assert_cmpint (mkfifo (shard, 0600), ==, 0); /* opening it would wait for a writer */
  refuse (f, AVATAR_ERROR_NOT_FOUND, "2.st", "not a regular file");
  g_assert_cmpint (g_unlink (shard), ==, 0);
  write_file (f, "2.st", "version https://git-lfs.github.com/spec/v1\n", -1);
  refuse (f, AVATAR_ERROR_FORMAT, "2.st", "Git LFS pointer");
  write_shard (f, "2.st", "{" BYTES ("c", 0, 5, 5) "}", 4);
  refuse (f, AVATAR_ERROR_FORMAT, "2.st", "truncated");
  g_assert_cmpint (g_unlink (f->index), ==, 0);
  refuse (f, AVATAR_ERROR_NOT_FOUND, INDEX, "there is no such file");
}

static void
test_disagreement (Fixture *f, gconstpointer data)
{
  write_shard (f, "2.st", "{}", 0);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "\"c\" is not in 2.st", "from one source");
  write_shard (f, "2.st", "{" BYTES ("c", 0, 5, 5) "," BYTES ("d", 5, 1, 6) "}", 6);
  refuse (f, AVATAR_ERROR_MISMATCH, "\"d\" is in 2.st", "does not mention it");
  write_shard (f, "2.st", "{" BYTES ("c", 0, 5, 5) "," BYTES ("a", 5, 3, 8) "}", 8);
  refuse (f, AVATAR_ERROR_MISMATCH, "\"a\" is in 2.st", "places it in 1.st");
  /* data of one shard that overlap */
  write_shard (f, "2.st", "{" BYTES ("c", 0, 5, 5) "," BYTES ("d", 4, 2, 6) "}", 6);
  refuse (f, AVATAR_ERROR_FORMAT, "2.st", "overlaps");
  /* a name twice in the index */
  write_shard (f, "2.st", "{" BYTES ("c", 0, 5, 5) "}", 5);
  refuse_map (f, MAP ("\"c\":\"2.st\",\"a\":\"1.st\",\"b\":\"1.st\",\"\\u0063\":\"1.st\""), INDEX,
      "occurs twice");
}

static void
test_bad_index (Fixture *f, gconstpointer data)
{
  static const char *const outside[]
      = { "../1.st", "/etc/passwd", "a/1.st", "..", ".", "", ".hidden", "a\\\\b" };
  g_autoptr (GString) many = g_string_new ("{\"weight_map\":{\"x\":\"x\"");

  for (guint i = 0; i < G_N_ELEMENTS (outside); i++) {
    g_autofree char *index
        = g_strdup_printf ("{\"weight_map\":{\"a\":\"1.st\",\"b\":\"%s\"}}", outside[i]);

    refuse_map (f, index, "file of tensor \"b\"", "in the folder of the index");
  }
  refuse_map (f, MAP ("\"a\":1"), "file of tensor \"a\"", "not a string");
  refuse_map (f, MAP ("\"a\":[\"1.st\"]"), "file of tensor \"a\"", "not a string");
  refuse_map (f, MAP (""), INDEX, "weight_map");
  refuse_map (f, "{\"weight_map\":[]}", INDEX, "weight_map");
  refuse_map (f, "{}", INDEX, "weight_map");
  refuse_map (f, "[]", INDEX, "JSON object");
  refuse_map (f, "", INDEX, "empty");
  refuse_map (f, "<!DOCTYPE html>", INDEX, "web page");
  for (guint i = 0; i < 1100; i++)
    g_string_append_printf (many, ",\"%u\":\"%u\"", i, i);
  g_string_append (many, "}}");
  refuse_map (f, many->str, INDEX, "more than 1024 shards");
}

/* mmgp's map and save_model()'s metadata: the dropped names are views of the kept tensors. */
static void
test_tied (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  static const char ties[] = "{\"c\":[\"d\",\"e\"],\"no\":[\"g\"]}";
  g_autofree char *map = g_base64_encode ((const guchar *) ties, strlen (ties));
  g_autofree char *header
      = g_strdup_printf ("{\"__metadata__\":{\"tied_weights_map_base64\":\"%s\","
                         "\"format\":\"pt\",\"h\":\"c\"}," BYTES ("c", 0, 5, 5) "}",
          map);
  g_autoptr (AvatarTensorFile) file = NULL;
  g_autoptr (AvatarSafetensors) alone = NULL;
  g_autofree char *shard = path_of (f, "2.st");
  AvatarTensorSource c, t;

  write_shard (f, "2.st", header, 5);
  alone = avatar_safetensors_open (shard, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_safetensors_n (alone), ==, 4);
  g_assert_cmpuint (avatar_safetensors_n_stored (alone), ==, 1);
  g_assert_true (avatar_safetensors_get (alone, "c", &c));
  for (guint i = 1; i < 4; i++) {
    g_assert_cmpstr (avatar_safetensors_nth (alone, i, &t), ==,
        ((const char *[]){ "d", "e", "h" })[i - 1]);
    g_assert_true (t.bytes == c.bytes && t.offset == c.offset);
  }
  g_assert_false (avatar_safetensors_get (alone, "g", &t));
  /* an index may mention them, or not */
  write_file (f, INDEX, MAP ("\"a\":\"1.st\",\"b\":\"1.st\",\"c\":\"2.st\",\"e\":\"2.st\""), -1);
  file = avatar_tensor_file_open (f->index, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_tensor_file_n (file), ==, 4);
  g_assert_cmpstr (avatar_tensor_file_nth (file, 3, &t), ==, "e");
  g_assert_cmpint (t.shape[0], ==, 5);
}

/* Shards written by avatar-random. */
static void
test_random (Fixture *f, gconstpointer data)
{
  const char *argv[]
      = { AVATAR_RANDOM, "--config", AVATAR_SMALL_CONFIG, "--parts", "llava", f->folder, NULL };
  static const char *const inside[] = { "ckpts/llava_llama_image/model-00001-of-00004.safetensors",
    "ckpts/llava_llama_image/model-00002-of-00004.safetensors",
    "ckpts/llava_llama_image/model-00003-of-00004.safetensors",
    "ckpts/llava_llama_image/model-00004-of-00004.safetensors",
    "ckpts/llava_llama_image/config.json", ("ckpts/llava_llama_image/" INDEX),
    "ckpts/llava_llama_image", "ckpts" };
  g_autofree char *index = path_of (f, "ckpts/llava_llama_image/" INDEX);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = NULL;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
      NULL, &error);
  g_assert_no_error (error);
  file = avatar_tensor_file_open (index, &error);
  g_assert_no_error (error);
  g_assert_cmpuint (avatar_tensor_file_n_files (file), ==, 4);
  g_assert_cmpuint (avatar_tensor_file_n (file), >, 80);
  for (guint i = 0; i < G_N_ELEMENTS (inside); i++) {
    g_autofree char *path = path_of (f, inside[i]);

    g_remove (path);
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
#define ADD(name, func) g_test_add ("/shards/" name, Fixture, NULL, setup, func, teardown)
  ADD ("good", test_good);
  ADD ("unread", test_unread);
  ADD ("missing", test_missing);
  ADD ("disagreement", test_disagreement);
  ADD ("bad-index", test_bad_index);
  ADD ("tied", test_tied);
  ADD ("random", test_random);
#undef ADD
  return g_test_run ();
}
