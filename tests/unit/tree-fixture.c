/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/tree-fixture.h"

#include "engine/denoise/denoiser.h"
#include "engine/model/manifest.h"
#include "engine/model/model.h"
#include "engine/model/random-weights.h"
#include "tests/named-weights.h"
#include "engine/formats/tensor-writer.h"

#include <glib/gstdio.h>
#include <math.h>

void
folder_run (const char *const *argv)
{
  g_autoptr (GError) error = NULL;
  int status;

  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
      &status, &error);
  g_assert_no_error (error);
  g_spawn_check_wait_status (status, &error);
  g_assert_no_error (error);
}

void
folder_make (const char *folder, const char *format, const char *parts)
{
  const char *argv[] = { AVATAR_RANDOM, "--config", AVATAR_SMALL_CONFIG, "--format", format,
    "--parts", parts, folder, NULL };

  folder_run (argv);
}

void
folder_make_wan2gp (const char *folder, const char *parts)
{
  const char *argv[] = { AVATAR_RANDOM, "--config", AVATAR_SMALL_CONFIG, "--layout", "wan2gp",
    "--parts", parts, folder, NULL };

  folder_run (argv);
}

void
folder_remove (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    folder_remove (child);
  }
  g_remove (path);
}

AvatarModel *
folder_open (const char *path)
{
  g_autoptr (GError) error = NULL;
  AvatarModel *model = avatar_model_open (path, &error);

  g_assert_no_error (error);
  return model;
}

void
folder_compare (AvatarModel *a, AvatarModel *b, AvatarComponentKind part)
{
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_auto (NamedWeights) of_a = { 0 }, of_b = { 0 };
  g_autoptr (AvatarWeights) x = named_weights_open (&of_a, a, device, part);
  g_autoptr (AvatarWeights) y = named_weights_open (&of_b, b, device, part);
  g_autoptr (GArray) manifest = avatar_manifest_new (avatar_model_get_config (a), part);

  for (guint i = 0; i < manifest->len; i++) {
    const char *name = g_array_index (manifest, AvatarManifestEntry, i).name;
    AvatarTensor u = named_weights_get (&of_a, name), v = named_weights_get (&of_b, name);

    g_assert_cmpmem (u.data, avatar_tensor_bytes (u), v.data, avatar_tensor_bytes (v));
  }
}

float *
folder_denoise (AvatarModel *model, const FolderRun *run, GError **error)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  g_autoptr (AvatarDevice) device = avatar_device_open (run->device, NULL);
  AvatarRandom random = { .stream = 1, .width = 1 };
  g_autofree float *states = g_new (float, FOLDER_TEXT * c->transformer.text_dim);
  g_autofree float *pooled = g_new (float, c->transformer.pooled_dim);
  AvatarTextStates text
      = { .states = states, .pooled = pooled, .n = FOLDER_TEXT, .used = run->used };
  AvatarTextStates texts[2] = { text, text };
  gsize n_features
      = c->transformer.audio_steps * c->transformer.audio_states * c->transformer.audio_channels;
  gsize n = c->vae.latent_channels * (FOLDER_SIZE / 8) * (FOLDER_SIZE / 8);
  g_autofree float *features = g_new (float, n_features), *out = g_new (float, FOLDER_CHUNK *n);
  g_autofree guint8 *pixels = g_malloc0 (FOLDER_SIZE * FOLDER_SIZE * 3);
  g_autoptr (AvatarImage) image
      = avatar_image_new (FOLDER_SIZE, FOLDER_SIZE, 3, FOLDER_SIZE * 3, pixels, NULL);
  g_autoptr (AvatarDenoiser) self = NULL;
  AvatarDenoiseSettings settings;
  AvatarDenoiseStats stats;
  gsize predicted, peak;

  avatar_device_set_budget (device, run->budget << 20);
  avatar_random_fill (&random, 0, FOLDER_TEXT * c->transformer.text_dim, AVATAR_F32, states);
  avatar_random_fill (&random, 0, c->transformer.pooled_dim, AVATAR_F32, pooled);
  avatar_random_fill (&random, 0, n_features, AVATAR_F32, features);
  avatar_denoise_settings_init (&settings, model);
  settings.width = settings.height = FOLDER_SIZE;
  settings.window_latents = FOLDER_CHUNK;
  settings.overlap = 1;
  settings.steps = 2;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.text_states = texts;
  settings.loras = run->lora;
  settings.n_loras = run->lora ? 1 : 0;
  settings.weight_format = run->weight_format;
  settings.noise = run->noise;
  settings.noise_file = run->noise_file;
  settings.posterior_noise = run->posterior_noise;
  settings.upstream_rounding = run->upstream_rounding;
  self = avatar_denoiser_new (model, device, &settings, error);
  if (!self)
    return NULL;
  if (!avatar_denoiser_set_reference (self, image, error)) /* its encoder needs memory, too */
    return NULL;
  for (guint i = 0; i < FOLDER_FRAMES; i++)
    g_assert_true (avatar_denoiser_push (self,
        run->features ? run->features + i * n_features : features, NULL));
  g_assert_true (avatar_denoiser_drain (self, NULL));
  for (guint i = 0; i < FOLDER_CHUNK; i++)
    g_assert_cmpint (avatar_denoiser_pull (self, out + i * n, error), ==, AVATAR_PULL_OK);
  for (gsize i = 0; i < FOLDER_CHUNK * n; i++)
    g_assert_true (isfinite (out[i]));
  avatar_denoiser_get_arena (self, &predicted, &peak);
  g_assert_cmpuint (peak, ==, predicted);
  avatar_denoiser_get_stats (self, &stats);
  g_assert_true (run->budget == 0 || stats.streamed > 0);
  return g_steal_pointer (&out);
}

/* Features of FOLDER_FRAMES of a tone. */
static float *
listen (AvatarModel *model, AvatarDevice *device)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n_samples = (gsize) FOLDER_FRAMES * info->sample_rate / info->fps;
  gsize n = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *samples = g_new (float, n_samples);
  float *features = g_new (float, FOLDER_FRAMES *n);
  AvatarAudioSettings settings = { .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT };
  g_autoptr (AvatarAudioEncoder) self = avatar_audio_encoder_new (model, device, &settings, NULL);

  for (gsize i = 0; i < n_samples; i++)
    samples[i] = 0.3f * sinf (0.1f * i);
  g_assert_true (avatar_audio_encoder_push (self, samples, n_samples, NULL));
  g_assert_true (avatar_audio_encoder_drain (self, NULL));
  for (guint i = 0; i < FOLDER_FRAMES; i++)
    g_assert_cmpint (avatar_audio_encoder_pull (self, features + i * n, NULL), ==, AVATAR_PULL_OK);
  return features;
}

guint8 *
folder_chain (AvatarModel *model)
{
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autofree float *features = listen (model, device);
  FolderRun run = { .device = "cpu", .used = FOLDER_TEXT, .features = features };
  g_autofree float *latents = folder_denoise (model, &run, NULL);
  g_autoptr (AvatarDecoder) self = NULL;
  AvatarDecodeSettings settings;
  guint8 *frames = g_malloc (FOLDER_BYTES);

  g_assert_nonnull (latents);
  avatar_decode_settings_init (&settings, model);
  self = avatar_decoder_new (model, device, FOLDER_SIZE, FOLDER_SIZE, &settings, NULL);
  for (guint i = 0; i < FOLDER_CHUNK; i++)
    g_assert_true (avatar_decoder_push (self, latents + i * FOLDER_VALUES / FOLDER_CHUNK, NULL));
  g_assert_true (avatar_decoder_drain (self, NULL));
  for (guint i = 0; i < FOLDER_FRAMES; i++)
    g_assert_cmpint (avatar_decoder_pull (self, frames + i * FOLDER_BYTES / FOLDER_FRAMES,
                         FOLDER_SIZE * 3, NULL),
        ==, AVATAR_PULL_OK);
  return frames;
}

double
folder_difference (const float *a, const float *b, gsize n)
{
  double error = 0, sum = 0;

  for (gsize i = 0; i < n; i++) {
    error += (a[i] - b[i]) * (a[i] - b[i]);
    sum += a[i] * a[i];
  }
  return sqrt (error / sum);
}

static void
fill_small (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  AvatarRandom random = { .stream = g_str_hash (t->name), .width = 0.1 };

  avatar_random_fill (&random, first, n, t->tensor.dtype, out);
}

void
folder_write_lora (const char *path, const AvatarTransformerConfig *c)
{
  gint64 d = c->hidden, mlp = c->mlp,
         shapes[][2] = { { d, d }, { d, d }, { mlp, d }, { mlp, d }, { d, d + mlp }, { 6 * d, d } };
  static const char *const names[][2] = { { "transformer_blocks.1.attn.to_q.lora_A.weight",
                                              "transformer_blocks.1.attn.to_q.lora_B.weight" },
    { "single_transformer_blocks.0.attn.to_v.lora_A.weight",
        "single_transformer_blocks.0.attn.to_v.lora_B.weight" },
    { "single_transformer_blocks.0.proj_mlp.lora_A.weight",
        "single_transformer_blocks.0.proj_mlp.lora_B.weight" },
    { "double_blocks.0.txt_mlp.fc1.lora_A.weight", "double_blocks.0.txt_mlp.fc1.lora_B.weight" },
    { "single_blocks.1.linear2.lora_A.weight", "single_blocks.1.linear2.lora_B.weight" },
    { "double_blocks.0.img_mod.linear.lora_A.weight",
        "double_blocks.0.img_mod.linear.lora_B.weight" } };
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    AvatarNamedTensor pair[2]
        = { { names[i][0], avatar_tensor (AVATAR_F32, NULL, 2, (gint64) 3, shapes[i][1]) },
            { names[i][1], avatar_tensor (AVATAR_F32, NULL, 2, shapes[i][0], (gint64) 3) } };

    g_array_append_vals (list, pair, 2);
  }
  avatar_write_safetensors (path, list, fill_small, NULL, &error);
  g_assert_no_error (error);
}
