/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Models in Wan2GP's folder, made by avatar-random at the demo's sizes: found from every folder,
 * with the same weights as the tree of the release; int8 weights with their scales at odd
 * addresses; clear errors. */
#include "engine/model/model.h"
#include "tests/named-weights.h"
#include "engine/formats/tensor-writer.h"
#include "tests/unit/tree-fixture.h"

#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define BF16 "hunyuan_video_avatar_720_bf16.safetensors"
#define INT8 "hunyuan_video_avatar_720_quanto_bf16_int8.safetensors"
#define VAE "hunyuan_video_custom_VAE_fp32.safetensors"

typedef struct
{
  char *top, *ckpts; /* ckpts is in top */
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->top = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->ckpts = g_build_filename (f->top, "ckpts", NULL);
  folder_make_wan2gp (f->top, "transformer,transformer-int8,vae,whisper");
}

static void
teardown (Fixture *f, gconstpointer data)
{
  folder_remove (f->top);
  g_free (f->ckpts);
  g_free (f->top);
}

static char *
path_of (Fixture *f, const char *file)
{
  return g_build_filename (f->ckpts, file, NULL);
}

static void
move (Fixture *f, const char *from, const char *to)
{
  g_autofree char *a = path_of (f, from), *b = path_of (f, to);

  g_assert_cmpint (g_rename (a, b), ==, 0);
}

static AvatarTensorSource
stored (AvatarModel *model, const char *name)
{
  const AvatarTensorSource *t
      = g_hash_table_lookup (avatar_model_get_component (model, AVATAR_COMPONENT_TRANSFORMER, NULL),
          name);

  g_assert_nonnull (t);
  return *t;
}

static void
refuse (Fixture *f, gint code, const char *first, const char *second)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_model_open (f->top, &error));
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, first) || !strstr (error->message, second))
    g_error ("expected \"%s\" and \"%s\" in \"%s\"", first, second, error->message);
}

static void
test_everywhere (Fixture *f, gconstpointer data)
{
  g_autofree char *bf16 = path_of (f, BF16), *int8 = path_of (f, INT8), *mine = NULL;
  g_autoptr (AvatarModel) model = folder_open (f->top);
  g_autoptr (AvatarModel) inside = folder_open (f->ckpts);
  g_autoptr (AvatarModel) file = folder_open (bf16);
  g_autoptr (AvatarModel) other = folder_open (int8);
  g_autoptr (AvatarModel) renamed = NULL;
  const char *hash = avatar_model_get_info (model)->hash;

  g_assert_cmpstr (avatar_model_get_info (model)->name, ==, "toonhead-demo");
  g_assert_cmpstr (avatar_model_get_info (inside)->hash, ==, hash);
  g_assert_cmpstr (avatar_model_get_info (file)->hash, ==, hash);
  g_assert_cmpstr (avatar_model_get_info (other)->hash, !=, hash);
  g_assert_cmpint (stored (model, "single_blocks.0.linear1.weight").dtype, ==, AVATAR_BF16);
  g_assert_cmpint (stored (other, "single_blocks.0.linear1.weight").dtype, ==, AVATAR_I8);
  g_assert_cmpint (stored (other, "audio_adapter_blocks.0.to_kv.weight").dtype, ==, AVATAR_I8);
  g_assert_cmpint (stored (other, "time_in.mlp.0.weight").dtype, ==, AVATAR_BF16);
  /* a finetune of whatever name, named */
  move (f, BF16, "hunyuan_video_avatar_mine.safetensors");
  mine = path_of (f, "hunyuan_video_avatar_mine.safetensors");
  renamed = folder_open (mine);
  g_assert_cmpstr (avatar_model_get_info (renamed)->hash, ==, hash);
}

static void
test_same_as_released (Fixture *f, gconstpointer data)
{
  g_autofree char *folder = g_build_filename (f->top, "released", NULL);
  g_autoptr (AvatarModel) model = folder_open (f->top);
  g_autoptr (AvatarModel) other = NULL;

  folder_make (folder, "torch", "transformer,vae,whisper");
  other = folder_open (folder);
  folder_compare (model, other, AVATAR_COMPONENT_TRANSFORMER);
  folder_compare (model, other, AVATAR_COMPONENT_VAE);
  folder_compare (model, other, AVATAR_COMPONENT_WHISPER);
  {
    g_autofree guint8 *a = folder_chain (model), *b = folder_chain (other);
    guint different = 0;

    g_assert_cmpmem (a, FOLDER_BYTES, b, FOLDER_BYTES);
    for (gsize i = 1; i < FOLDER_BYTES; i++)
      different += a[i] != a[0];
    g_assert_cmpuint (different, >, FOLDER_BYTES / 2); /* a picture, and not one colour */
  }
}

/* The scales are read where they lie, which is no place for 16-bit numbers. */
static void
test_scales (Fixture *f, gconstpointer data)
{
  static const char name[] = "double_blocks.1.img_attn_qkv.weight";
  g_autofree char *int8 = path_of (f, INT8);
  g_autoptr (AvatarModel) model = folder_open (int8);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_auto (NamedWeights) names = { 0 };
  g_autoptr (AvatarWeights) weights
      = named_weights_open (&names, model, device, AVATAR_COMPONENT_TRANSFORMER);
  AvatarTensorSource t = stored (model, name);
  AvatarTensorSource scale = stored (model, "double_blocks.1.img_attn_qkv.weight_scale");
  g_autofree float *values = avatar_tensor_source_read_all (&t, NULL);
  g_autofree float *factors = avatar_tensor_source_read_all (&scale, NULL);
  AvatarTensor w = named_weights_get (&names, name);
  gint64 cols = t.shape[1];

  g_assert_cmpint (scale.dtype, ==, AVATAR_BF16);
  g_assert_cmpint (scale.shape[0], ==, t.shape[0]);
  g_assert_cmpuint (scale.offset % 2, ==, 1);
  for (gint64 i = 0; i < avatar_tensor_n (w); i++)
    g_assert_cmpfloat (avatar_tensor_f32 (w)[i], ==, values[i] * factors[i / cols]);
}

/* int8 runs, on the CPU as on a device, and is near to what it was made from. */
static void
test_denoise (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *int8_path = path_of (f, INT8);
  g_autoptr (AvatarModel) model = folder_open (f->top);
  g_autoptr (AvatarModel) int8 = folder_open (int8_path);
  FolderRun cpu = { .device = "cpu", .used = FOLDER_TEXT };
  FolderRun sim = { .device = "sim:512", .used = FOLDER_TEXT };
  g_autofree float *exact = folder_denoise (model, &cpu, &error);
  g_autofree float *a = folder_denoise (int8, &cpu, &error);
  g_autofree float *b = folder_denoise (int8, &sim, &error);

  g_assert_no_error (error);
  g_assert_cmpfloat (folder_difference (a, b, FOLDER_VALUES), <, 1e-4);
  g_assert_cmpfloat (folder_difference (exact, a, FOLDER_VALUES), <, 5e-2);
  g_assert_cmpint (memcmp (exact, a, FOLDER_VALUES * sizeof (float)), !=, 0);
}

/* The VAE's configuration has another name here, and comes before the built-in sizes, too. */
static void
test_configs (Fixture *f, gconstpointer data)
{
  g_autofree char *vae = path_of (f, "hunyuan_video_custom_VAE_config.json");
  g_autofree char *sizes = path_of (f, "avatar-config.json");

  g_assert_true (g_file_set_contents (vae,
      "{\"scaling_factor\": 0.25, \"mid_block_causal_attn\": true}", -1, NULL));
  {
    g_autoptr (AvatarModel) model = folder_open (f->top);

    g_assert_cmpfloat (avatar_model_get_config (model)->vae.scaling_factor, ==, 0.25);
  }
  g_assert_cmpint (g_unlink (sizes), ==, 0); /* the released sizes, then */
  refuse (f, AVATAR_ERROR_MISMATCH, "audio_proj", "whisper");
}

static void
fill_nothing (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  memset (out, 0, n * avatar_dtype_size (t->tensor.dtype));
}

static void
write_one (const char *path, const char *name, const char *other)
{
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor pair[2]
      = { { name, avatar_tensor (AVATAR_U8, NULL, 2, (gint64) 96, (gint64) 4) },
          { other, avatar_tensor (AVATAR_BF16, NULL, 2, (gint64) 96, (gint64) 1) } };

  g_array_append_vals (list, pair, 2);
  g_assert_true (avatar_write_safetensors (path, list, fill_nothing, NULL, NULL));
}

static void
test_bad (Fixture *f, gconstpointer data)
{
  g_autofree char *bf16 = path_of (f, BF16), *int8 = path_of (f, INT8);

  move (f, VAE, "elsewhere");
  refuse (f, AVATAR_ERROR_NOT_FOUND, "download " VAE " of DeepBeepMeep/HunyuanVideo",
      "VAE of Wan2GP's folder");
  move (f, "elsewhere", VAE);
  g_assert_cmpint (truncate (bf16, 100000), ==, 0);
  refuse (f, AVATAR_ERROR_FORMAT, BF16, "truncated");
  write_one (bf16, "img_in.proj.weight._data", "img_in.proj.weight._shift");
  refuse (f, AVATAR_ERROR_FORMAT, "img_in.proj.weight", "qint4");
  write_one (bf16, "img_in.proj.weight._data", "img_in.proj.weight._scale");
  refuse (f, AVATAR_ERROR_MISMATCH, "img_in.proj.weight", "expected");
  g_assert_cmpint (g_unlink (bf16), ==, 0);
  {
    g_autoptr (AvatarModel) model = folder_open (f->top); /* there is still the other one */

    g_assert_cmpint (stored (model, "single_blocks.0.linear1.weight").dtype, ==, AVATAR_I8);
  }
  g_assert_cmpint (g_unlink (int8), ==, 0);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "config.json", "Wan2GP");
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*func) (Fixture *, gconstpointer);
  } tests[] = { { "everywhere", test_everywhere }, { "same-as-released", test_same_as_released },
    { "scales", test_scales }, { "denoise", test_denoise }, { "configs", test_configs },
    { "bad", test_bad } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/layout-wan2gp/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].func, teardown);
  }
  return g_test_run ();
}
