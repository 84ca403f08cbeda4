/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* 8-bit weights and their factors, under every name; unknown ones are errors; and unneeded
 * tensors of any dtype. */
#include "engine/model/manifest.h"
#include "engine/model/component.h"
#include "engine/model/config-released.h"
#include "engine/weights/weights.h"

#include <glib/gstdio.h>
#include <string.h>

/* A tensor of the speech encoder at a small size: [8, 4]. */
#define MODULE "layers.0.fc1"
#define ROWS 8
#define COLS 4
/* e4m3 */
#define HALF 0x30
#define LARGE 0x7e

typedef struct
{
  AvatarConfig *config;
  char *folder, *path;
  GString *table;
  GByteArray *data;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->config = avatar_config_released ();
  f->config->whisper = (AvatarWhisperConfig){ 2, 4, 1, 1, 8, 3 };
  f->folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "whisper.safetensors", NULL);
  f->table = g_string_new (NULL);
  f->data = g_byte_array_new ();
}

static void
teardown (Fixture *f, gconstpointer data)
{
  g_unlink (f->path);
  g_rmdir (f->folder);
  g_byte_array_unref (f->data);
  g_string_free (f->table, TRUE);
  g_free (f->path);
  g_free (f->folder);
  avatar_config_free (f->config);
}

/* Adds a tensor. @shape: JSON; its @n bytes repeat @value [@size] */
static void
add (Fixture *f, const char *name, const char *dtype, const char *shape, const void *value,
    gsize size, gsize n)
{
  g_string_append_printf (f->table,
      "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%u,%u]}",
      f->table->len ? "," : "{", name, dtype, shape, f->data->len, (guint) (f->data->len + n));
  for (gsize i = 0; i < n; i += size)
    g_byte_array_append (f->data, value, size);
}

/* All weights, of which that of MODULE has @dtype and bytes of @value. */
static void
add_weights (Fixture *f, const char *dtype, guint8 value, gsize size)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (f->config, AVATAR_COMPONENT_WHISPER);
  static const float one = 1;

  g_string_truncate (f->table, 0);
  g_byte_array_set_size (f->data, 0);
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    g_autoptr (GString) shape = g_string_new ("[");
    gsize n = 1;

    for (guint k = 0; k < e->rank; k++) {
      g_string_append_printf (shape, "%s%" G_GINT64_FORMAT, k ? "," : "", e->shape[k]);
      n *= e->shape[k];
    }
    g_string_append_c (shape, ']');
    if (strcmp (e->name, MODULE ".weight") == 0)
      add (f, e->name, dtype, shape->str, &value, 1, n * size);
    else
      add (f, e->name, "F32", shape->str, &one, sizeof one, n * sizeof one);
  }
}

static gboolean
open_component (Fixture *f, AvatarComponent *component, GError **error)
{
  g_autoptr (GByteArray) out = g_byte_array_new ();
  guint64 length = GUINT64_TO_LE (f->table->len + 1);

  g_byte_array_append (out, (guint8 *) &length, 8);
  g_byte_array_append (out, (guint8 *) f->table->str, f->table->len);
  g_byte_array_append (out, (guint8 *) "}", 1);
  g_byte_array_append (out, f->data->data, f->data->len);
  g_unlink (f->path);
  g_assert_true (g_file_set_contents (f->path, (char *) out->data, out->len, NULL));
  *component = (AvatarComponent){ 0 };
  return avatar_component_open (component, AVATAR_COMPONENT_WHISPER, f->path, NULL, f->config,
      AVATAR_UNKNOWN_TENSORS_SKIP, error);
}

static void
refuse (Fixture *f, const char *first, const char *second)
{
  g_autoptr (GError) error = NULL;
  AvatarComponent component;

  g_assert_false (open_component (f, &component, &error));
  g_assert_nonnull (error);
  if (!strstr (error->message, first) || !strstr (error->message, second)
      || !strstr (error->message, "whisper.safetensors"))
    g_error ("expected \"%s\" and \"%s\" in \"%s\"", first, second, error->message);
  avatar_component_clear (&component);
}

/* MODULE's weight must be @first in its first row, and @last in its last. */
static void
expect (Fixture *f, float first, float last)
{
  g_autoptr (GError) error = NULL;
  g_autofree float *values = NULL;
  AvatarTensor t;
  AvatarComponent component;

  open_component (f, &component, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_weights_read (component.tensors, MODULE ".weight", &t, &error));
  values = t.data;
  g_assert_cmpfloat (values[0], ==, first);
  g_assert_cmpfloat (values[ROWS * COLS - 1], ==, last);
  avatar_component_clear (&component);
}

static void
test_names (Fixture *f, gconstpointer data)
{
  static const char *const names[]
      = { ".weight_scale", ".scale_weight", ".weight._scale", ".weight_scale_inv" };
  static const char *const shapes[] = { "[]", "[1]", "[1,1]" };
  static const guint16 half = 0x3800; /* float16 */
  static const float four = 4;
  float rows[ROWS] = { 2, 3, 3, 3, 3, 3, 3, 16 };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *name = g_strconcat (MODULE, names[i], NULL);

    for (guint k = 0; k < G_N_ELEMENTS (shapes); k++) {
      add_weights (f, "F8_E4M3", LARGE, 1);
      add (f, name, "F32", shapes[k], &four, 4, 4);
      expect (f, 448 * 4, 448 * 4);
    }
    add_weights (f, "F8_E4M3", HALF, 1);
    add (f, name, "F16", "[1]", &half, 2, 2);
    expect (f, .25f, .25f);
    add_weights (f, "I8", 3, 1);
    add (f, name, "F32", "[8,1]", rows, sizeof rows, sizeof rows);
    expect (f, 6, 48);
    /* with 16-bit weights: no effect, or unsupported */
    add_weights (f, "F32", 0, 4);
    add (f, name, "F32", "[]", &(float){ 1 }, 4, 4);
    expect (f, 0, 0);
    add_weights (f, "F32", 0, 4);
    add (f, name, "F32", "[]", &four, 4, 4);
    refuse (f, MODULE ".weight_scale", "factor other than 1");
    /* factors of blocks */
    add_weights (f, "F8_E4M3", HALF, 1);
    add (f, name, "F32", "[2,2]", rows, 16, 16);
    refuse (f, MODULE ".weight", "[2, 2]");
  }
  add_weights (f, "F8_E4M3", HALF, 1);
  add (f, MODULE ".weight_scale", "F32", "[]", &four, 4, 4);
  add (f, MODULE ".weight_scale_inv", "F32", "[]", &four, 4, 4);
  refuse (f, "twice", "with two names");
}

static void
test_unknown (Fixture *f, gconstpointer data)
{
  static const char *const names[] = { ".scale", ".scales", ".weight.scale", ".weight_zero_point",
    ".SCB", "_scale", ".whatever_else", ".weight_scale_2" };
  static const char *const harmless[]
      = { ".input_scale", ".output_scale", ".scale_input", ".comfy_quant" };
  static const float four = 4;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree char *name = g_strconcat (MODULE, names[i], NULL);

    add_weights (f, "F8_E4M3", HALF, 1);
    add (f, name, "F32", "[]", &four, 4, 4);
    refuse (f, MODULE ".weight", name);
    add_weights (f, "I8", 3, 1);
    add (f, name, "F32", "[]", &four, 4, 4);
    refuse (f, MODULE ".weight", name);
  }
  for (guint i = 0; i < G_N_ELEMENTS (harmless); i++) {
    g_autofree char *name = g_strconcat (MODULE, harmless[i], NULL);

    add_weights (f, "F8_E4M3", HALF, 1);
    add (f, name, "F32", "[]", &four, 4, 4);
    expect (f, .5f, .5f);
  }
  /* a dtype that is not supported */
  add_weights (f, "F8_E4M3", HALF, 1);
  add (f, MODULE ".weight_scale", "F8_E8M0", "[8,1]", &four, 1, 8);
  refuse (f, MODULE ".weight", MODULE ".weight_scale");
}

/* Without any factor values tell whether they are weights. */
static void
test_none (Fixture *f, gconstpointer data)
{
  add_weights (f, "F8_E4M3", HALF, 1);
  expect (f, .5f, .5f);
  add_weights (f, "F8_E4M3", 0x38, 1); /* 1 */
  expect (f, 1, 1);
  add_weights (f, "F8_E4M3", 0x40, 1); /* 2 */
  refuse (f, MODULE ".weight", "without a scale factor");
  add_weights (f, "F8_E4M3", LARGE, 1);
  refuse (f, MODULE ".weight", "largest value 448");
  add_weights (f, "I8", 3, 1);
  refuse (f, MODULE ".weight", "missing");
}

static void
test_dtypes (Fixture *f, gconstpointer data)
{
  static const char *const unneeded[] = { "BOOL", "F64", "U16", "I16", "U32", "U64", "F8_E5M2",
    "F8_E8M0", "F4", "F6_E2M3", "C64", "of tomorrow" };
  static const struct
  {
    const char *dtype, *message;
    gsize size;
  } needed[] = { { "F64", "its dtype is F64", 8 }, { "BOOL", "its dtype is BOOL", 1 },
    { "F8_E5M2", "float8_e5m2", 1 }, { "I64", "int64", 8 }, { "of tomorrow", "of tomorrow", 3 } };

  for (guint i = 0; i < G_N_ELEMENTS (unneeded); i++) {
    add_weights (f, "F32", 0, 4);
    add (f, "unneeded", unneeded[i], "[2,3]", "", 1, 48);
    if (strcmp (unneeded[i], "F8_E5M2") == 0) { /* a known dtype */
      add_weights (f, "F32", 0, 4);
      add (f, "unneeded", unneeded[i], "[2,3]", "", 1, 6);
    }
    add (f, "of many dimensions", "F32", "[1,1,1,1,1,1,1]", "", 1, 4);
    expect (f, 0, 0);
  }
  for (guint i = 0; i < G_N_ELEMENTS (needed); i++) {
    add_weights (f, needed[i].dtype, 0, needed[i].size);
    refuse (f, MODULE ".weight", needed[i].message);
  }
}

/* Names of the transformer's tensors in files packed by other programs. */
static void
test_prefixes (Fixture *f, gconstpointer data)
{
  static const char *const prefixes[] = { "", "model.diffusion_model.", "diffusion_model.",
    "transformer.", "module.", "_orig_mod." };

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++) {
    g_autofree char *name
        = g_strconcat (prefixes[i], "double_blocks.0.img_attn_qkv.scale_weight", NULL);
    g_autofree char *ours = avatar_component_canonical_name (AVATAR_COMPONENT_TRANSFORMER, name);

    g_assert_cmpstr (ours, ==, "double_blocks.0.img_attn_qkv.weight_scale");
  }
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*func) (Fixture *, gconstpointer);
  } tests[] = { { "names", test_names }, { "unknown", test_unknown }, { "none", test_none },
    { "dtypes", test_dtypes }, { "prefixes", test_prefixes } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/factors/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].func, teardown);
  }
  return g_test_run ();
}
