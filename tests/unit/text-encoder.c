/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompts through both text encoders of a released tree at small sizes: the same under every budget
 * and under other names, refused, cancelled; and the denoiser on top. */
#include "tests/unit/text-tree.h"

#include "engine/denoise/denoiser.h"

#include <avatar/avatar.h>

/* The same on a device with little memory, with more, and on the CPU. */
static void
test_budgets (Fixture *f, gconstpointer data)
{
  guint parts = 0, refused = 0;
  g_autoptr (GByteArray) cpu = encode (f, &two, &parts);
  Job job = two;

  g_assert_cmpuint (parts, >, 10);
  job.device = "sim:512";
  for (guint64 mib = 9; mib <= 24; mib++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GByteArray) sim = NULL;

    job.budget = mib * MIB;
    sim = encode_model (f, f->model, &job, &parts, &error);
    if (sim) {
      g_assert_true (is_same (cpu, sim));
      continue;
    }
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
    refused++;
  }
  g_test_message ("%u of 16 budgets were refused", refused);
  g_assert_cmpuint (refused, >, 0);
  g_assert_cmpuint (refused, <, 12);
}

/* The planned minimum does not depend on free memory and equals the actual peak. */
static void
test_plan (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = avatar_device_open ("sim:512", NULL);
  const AvatarTextEncoderSettings settings = { { "hello", "no" }, 2, FALSE, FALSE, { NULL, 0 } };
  g_autoptr (AvatarTextEncoder) self = avatar_text_encoder_new (f->model, device, &settings, NULL);
  AvatarTextEncoderRequirements least, all;
  Job job = two;
  guint parts;

  avatar_text_encoder_plan (self, 0, &least);
  avatar_text_encoder_plan (self, G_MAXUINT64, &all);
  g_assert_cmpuint (least.min_weight_bytes, ==, all.min_weight_bytes);
  g_assert_cmpuint (least.arena_bytes, ==, all.arena_bytes);
  g_assert_cmpuint (least.weight_bytes, ==, least.min_weight_bytes);
  g_assert_cmpuint (all.weight_bytes, >, least.weight_bytes);
  job.device = "sim:512";
  job.budget = AVATAR_FAKE_OVERHEAD + avatar_device_get_allocation_size (device, all.arena_bytes)
      + all.min_weight_bytes;
  g_byte_array_unref (encode (f, &job, &parts));
  job.budget -= MIB;
  {
    g_autoptr (GError) error = NULL;

    g_assert_null (encode_model (f, f->model, &job, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  }
}

static void
test_new_names (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) released = NULL, renamed = NULL;
  g_autoptr (AvatarModel) model = NULL;
  guint parts;

  released = encode (f, &two, &parts);
  write_encoders (f, NULL, TRUE);
  model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error);
  renamed = encode_model (f, model, &two, &parts, &error);
  g_assert_no_error (error);
  g_assert_true (is_same (released, renamed));
}

/* --------------------------------------------------------------------------------------- errors */

static void
refuse (Fixture *f, gint code, const char *text)
{
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (f->folder, &error);

  g_assert_null (model);
  g_assert_error (error, AVATAR_ERROR, code);
  if (!strstr (error->message, text))
    g_error ("expected \"%s\" in \"%s\"", text, error->message);
}

static void
test_missing (Fixture *f, gconstpointer data)
{
  static const char *const names[]
      = { "language_model.model.layers.1.mlp.up_proj.weight", "multi_modal_projector.linear_2.bias",
          "vision_tower.vision_model.encoder.layers.1.self_attn.v_proj.bias",
          "language_model.model.embed_tokens.weight" };
  g_autoptr (GError) error = NULL;
  g_autofree char *tokenizer = path_of (f, LLAVA "/tokenizer.json");
  g_autofree char *clip = path_of (f, CLIP "/model.safetensors");
  guint parts;
  AvatarModel *model;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    write_encoders (f, names[i], FALSE);
    refuse (f, AVATAR_ERROR_NOT_FOUND, names[i]);
  }
  write_encoders (f, "text_model.final_layer_norm.bias", FALSE);
  refuse (f, AVATAR_ERROR_NOT_FOUND, "\"final_layer_norm.bias\"");
  /* unused tensors may be missing */
  write_encoders (f, "language_model.model.layers.3.mlp.up_proj.weight", FALSE);
  model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error);
  g_byte_array_unref (encode_model (f, model, &two, &parts, &error));
  g_assert_no_error (error);
  g_remove (tokenizer);
  g_assert_null (encode_model (f, model, &two, &parts, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "tokenizer.json"));
  g_clear_error (&error);
  avatar_model_unref (model);
  g_remove (clip);
  model = avatar_model_open (f->folder, &error);
  g_assert_no_error (error); /* users of text_states need no encoder */
  g_assert_null (encode_model (f, model, &two, &parts, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
  g_assert_nonnull (strstr (error->message, "text_encoder_2"));
  avatar_model_unref (model);
}

static void
remove_folder (Fixture *f, const char *name)
{
  g_autofree char *path = path_of (f, name);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *file;

  while ((file = g_dir_read_name (dir))) {
    g_autofree char *full = g_build_filename (path, file, NULL);

    g_remove (full);
  }
  g_assert_cmpint (g_rmdir (path), ==, 0);
}

/* The sizes of a missing encoder are unknown and not compared. */
static void
test_no_folder (Fixture *f, gconstpointer data)
{
  static const char *const folders[][2]
      = { { CLIP, "weights/ckpts/text_encoder_2" }, { LLAVA, "weights/ckpts/llava_llama_image" } };

  for (guint i = 0; i < G_N_ELEMENTS (folders); i++) {
    g_autoptr (GError) error = NULL;
    g_autofree char *path = path_of (f, folders[i][0]);
    AvatarModel *model;
    guint parts;

    remove_folder (f, folders[i][0]);
    model = avatar_model_open (f->folder, &error);
    g_assert_no_error (error); /* users of text_states need no encoder */
    g_assert_null (encode_model (f, model, &two, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND);
    g_assert_true (g_str_has_prefix (error->message, path));
    g_assert_nonnull (strstr (error->message, "no such folder"));
    g_assert_nonnull (strstr (error->message, folders[i][1]));
    avatar_model_unref (model);
  }
}

/* The released sizes, which are taken then, may be others. */
static void
test_no_config (Fixture *f, gconstpointer data)
{
  g_autofree char *config = path_of (f, LLAVA "/config.json");

  g_remove (config);
  refuse (f, AVATAR_ERROR_MISMATCH, "config.json: there is no such file");
}

static void
test_configs (Fixture *f, gconstpointer data)
{
  static const struct
  {
    const char *file, *config, *text;
  } cases[] = {
    { LLAVA, "{\"vision_feature_layer\": -1}", "vision_feature_layer" },
    { LLAVA, "{\"projector_hidden_act\": \"silu\"}", "projector_hidden_act" },
    { LLAVA, "{\"text_config\": {\"rope_scaling\": {\"type\": \"linear\"}}}", "rope_scaling" },
    { LLAVA, "{\"text_config\": {\"hidden_size\": 1e99}}", "hidden_size" },
    { LLAVA, "{\"text_config\": {\"hidden_size\": 4096.5}}", "whole number" },
    { LLAVA, "{\"text_config\": {\"num_attention_heads\": 3}}", "does not divide" },
    { LLAVA, "{\"text_config\": {\"num_key_value_heads\": 5}}", "do not divide" },
    { LLAVA, "{\"text_config\": 3}", "expected an object" },
    { LLAVA, "{\"vision_config\": {\"image_size\": 55}}", "image_size" },
    { LLAVA, "{\"vision_config\": {\"hidden_act\": \"gelu\"}}", "hidden_act" },
    { LLAVA, "{}", "do not belong together" }, /* the released sizes */
    { CLIP, "{\"hidden_size\": \"many\"}", "hidden_size" },
    { CLIP,
        "{\"text_config\": {\"hidden_size\": 32, \"num_attention_heads\": 4, \"max_position_embeddings\": 70}}",
        "70 positions" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree char *name = g_strconcat (cases[i].file, "/config.json", NULL);

    write_encoders (f, NULL, FALSE);
    put (f, name, cases[i].config);
    refuse (f, AVATAR_ERROR_MISMATCH, cases[i].text);
  }
  write_encoders (f, NULL, FALSE);
  put (f, CLIP "/config.json", "[]");
  refuse (f, AVATAR_ERROR_FORMAT, "config.json");
}

static void
test_prompts (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *long_text = g_strnfill (3000, 'x');
  Job job = { .prompts = { "abc\xff", "" } };
  guint parts;

  g_assert_null (encode_model (f, f->model, &job, &parts, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_clear_error (&error);
  job.prompts[0] = long_text;
  g_byte_array_unref (encode (f, &job, &parts)); /* tests/elements/text.c tests the truncation */
}

/* The file is truncated while it is open. */
static void
test_cut (Fixture *f, gconstpointer data)
{
  g_autofree char *path = path_of (f, LLAVA "/model.safetensors");
  const char *devices[] = { "cpu", "sim:512" };
  guint parts;

  g_assert_cmpint (truncate (path, 40000), ==, 0);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    Job job = two;

    job.device = devices[i];
    g_assert_null (encode_model (f, f->model, &job, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_READ);
    g_assert_nonnull (strstr (error->message, "cut short"));
  }
}

static void
test_cancel (Fixture *f, gconstpointer data)
{
  const char *devices[] = { "cpu", "sim:512" };
  guint parts;

  for (guint i = 0; i < 2; i++) {
    g_autoptr (GError) error = NULL;
    Job job = two;

    job.device = devices[i];
    job.cache = f->cache;
    job.cancel_after = 7;
    g_assert_null (encode_model (f, f->model, &job, &parts, &error));
    g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
    g_assert_cmpuint (count_cache (f), ==, 0); /* half of it is nothing */
  }
}

/* ------------------------------------------------------------------------------------- denoiser */

typedef struct
{
  guint text, denoise;
} Phases;

static void
on_phase (const AvatarProgress *progress, gpointer data)
{
  Phases *phases = data;

  g_assert_cmpuint (progress->step, <=, progress->steps);
  if (progress->phase == AVATAR_PROGRESS_TEXT)
    phases->text++;
  else
    phases->denoise++;
}

#define CHUNK 2

/* All latents of one short window. @twice: the portrait is set again when some are there. */
static float *
denoise (Fixture *f, const char *device_name, guint64 budget, const char *prompt, gboolean twice,
    Phases *phases, GError **error)
{
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, NULL);
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  gsize n_features = info->feature_steps * info->feature_states * info->feature_channels;
  gsize n = info->latent_channels * (SIDE / 8) * (SIDE / 8), predicted, peak;
  g_autofree float *features = g_new0 (float, n_features), *out = g_new0 (float, CHUNK *n);
  g_autoptr (AvatarDenoiser) self = NULL;
  AvatarDenoiseSettings settings;
  AvatarMemory memory;

  avatar_device_set_budget (device, budget);
  avatar_denoise_settings_init (&settings, f->model);
  settings.width = settings.height = SIDE;
  settings.window_latents = CHUNK;
  settings.overlap = 1;
  settings.steps = 2;
  settings.guidance_scale = 4;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.prompt = prompt;
  settings.negative_prompt = "bad";
  settings.prompt_cache_dir = twice ? f->cache : "none";
  self = avatar_denoiser_new (f->model, device, &settings, error);
  if (!self)
    return NULL;
  avatar_denoiser_set_progress_func (self, on_phase, phases);
  for (guint round = 0; round < (twice ? 2 : 1); round++) {
    if (!avatar_denoiser_set_reference (self, f->image, error))
      return NULL;
    avatar_denoiser_reset (self);
    for (guint i = 0; i < 4 * CHUNK - 3; i++)
      g_assert_true (avatar_denoiser_push (self, features, NULL));
    g_assert_true (avatar_denoiser_drain (self, NULL));
    for (guint i = 0; i < CHUNK; i++)
      if (avatar_denoiser_pull (self, out + i * n, error) != AVATAR_PULL_OK)
        return NULL;
  }
  avatar_denoiser_get_arena (self, &predicted, &peak);
  g_assert_cmpuint (peak, ==, predicted);
  avatar_device_get_memory (device, &memory);
  if (budget)
    g_assert_cmpuint (memory.peak, <=, budget);
  return g_steal_pointer (&out);
}

static void
test_denoise (Fixture *f, gconstpointer data)
{
  g_autoptr (GError) error = NULL;
  Phases phases = { 0 }, again = { 0 }, other = { 0 };
  gsize bytes = CHUNK * 16 * (SIDE / 8) * (SIDE / 8) * sizeof (float);
  g_autofree float *cpu = denoise (f, "cpu", 0, "a cat", FALSE, &phases, &error), *dog = NULL;
  g_autofree float *twice = denoise (f, "cpu", 0, "a cat", TRUE, &again, &error);
  guint fits = 0;

  g_assert_no_error (error);
  g_assert_cmpuint (phases.text, >, 10);
  g_assert_cmpuint (phases.denoise, >, 0);
  g_assert_cmpuint (again.text, ==, phases.text); /* the second time from the cache */
  g_assert_cmpmem (cpu, bytes, twice, bytes);
  dog = denoise (f, "cpu", 0, "a dog", FALSE, &other, &error);
  g_assert_no_error (error);
  g_assert_cmpint (memcmp (cpu, dog, bytes), !=, 0);
  for (guint64 mib = 20; mib <= 80; mib += 4) {
    g_autoptr (GError) too_small = NULL;
    g_autofree float *sim
        = denoise (f, "sim:512", mib * MIB, "a cat", mib % 8 == 0, &other, &too_small);

    if (!sim) {
      g_assert_error (too_small, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
      g_assert_nonnull (strstr (too_small->message, "at least"));
      continue;
    }
    g_assert_cmpmem (cpu, bytes, sim, bytes);
    fits++;
  }
  g_assert_cmpuint (fits, >, 4);
}

int
main (int argc, char **argv)
{
  static const Case cases[] = { { "budgets", test_budgets }, { "plan", test_plan },
    { "new-names", test_new_names }, { "missing", test_missing }, { "no-folder", test_no_folder },
    { "no-config", test_no_config }, { "configs", test_configs }, { "prompts", test_prompts },
    { "cut", test_cut }, { "cancel", test_cancel }, { "denoise", test_denoise } };

  return run_cases (argc, argv, "text-encoder", cases, G_N_ELEMENTS (cases));
}
