/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Models in the tree of the release, made by avatar-random at the demo's sizes: found from every
 * folder, with the same weights as a plain folder; 8-bit weights with their scales; clear
 * errors. */
#include "engine/denoise/transformer-weights.h"
#include "engine/text/text.h"
#include "engine/model/manifest.h"
#include "engine/model/model.h"
#include "engine/weights/pack.h"
#include "tests/named-weights.h"
#include "engine/formats/tensor-writer.h"
#include "tests/unit/tree-fixture.h"

#include <avatar/avatar.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#define VIDEO "ckpts/hunyuan-video-t2v-720p/"
#define BF16 VIDEO "transformers/mp_rank_00_model_states.pt"
#define FP8 VIDEO "transformers/mp_rank_00_model_states_fp8.pt"
#define MAP VIDEO "transformers/mp_rank_00_model_states_fp8_map.pt"
#define VAE VIDEO "vae/pytorch_model.pt"

typedef struct
{
  char *top, *weights; /* weights is in top */
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->top = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  f->weights = g_build_filename (f->top, "weights", NULL);
  folder_make (f->weights, "torch", "transformer,transformer-fp8,vae,whisper");
}

static void
teardown (Fixture *f, gconstpointer data)
{
  folder_remove (f->top);
  g_free (f->weights);
  g_free (f->top);
}

static char *
path_of (Fixture *f, const char *file)
{
  return g_build_filename (f->weights, file, NULL);
}

static void
drop (Fixture *f, const char *file)
{
  g_autofree char *path = path_of (f, file);

  g_assert_cmpint (g_unlink (path), ==, 0);
}

static void
refuse (Fixture *f, gint code, const char *first, const char *second)
{
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_model_open (f->weights, &error));
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, first) || !strstr (error->message, second))
    g_error ("expected \"%s\" and \"%s\" in \"%s\"", first, second, error->message);
}

static AvatarDType
dtype_of (AvatarModel *model, const char *name)
{
  const AvatarTensorSource *t
      = g_hash_table_lookup (avatar_model_get_component (model, AVATAR_COMPONENT_TRANSFORMER, NULL),
          name);

  g_assert_nonnull (t);
  return t->dtype;
}

static void
test_everywhere (Fixture *f, gconstpointer data)
{
  static const char *const inside[]
      = { "", "ckpts", "ckpts/hunyuan-video-t2v-720p", "ckpts/hunyuan-video-t2v-720p/transformers",
          "ckpts/hunyuan-video-t2v-720p/transformers/", BF16 };
  g_autoptr (AvatarModel) model = folder_open (f->top);
  const AvatarModelInfo *info = avatar_model_get_info (model);

  g_assert_cmpstr (info->name, ==, "toonhead-demo");
  g_assert_cmpint (dtype_of (model, "single_blocks.0.linear1.weight"), ==, AVATAR_BF16);
  for (guint i = 0; i < G_N_ELEMENTS (inside); i++) {
    g_autofree char *path = path_of (f, inside[i]);
    g_autoptr (AvatarModel) again = folder_open (path);

    g_assert_cmpstr (avatar_model_get_info (again)->hash, ==, info->hash);
  }
}

static void
test_same_as_plain (Fixture *f, gconstpointer data)
{
  g_autofree char *plain = g_build_filename (f->top, "plain", NULL);
  g_autofree char *fp8_path = path_of (f, FP8);
  g_autoptr (AvatarModel) model = folder_open (f->weights);
  g_autoptr (AvatarModel) fp8 = folder_open (fp8_path);

  folder_make (plain, "safetensors", "transformer,vae,whisper,text");
  {
    g_autoptr (AvatarModel) other = folder_open (plain);

    folder_compare (model, other, AVATAR_COMPONENT_TRANSFORMER);
    folder_compare (model, other, AVATAR_COMPONENT_VAE);
  }
  folder_make (plain, "safetensors", "transformer-fp8");
  {
    g_autoptr (AvatarModel) other = folder_open (plain);

    g_assert_cmpint (dtype_of (fp8, "single_blocks.0.linear1.weight"), ==, AVATAR_F8_E4M3);
    g_assert_cmpint (dtype_of (fp8, "single_blocks.0.linear1.weight_scale"), ==, AVATAR_F32);
    folder_compare (fp8, other, AVATAR_COMPONENT_TRANSFORMER);
  }
}

/* On the CPU an 8-bit tensor is what it was made of, but for the rounding. */
static void
test_scales (Fixture *f, gconstpointer data)
{
  g_autofree char *fp8_path = path_of (f, FP8);
  g_autoptr (AvatarModel) model = folder_open (f->weights);
  g_autoptr (AvatarModel) fp8 = folder_open (fp8_path);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_auto (NamedWeights) of_model = { 0 }, of_fp8 = { 0 };
  g_autoptr (AvatarWeights) x
      = named_weights_open (&of_model, model, device, AVATAR_COMPONENT_TRANSFORMER);
  g_autoptr (AvatarWeights) y
      = named_weights_open (&of_fp8, fp8, device, AVATAR_COMPONENT_TRANSFORMER);
  AvatarTensor u = named_weights_get (&of_model, "double_blocks.0.img_mlp.fc1.weight");
  AvatarTensor v = named_weights_get (&of_fp8, "double_blocks.0.img_mlp.fc1.weight");
  double error = 0, sum = 0;

  for (gint64 i = 0; i < avatar_tensor_n (u); i++) {
    double d = avatar_tensor_f32 (u)[i] - avatar_tensor_f32 (v)[i];

    error += d * d;
    sum += (double) avatar_tensor_f32 (u)[i] * avatar_tensor_f32 (u)[i];
  }
  g_assert_cmpfloat (sqrt (error / sum), <, 0.04); /* half of the last of 3 bits */
  g_assert_cmpfloat (sqrt (error / sum), >, 0.01);
}

/* Checks that packing keeps the stored bytes of 8-bit tensors and writes a factor per row. Returns
 * their number. */
static guint
check_8bit (const AvatarWeightGroup *unit, GHashTable *table)
{
  g_autofree guint8 *image = g_malloc (MAX (unit->bytes, 1));
  guint n = 0;

  g_assert_true (avatar_pack_group (unit, image, NULL, NULL));
  for (guint i = 0; i < unit->tensors->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (unit->tensors, AvatarPackedTensor, i);
    g_autofree char *name = g_strconcat (p->name, "_scale", NULL);
    const AvatarTensorSource *scale = g_hash_table_lookup (table, name);
    gsize bytes = avatar_tensor_source_size (&p->source);
    g_autofree guint8 *stored = NULL;
    float factor;

    if (p->dtype != AVATAR_F8_E4M3)
      continue;
    n++;
    stored = g_malloc (bytes);
    g_assert_true (avatar_tensor_source_read_stored (&p->source, 0, bytes, stored, NULL));
    g_assert_cmpmem (image + p->offset, bytes, stored, bytes);
    g_assert_true (avatar_tensor_source_read (scale, 0, 1, &factor, NULL));
    for (gint64 r = 0; r < p->source.shape[0]; r++)
      g_assert_cmpmem (image + p->scale_offset + 4 * r, 4, &factor, 4);
  }
  return n;
}

static void
test_packed (Fixture *f, gconstpointer data)
{
  g_autofree char *fp8_path = path_of (f, FP8);
  g_autoptr (AvatarModel) fp8 = folder_open (fp8_path);
  GHashTable *table = avatar_model_get_component (fp8, AVATAR_COMPONENT_TRANSFORMER, NULL);
  g_autoptr (AvatarTransformerWeights) names
      = avatar_transformer_weights_new (&avatar_model_get_config (fp8)->transformer);
  g_autoptr (GArray) units
      = avatar_pack_plan (table, names->list, &(AvatarWeightSettings){ 0 }, AVATAR_BF16);
  guint n = 0;

  for (guint i = 0; i < units->len; i++)
    n += check_8bit (&g_array_index (units, AvatarWeightGroup, i), table);
  g_assert_cmpuint (n, ==, 58);
}

static void
test_only_fp8 (Fixture *f, gconstpointer data)
{
  drop (f, BF16);
  {
    g_autoptr (AvatarModel) model = folder_open (f->weights);

    g_assert_cmpint (dtype_of (model, "single_blocks.0.linear1.weight"), ==, AVATAR_F8_E4M3);
  }
  drop (f, MAP);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "fp8_map.pt", "scales");
}

static void
replace (Fixture *f, const char *file, const char *text)
{
  g_autofree char *path = path_of (f, file);

  g_assert_true (g_file_set_contents (path, text, -1, NULL));
}

static void
replace_by (Fixture *f, const char *file, const char *corpus)
{
  g_autofree char *to = path_of (f, file);
  g_autoptr (GFile) from = g_file_new_build_filename (CORPUS_DIR, "torch", corpus, NULL);
  g_autoptr (GFile) target = g_file_new_for_path (to);

  g_assert_true (g_file_copy (from, target, G_FILE_COPY_OVERWRITE, NULL, NULL, NULL, NULL));
}

static void
test_bad_files (Fixture *f, gconstpointer data)
{
  replace_by (f, VAE, "state_dict.pt");
  refuse (f, AVATAR_ERROR_NOT_FOUND, "pytorch_model.pt", "the first of 184 missing ones");
  replace (f, VAE, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n");
  refuse (f, AVATAR_ERROR_FORMAT, "pytorch_model.pt", "Git LFS pointer");
  replace (f, VIDEO "vae/config.json", "{\"latent_channels\": 4}");
  refuse (f, AVATAR_ERROR_MISMATCH, "latent_channels", "16");
  replace (f, VIDEO "vae/config.json", "[]");
  refuse (f, AVATAR_ERROR_FORMAT, "vae/config.json", "object");
  drop (f, VAE);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "pytorch_model.pt", "VAE");
  drop (f, BF16);
  replace_by (f, MAP, "views.pt");
  refuse (f, AVATAR_ERROR_NOT_FOUND, "pytorch_model.pt", "VAE");
}

static void
test_bad_scales (Fixture *f, gconstpointer data)
{
  drop (f, BF16);
  replace_by (f, MAP, "views.pt");
  refuse (f, AVATAR_ERROR_NOT_FOUND, "fp8_map.pt", "is missing");
}

/* A scale is for 8 bits: 16-bit weights under that name are taken as they are. */
static void
test_idle_scales (Fixture *f, gconstpointer data)
{
  g_autofree char *bf16 = path_of (f, BF16), *fp8 = path_of (f, FP8);

  g_assert_cmpint (g_rename (bf16, fp8), ==, 0);
  g_test_expect_message ("avatar", G_LOG_LEVEL_WARNING, "*58 scale factors are unused*");
  {
    g_autoptr (AvatarModel) model = folder_open (f->weights);

    g_assert_null (
        g_hash_table_lookup (avatar_model_get_component (model, AVATAR_COMPONENT_TRANSFORMER, NULL),
            "single_blocks.0.linear1.weight_scale"));
  }
  g_test_assert_expected_messages ();
}

static void
fill_ones (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  for (gsize i = 0; i < n; i++)
    ((float *) out)[i] = 1;
}

/* The VAE in files of related releases: with a prefix, below a key, and among other tensors. */
static void
test_vae_prefix (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = path_of (f, VAE);
  g_autoptr (AvatarModel) demo = folder_open (AVATAR_MODEL_DIR);
  g_autoptr (GArray) manifest
      = avatar_manifest_new (avatar_model_get_config (demo), AVATAR_COMPONENT_VAE);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);
  AvatarNamedTensor other = { "loss.logvar", avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 1) };

  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    g_autofree char *name = g_strconcat ("vae.", e->name, NULL);
    AvatarNamedTensor t = { g_string_chunk_insert (names, name),
      avatar_tensor_of_shape (AVATAR_F32, NULL, e->rank, e->shape) };

    g_array_append_val (list, t);
  }
  g_array_append_val (list, other);
  g_assert_true (avatar_write_torch (path, "state_dict", list, fill_ones, NULL, &error));
  {
    g_autoptr (AvatarModel) model = folder_open (f->weights);
    GHashTable *table = avatar_model_get_component (model, AVATAR_COMPONENT_VAE, NULL);

    g_assert_cmpuint (g_hash_table_size (table), ==, manifest->len);
    g_assert_true (g_hash_table_contains (table, "decoder.conv_in.conv.weight"));
  }
}

/* The VAE's and Whisper's own files come before the built-in sizes. */
static void
test_configs (Fixture *f, gconstpointer data)
{
  replace (f, VIDEO "vae/config.json",
      "{\"_class_name\": \"AutoencoderKLCausal3D\", \"scaling_factor\": 0.25, \"sample_tsize\": 32,"
      " \"unheard_of\": [1]}");
  {
    g_autoptr (AvatarModel) model = folder_open (f->weights);
    const AvatarVaeConfig *vae = &avatar_model_get_config (model)->vae;

    g_assert_cmpfloat (vae->scaling_factor, ==, 0.25);
    g_assert_cmpuint (vae->sample_tsize, ==, 32);
    g_assert_cmpuint (vae->latent_channels, ==, 16);
    g_assert_false (vae->mid_causal); /* upstream's default */
  }
  drop (f, VIDEO "transformers/avatar-config.json"); /* the released sizes, then */
  refuse (f, AVATAR_ERROR_MISMATCH, "audio_proj", "whisper");
}

/* Without text encoders plans are made, prompts refused. */
static void
test_text (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = folder_open (f->weights);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  const char *plan[] = { AVATAR_PLAN, f->weights, NULL };
  AvatarDenoiseSettings denoise;
  float *states, *pooled;
  guint n;

  avatar_denoise_settings_init (&denoise, model);
  folder_run (plan);
  g_assert_null (avatar_model_get_component (model, AVATAR_COMPONENT_TEXT, NULL));
  g_assert_false (avatar_text_encode (model, "hello", &states, &n, &pooled, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "text encoders"));
  g_clear_error (&error);
  g_assert_null (avatar_denoiser_new (model, device, &denoise, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
}

static float *
denoise_with (AvatarModel *model, const char *device, guint64 budget, const AvatarLoraSetting *lora,
    GError **error)
{
  FolderRun run = { .device = device, .used = FOLDER_TEXT, .budget = budget, .lora = lora };

  return folder_denoise (model, &run, error);
}

static float *
denoise (AvatarModel *model, const char *device, guint used, GError **error)
{
  FolderRun run = { .device = device, .used = used };

  return folder_denoise (model, &run, error);
}

/* With text states a released folder runs, as a plain one does. */
static void
test_denoise (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *plain = g_build_filename (f->top, "plain", NULL);
  g_autofree char *fp8_path = path_of (f, FP8);
  g_autoptr (AvatarModel) model = folder_open (f->weights);
  g_autoptr (AvatarModel) fp8 = folder_open (fp8_path);
  g_autoptr (AvatarModel) other = NULL;
  gsize n = FOLDER_VALUES;
  g_autofree float *a = denoise (model, "cpu", FOLDER_TEXT, &error), *b = NULL, *c = NULL,
                   *d = NULL;

  g_assert_no_error (error);
  folder_make (plain, "safetensors", "transformer,vae,whisper,text");
  other = folder_open (plain);
  b = denoise (other, "cpu", FOLDER_TEXT, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (a, n * 4, b, n * 4);
  /* 8-bit ones on a device, by way of its slots, are those on the CPU */
  c = denoise (fp8, "cpu", FOLDER_TEXT, &error);
  g_assert_no_error (error);
  d = denoise (fp8, "sim:512", FOLDER_TEXT, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (folder_difference (c, d, n), <, 1e-4);
  g_assert_cmpint (memcmp (a, c, n * 4), !=, 0);
  g_assert_null (denoise (model, "cpu", FOLDER_TEXT + 1, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
}

/* The same under the smallest budget, which is found from below. */
static float *
denoise_small (AvatarModel *model, const AvatarLoraSetting *lora)
{
  for (guint64 budget = 1;; budget++) {
    g_autoptr (GError) error = NULL;
    float *out = denoise_with (model, "sim:512", budget, lora, &error);

    if (out)
      return out;
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  }
}

/* A LoRA on 8-bit weights: what the CPU merges is the same as what a device adds to their expanded
 * copies, whether they stay there or not. */
static void
test_lora (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *fp8_path = path_of (f, FP8), *path = path_of (f, "lora.safetensors");
  g_autoptr (AvatarModel) fp8 = folder_open (fp8_path);
  gsize n = FOLDER_VALUES;
  AvatarLoraSetting lora = { .path = path, .strength = 1 }, nothing = { .path = path };
  g_autofree float *plain = denoise (fp8, "sim:512", FOLDER_TEXT, &error);
  g_autofree float *cpu = NULL, *sim = NULL, *small = NULL, *zero = NULL;

  g_assert_no_error (error);
  folder_write_lora (path, &avatar_model_get_config (fp8)->transformer);
  cpu = denoise_with (fp8, "cpu", 0, &lora, &error);
  g_assert_no_error (error);
  sim = denoise_with (fp8, "sim:512", 0, &lora, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (folder_difference (cpu, sim, n), <, 1e-4);
  g_assert_cmpfloat (folder_difference (plain, sim, n), >, 1e-2);
  small = denoise_small (fp8, &lora);
  g_assert_cmpmem (small, n * 4, sim, n * 4);
  zero = denoise_with (fp8, "sim:512", 0, &nothing, &error);
  g_assert_no_error (error);
  g_assert_cmpmem (zero, n * 4, plain, n * 4);
}

static void
fill_quanto (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  for (gsize i = 0; i < n; i++)
    if (t->tensor.dtype == AVATAR_I8)
      ((gint8 *) out)[i] = (gint8) ((first + i) % 255 - 127);
    else
      ((float *) out)[i] = 0.5f + (first + i) % 3;
}

/* int8 in the names of quanto, in a plain folder. */
static void
test_quanto (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *plain = g_build_filename (f->top, "plain", NULL);
  g_autofree char *path = g_build_filename (plain, "transformer.safetensors", NULL);
  g_autoptr (AvatarModel) demo = folder_open (AVATAR_MODEL_DIR);
  g_autoptr (GArray) manifest
      = avatar_manifest_new (avatar_model_get_config (demo), AVATAR_COMPONENT_TRANSFORMER);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GStringChunk) names = g_string_chunk_new (4096);

  folder_make (plain, "safetensors", "transformer,vae,whisper,text");
  for (guint i = 0; i < manifest->len; i++) {
    const AvatarManifestEntry *e = &g_array_index (manifest, AvatarManifestEntry, i);
    gboolean quantised = strcmp (e->name, "single_blocks.1.linear2.weight") == 0;
    g_autofree char *name = g_strconcat (e->name, quantised ? "._data" : "", NULL);
    AvatarNamedTensor t = { g_string_chunk_insert (names, name),
      avatar_tensor_of_shape (quantised ? AVATAR_I8 : AVATAR_F32, NULL, e->rank, e->shape) };

    g_array_append_val (list, t);
    if (quantised) {
      t = (AvatarNamedTensor){ "single_blocks.1.linear2.weight._scale",
        avatar_tensor (AVATAR_F32, NULL, 2, e->shape[0], (gint64) 1) };
      g_array_append_val (list, t);
      t = (AvatarNamedTensor){ "single_blocks.1.linear2.input_scale",
        avatar_tensor (AVATAR_F32, NULL, 1, (gint64) 1) };
      g_array_append_val (list, t);
    }
  }
  g_assert_true (avatar_write_safetensors (path, list, fill_quanto, NULL, &error));
  {
    g_autoptr (AvatarModel) model = folder_open (plain);
    g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
    g_auto (NamedWeights) handles = { 0 };
    g_autoptr (AvatarWeights) weights
        = named_weights_open (&handles, model, device, AVATAR_COMPONENT_TRANSFORMER);
    AvatarTensor t = named_weights_get (&handles, "single_blocks.1.linear2.weight");
    gint64 cols = t.shape[1];

    for (gint64 i = 0; i < avatar_tensor_n (t); i++)
      g_assert_cmpfloat (avatar_tensor_f32 (t)[i], ==,
          (float) (i % 255 - 127) * (0.5f + i / cols % 3));
  }
}

static AvatarFaceSearch
look_for_face (const char *folder, AvatarFaceBox *box, GError **error)
{
  g_autoptr (AvatarModel) model = folder_open (folder);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autofree guint8 *grey = g_malloc (128 * 192 * 3);
  g_autoptr (AvatarImage) image = NULL;
  AvatarMemory memory;
  AvatarFaceSearch result;

  memset (grey, 128, 128 * 192 * 3);
  image = avatar_image_new (128, 192, 3, 128 * 3, grey, NULL);
  result = avatar_image_find_face (image, model, device, 0, 0, box, error);
  avatar_device_get_memory (device, &memory);
  g_assert_cmpuint (memory.now, ==, 0);
  g_assert_true (result > AVATAR_FACE_NONE || memory.peak > 0);
  return result;
}

/* The detector is optional. It is found here and in a plain folder; an invalid file is an error. */
static void
test_detector (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, "ckpts/det_align/detface.pt");
  g_autofree char *plain = g_build_filename (f->top, "plain", NULL);
  g_autoptr (GError) error = NULL;
  AvatarFaceBox box = { 1, 1, 1, 1 };

  g_assert_cmpint (look_for_face (f->weights, &box, &error), ==, AVATAR_FACE_NO_DETECTOR);
  g_assert_no_error (error);
  g_assert_cmpfloat (box.width, ==, 0);
  folder_make (f->weights, "torch", "detface");
  g_assert_cmpint (look_for_face (f->weights, &box, &error), <=, AVATAR_FACE_NONE);
  g_assert_no_error (error);
  folder_make (plain, "safetensors", "transformer,vae,whisper,text,detface");
  g_assert_cmpint (look_for_face (plain, &box, &error), <=, AVATAR_FACE_NONE);
  g_assert_no_error (error);
  g_assert_true (g_file_set_contents (path, "<!DOCTYPE html>", -1, NULL));
  g_assert_cmpint (look_for_face (f->weights, &box, &error), ==, AVATAR_FACE_ERROR);
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT);
  g_assert_nonnull (strstr (error->message, "detface.pt"));
}

int
main (int argc, char **argv)
{
  static const struct
  {
    const char *name;
    void (*func) (Fixture *, gconstpointer);
  } tests[] = { { "everywhere", test_everywhere }, { "same-as-plain", test_same_as_plain },
    { "scales", test_scales }, { "packed", test_packed }, { "only-fp8", test_only_fp8 },
    { "bad-files", test_bad_files }, { "bad-scales", test_bad_scales },
    { "idle-scales", test_idle_scales }, { "vae-prefix", test_vae_prefix },
    { "configs", test_configs }, { "text", test_text }, { "denoise", test_denoise },
    { "lora", test_lora }, { "quanto", test_quanto }, { "detector", test_detector } };

  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (tests); i++) {
    g_autofree char *path = g_strconcat ("/layout-release/", tests[i].name, NULL);

    g_test_add (path, Fixture, NULL, setup, tests[i].func, teardown);
  }
  return g_test_run ();
}
