/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatar-pack: the packed model is bit-identical to its source in every layout, including all
 * changes made while loading; a failure leaves no files. */
#include "engine/formats/tensor-file.h"
#include "engine/model/model.h"
#include "tests/unit/tree-fixture.h"

#include <glib/gstdio.h>
#include <string.h>

#define PAGE 4096

typedef struct
{
  char *top, *packed; /* packed is in top */
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->top = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->packed = g_build_filename (f->top, "packed", NULL);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  folder_remove (f->top);
  g_free (f->packed);
  g_free (f->top);
}

/* Runs avatar-pack --quiet with the arguments up to NULL. Returns its error output, or NULL. */
static char *
pack (const char *first, ...)
{
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autofree char *said = NULL;
  char *complaint = NULL;
  va_list args;
  int status;

  g_ptr_array_add (argv, (gpointer) AVATAR_PACK);
  va_start (args, first);
  for (const char *arg = first; arg; arg = va_arg (args, const char *))
    g_ptr_array_add (argv, (gpointer) arg);
  va_end (args);
  g_ptr_array_add (argv, NULL);
  g_assert_true (g_spawn_sync (NULL, (char **) argv->pdata, NULL, G_SPAWN_DEFAULT, NULL, NULL,
      &said, &complaint, &status, NULL));
  if (g_spawn_check_wait_status (status, NULL)) {
    g_assert_cmpstr (complaint, ==, "");
    g_clear_pointer (&complaint, g_free);
  } else {
    g_assert_nonnull (strchr (complaint, '\n'));
    g_assert_cmpstr (strchr (complaint, '\n'), ==, "\n"); /* one line */
  }
  return complaint;
}

static float *
denoise (AvatarModel *model, const char *device, AvatarWeightFormat format,
    const AvatarLoraSetting *lora)
{
  g_autoptr (GError) error = NULL;
  FolderRun run = { .device = device, .used = FOLDER_TEXT, .weight_format = format, .lora = lora };
  float *out = folder_denoise (model, &run, &error);

  g_assert_no_error (error);
  return out;
}

static void
assert_same_run (AvatarModel *model, AvatarWeightFormat format, const AvatarLoraSetting *lora,
    AvatarModel *packed, AvatarWeightFormat packed_format, const char *device)
{
  g_autofree float *a = denoise (model, device, format, lora);
  g_autofree float *b = denoise (packed, device, packed_format, NULL);

  g_assert_cmpmem (a, FOLDER_VALUES * sizeof (float), b, FOLDER_VALUES * sizeof (float));
}

static void
test_stored (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarModel) model = folder_open (AVATAR_MODEL_DIR), packed = NULL;
  g_autofree guint8 *a = NULL, *b = NULL;
  static const AvatarComponentKind components[] = { AVATAR_COMPONENT_TRANSFORMER,
    AVATAR_COMPONENT_VAE, AVATAR_COMPONENT_WHISPER, AVATAR_COMPONENT_LLAVA, AVATAR_COMPONENT_CLIP };

  g_assert_null (pack (AVATAR_MODEL_DIR, f->packed, NULL));
  packed = folder_open (f->packed);
  for (guint i = 0; i < G_N_ELEMENTS (components); i++)
    folder_compare (model, packed, components[i]);
  a = folder_chain (model);
  b = folder_chain (packed);
  g_assert_cmpmem (a, FOLDER_BYTES, b, FOLDER_BYTES);
  assert_same_run (model, AVATAR_WEIGHT_FORMAT_STORED, NULL, packed, AVATAR_WEIGHT_FORMAT_STORED,
      "sim:512");
}

/* Quantising in avatar-pack equals quantising while loading. */
static void
test_quantised (Fixture *f, gconstpointer data)
{
  AvatarWeightFormat format = GPOINTER_TO_INT (data);
  const char *name = format == AVATAR_WEIGHT_FORMAT_INT8 ? "int8" : "fp8";
  g_autofree char *weights = g_build_filename (f->top, "weights", NULL);
  g_autoptr (AvatarModel) model = NULL, packed = NULL;
  g_autofree float *plain = NULL, *eight = NULL;

  folder_make (weights, "torch", "transformer,vae,whisper");
  g_assert_null (pack (weights, f->packed, "--weight-format", name, NULL));
  model = folder_open (weights);
  packed = folder_open (f->packed);
  assert_same_run (model, format, NULL, packed, AVATAR_WEIGHT_FORMAT_STORED, "sim:512");
  assert_same_run (model, format, NULL, packed, format, "sim:512");
  plain = denoise (model, "sim:512", AVATAR_WEIGHT_FORMAT_STORED, NULL);
  eight = denoise (packed, "sim:512", AVATAR_WEIGHT_FORMAT_STORED, NULL);
  g_assert_cmpfloat (folder_difference (plain, eight, FOLDER_VALUES), >, 1e-4);
}

/* The demo's 16 bits are not a GPU's, so that merged sums must not be rounded to them. */
static void
test_lora (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarModel) model = folder_open (AVATAR_MODEL_DIR), packed = NULL, int8 = NULL;
  g_autofree char *path = g_build_filename (f->top, "lora.safetensors", NULL);
  g_autofree char *with = g_strconcat (path, ":0.5", NULL);
  g_autofree char *int8_path = g_build_filename (f->top, "int8", NULL);
  g_autofree float *without = NULL, *merged = NULL;
  AvatarLoraSetting lora = { .path = path, .strength = 0.5 };

  folder_write_lora (path, &avatar_model_get_config (model)->transformer);
  g_assert_null (pack (AVATAR_MODEL_DIR, f->packed, "--lora", with, NULL));
  packed = folder_open (f->packed);
  assert_same_run (model, AVATAR_WEIGHT_FORMAT_STORED, &lora, packed, AVATAR_WEIGHT_FORMAT_STORED,
      "cpu");
  assert_same_run (model, AVATAR_WEIGHT_FORMAT_STORED, &lora, packed, AVATAR_WEIGHT_FORMAT_STORED,
      "sim:512");
  g_assert_null (pack (AVATAR_MODEL_DIR, int8_path, "-l", with, "-w", "int8", NULL));
  int8 = folder_open (int8_path);
  assert_same_run (model, AVATAR_WEIGHT_FORMAT_INT8, &lora, int8, AVATAR_WEIGHT_FORMAT_STORED,
      "sim:512");
  without = denoise (model, "cpu", AVATAR_WEIGHT_FORMAT_STORED, NULL);
  merged = denoise (packed, "cpu", AVATAR_WEIGHT_FORMAT_STORED, NULL);
  g_assert_cmpfloat (folder_difference (without, merged, FOLDER_VALUES), >, 1e-3);
}

/* 8-bit files stay as they are, and take no LoRA. */
static void
test_8bit (Fixture *f, gconstpointer data)
{
  g_autofree char *weights = g_build_filename (f->top, "weights", NULL);
  g_autofree char *lora = g_build_filename (f->top, "lora.safetensors", NULL);
  g_autofree char *complaint = NULL;
  g_autoptr (AvatarModel) model = NULL, packed = NULL;

  if (data)
    folder_make_wan2gp (weights, "transformer-int8,vae,whisper");
  else
    folder_make (weights, "torch", "transformer-fp8,vae,whisper");
  g_assert_null (pack (weights, f->packed, NULL));
  model = folder_open (weights);
  packed = folder_open (f->packed);
  folder_compare (model, packed, AVATAR_COMPONENT_TRANSFORMER);
  assert_same_run (model, AVATAR_WEIGHT_FORMAT_STORED, NULL, packed, AVATAR_WEIGHT_FORMAT_STORED,
      "sim:512");
  folder_write_lora (lora, &avatar_model_get_config (model)->transformer);
  complaint = pack (weights, f->packed, "--force", "--lora", lora, NULL);
  g_assert_nonnull (strstr (complaint, "8-bit in its file"));
}

/* The text encoders with their tokenizers, and the face detector. */
static void
test_encoders (Fixture *f, gconstpointer data)
{
  g_autofree char *weights = g_build_filename (f->top, "weights", NULL);
  g_autoptr (AvatarModel) model = NULL, packed = NULL;
  const char *inspect[] = { AVATAR_INSPECT, "--no-memory", f->packed, NULL };
  static const AvatarComponentKind components[] = { AVATAR_COMPONENT_LLAVA, AVATAR_COMPONENT_CLIP };

  if (data)
    folder_make_wan2gp (weights, "transformer,vae,whisper,llava,clip");
  else
    folder_make (weights, "torch", "transformer,vae,whisper,llava,clip,detface");
  g_assert_null (pack (weights, f->packed, NULL));
  model = folder_open (weights);
  packed = folder_open (f->packed);
  for (guint i = 0; i < G_N_ELEMENTS (components); i++)
    folder_compare (model, packed, components[i]);
  g_assert_cmpint (!avatar_model_get_detector (packed), ==, !avatar_model_get_detector (model));
  folder_run (inspect);
}

/* Large tensors lie on pages, and the order is that of their use. */
static void
test_file (Fixture *f, gconstpointer data)
{
  static const char *const order[] = { "time_in.mlp.0.weight",
    "double_blocks.0.img_mod.linear.weight", "txt_in.input_embedder.weight", "img_in.proj.weight",
    "audio_proj.proj1.weight", "double_blocks.0.img_attn_qkv.weight",
    "double_blocks.0.txt_attn_qkv.weight", "double_blocks.1.img_attn_qkv.weight",
    "single_blocks.0.linear1.weight", "single_blocks.1.linear1.weight" };
  g_autofree char *path = g_build_filename (f->packed, "transformer.safetensors", NULL);
  g_autoptr (AvatarTensorFile) file = NULL;
  guint64 last = 0;
  const char *header;
  gsize length;
  guint found = 0, large = 0;

  g_assert_null (pack (AVATAR_MODEL_DIR, f->packed, "-w", "int8", NULL));
  file = avatar_tensor_file_open (path, NULL);
  for (guint i = 0; i < avatar_tensor_file_n (file); i++) {
    AvatarTensorSource t;
    const char *name = avatar_tensor_file_nth (file, i, &t);

    if (avatar_tensor_source_size (&t) >= PAGE && !g_str_has_prefix (name, "_padding.")) {
      g_assert_cmpuint (t.offset % PAGE, ==, 0);
      large++;
    }
    for (guint k = 0; k < G_N_ELEMENTS (order); k++)
      if (strcmp (name, order[k]) == 0) {
        g_assert_cmpuint (k, ==, found);
        g_assert_cmpuint (t.offset, >, last);
        last = t.offset;
        found++;
      }
  }
  g_assert_cmpuint (found, ==, G_N_ELEMENTS (order));
  g_assert_cmpuint (large, >, 50);
  header = (const char *) avatar_tensor_file_get_header (file, &length);
  g_assert_nonnull (g_strstr_len (header, length, "\"weight_format\":\"int8\""));
  {
    g_autoptr (AvatarModel) model = folder_open (AVATAR_MODEL_DIR);

    g_assert_nonnull (g_strstr_len (header, length, avatar_model_get_info (model)->hash));
  }
}

/* Expects a failure that matches @pattern and leaves no files in the parent folder. */
static void
refuse (Fixture *f, char *complaint, const char *pattern, guint n_entries)
{
  g_autoptr (GDir) dir = g_dir_open (f->top, 0, NULL);
  guint n = 0;

  if (!complaint || !strstr (complaint, pattern))
    g_error ("expected \"%s\" in \"%s\"", pattern, complaint);
  while (g_dir_read_name (dir))
    n++;
  g_assert_cmpuint (n, ==, n_entries);
  g_free (complaint);
}

static void
test_force (Fixture *f, gconstpointer data)
{
  g_autofree char *mine = g_build_filename (f->packed, "mine.safetensors", NULL);
  g_autofree char *config = g_build_filename (f->packed, "avatar-config.json", NULL);
  g_autofree char *weights = g_build_filename (f->packed, "transformer.safetensors", NULL);
  GStatBuf before, after;

  g_assert_null (pack (AVATAR_MODEL_DIR, f->packed, NULL));
  refuse (f, pack (AVATAR_MODEL_DIR, f->packed, NULL), "this exists already", 1);
  refuse (f, pack (f->packed, f->packed, "--force", NULL), "is read from this folder", 1);
  g_assert_cmpint (g_stat (weights, &before), ==, 0);
  g_assert_null (pack (AVATAR_MODEL_DIR, f->packed, "--force", "-w", "fp8", NULL));
  g_assert_cmpint (g_stat (weights, &after), ==, 0);
  g_assert_cmpuint (after.st_size, <, before.st_size);
  refuse (f, pack (AVATAR_MODEL_DIR, f->packed, "--force", "-w", "int4", NULL),
      "stored, fp8 or int8", 1);
  /* foreign files stay */
  g_assert_true (g_file_set_contents (mine, "mine", -1, NULL));
  refuse (f, pack (AVATAR_MODEL_DIR, f->packed, "--force", NULL), "mine.safetensors", 1);
  g_assert_cmpint (g_unlink (mine), ==, 0);
  g_assert_cmpint (g_unlink (config), ==, 0);
  refuse (f, pack (AVATAR_MODEL_DIR, f->packed, "--force", NULL), "did not write this", 1);
  g_assert_true (g_file_test (weights, G_FILE_TEST_EXISTS));
}

static void
test_failures (Fixture *f, gconstpointer data)
{
  g_autofree char *weights = g_build_filename (f->top, "weights", NULL);
  g_autofree char *deep = g_build_filename (f->top, "no", "such", "place", NULL);
  g_autofree char *file = g_build_filename (weights, "transformer.safetensors", NULL);
  g_autofree char *full = g_strdup_printf ("ulimit -f 4000; exec '%s' '%s' '%s'", AVATAR_PACK,
      AVATAR_MODEL_DIR, f->packed);
  const char *argv[] = { "sh", "-c", full, NULL };
  char *complaint;
  int status;

  refuse (f, pack ("released", f->packed, NULL), "built-in sizes", 0);
  refuse (f, pack (AVATAR_MODEL_DIR, NULL), "1 arguments", 0);
  refuse (f, pack (AVATAR_MODEL_DIR, deep, NULL), "No such file", 0);
  refuse (f, pack (AVATAR_MODEL_DIR, f->packed, "--lora", "/nowhere:2", NULL), "/nowhere", 0);
  refuse (f, pack (AVATAR_MODEL_DIR, f->packed, "--lora", "/nowhere:inf", NULL), "not finite", 0);
  /* no room: a file may not become as large, of 2 or of 4 MB */
  g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
      &complaint, &status, NULL));
  g_assert_false (g_spawn_check_wait_status (status, NULL));
  refuse (f, complaint, "cannot be written", 0);
  /* numbers that no quantiser takes */
  folder_make (weights, "safetensors", "transformer,vae,whisper,text");
  {
    g_autofree char *text = NULL;
    gsize length;

    g_assert_true (g_file_get_contents (file, &text, &length, NULL));
    memset (text + length - 4000000, 0xff, 2000000);
    g_assert_true (g_file_set_contents (file, text, length, NULL));
  }
  refuse (f, pack (weights, f->packed, "-w", "int8", NULL), "NaN or infinite", 1);
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*func) (Fixture *, gconstpointer);
    gconstpointer data;
  } tests[] = { { "stored", test_stored, NULL },
    { "fp8", test_quantised, GINT_TO_POINTER (AVATAR_WEIGHT_FORMAT_FP8) },
    { "int8", test_quantised, GINT_TO_POINTER (AVATAR_WEIGHT_FORMAT_INT8) },
    { "lora", test_lora, NULL }, { "released-fp8", test_8bit, NULL },
    { "wan2gp-int8", test_8bit, "wan2gp" }, { "encoders", test_encoders, NULL },
    { "wan2gp-encoders", test_encoders, "wan2gp" }, { "file", test_file, NULL },
    { "force", test_force, NULL }, { "failures", test_failures, NULL } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/pack/", tests[i].name, NULL);

    g_test_add (path, Fixture, tests[i].data, setup, tests[i].func, teardown);
  }
  return g_test_run ();
}
