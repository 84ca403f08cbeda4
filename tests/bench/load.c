/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Time from the start of the program to the first denoising step. Texts are already encoded, but
 * tokenizers are read. Prints "NAME SECONDS" lines, and before the last one the peak memory,
 * "gpu MIB" and "host MIB" (tests/bench/watch.h), for tests/bench/load.
 *
 *   bench-load DEVICE MODEL WIDTH HEIGHT CHUNK stored|fp8|int8 TOKENIZERS SINCE
 *
 * TOKENIZERS: a folder made by avatar-random --parts tokenizers. SINCE: start time, in seconds
 * since 1970. CHUNK: latent frames of the window. */
#include "engine/text/tokens.h"
#include "engine/model/random-weights.h"
#include "tests/bench/watch.h"

#include <avatar/avatar.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT 64

static double since;

static double
elapsed (void)
{
  return g_get_real_time () * 1e-6 - since;
}

static void
mark (const char *name)
{
  g_print ("%s %.3f\n", name, elapsed ());
}

static void
die (GError *error)
{
  g_printerr ("bench-load: %s\n", error->message);
  exit (EXIT_FAILURE);
}

static float *
random_floats (gsize n)
{
  AvatarRandom random = { .stream = n, .width = 1 };
  float *out = g_new (float, n);

  avatar_random_fill (&random, 0, n, AVATAR_F32, out);
  return out;
}

static void
on_progress (const AvatarProgress *progress, gpointer data)
{
  double now = elapsed ();
  WatchPeaks peaks;

  if (progress->phase != AVATAR_PROGRESS_DENOISE || progress->step > 1)
    return;
  if (progress->step == 0) {
    mark ("ready");
    return;
  }
  watch_get (data, &peaks);
  if (peaks.gpu > 0)
    g_print ("gpu %.0f\n", peaks.gpu / 1048576.);
  if (peaks.host > 0)
    g_print ("host %.0f\n", peaks.host / 1048576.);
  g_print ("step %.3f\n", now);
  fflush (stdout);
  _exit (EXIT_SUCCESS); /* skips destructors, which are not measured */
}

static AvatarWeightFormat
parse_format (const char *name)
{
  return strcmp (name, "fp8") == 0 ? AVATAR_WEIGHT_FORMAT_FP8
      : strcmp (name, "int8") == 0 ? AVATAR_WEIGHT_FORMAT_INT8
                                   : AVATAR_WEIGHT_FORMAT_STORED;
}

static void
read_tokenizers (const char *folder)
{
  GError *error = NULL;
  g_autofree char *llama_folder = g_build_filename (folder, "ckpts/llava_llama_image", NULL);
  g_autofree char *clip_folder = g_build_filename (folder, "ckpts/text_encoder_2", NULL);
  g_autoptr (AvatarTokenizer) llama = avatar_tokenizer_new_llama (llama_folder, &error);
  g_autoptr (AvatarTokenizer) clip = llama ? avatar_tokenizer_new_clip (clip_folder, &error) : NULL;

  if (!clip)
    die (error);
  mark ("tokenizers");
}

/* One window of random features, of which two steps are made. */
static void
run (AvatarDenoiser *self, const AvatarModelInfo *info, const AvatarDenoiseSettings *s)
{
  GError *error = NULL;
  gsize n = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *feature = random_floats (n);
  g_autofree float *latent = g_new (float,
      info->latent_channels *(s->width / info->latent_scale) * (s->height / info->latent_scale));
  g_autofree guint8 *pixels = g_malloc0 ((gsize) s->width * s->height * 3);
  g_autoptr (AvatarImage) image
      = avatar_image_new (s->width, s->height, 3, s->width * 3, pixels, &error);

  if (!image || !avatar_denoiser_set_reference (self, image, &error))
    die (error);
  mark ("portrait");
  for (guint i = 0; i < 4 * s->window_latents - 3; i++)
    if (!avatar_denoiser_push (self, feature, &error))
      die (error);
  if (!avatar_denoiser_drain (self, &error)
      || avatar_denoiser_pull (self, latent, &error) != AVATAR_PULL_OK)
    die (error);
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  g_autoptr (AvatarDevice) device = NULL;
  g_autoptr (AvatarModel) model = NULL;
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autoptr (Watch) watch = NULL;
  g_autofree float *states = NULL, *pooled = NULL;
  AvatarDenoiseSettings settings;
  const AvatarConfig *config;
  AvatarTextStates texts[2];

  if (argc != 9) {
    g_printerr ("bench-load DEVICE MODEL WIDTH HEIGHT CHUNK stored|fp8|int8 TOKENIZERS SINCE\n");
    return EXIT_FAILURE;
  }
  since = g_ascii_strtod (argv[8], NULL);
  mark ("started");
  device = avatar_device_open (argv[1], &error);
  if (!device)
    die (error);
  mark ("device");
  watch = watch_new (device);
  model = avatar_model_open (argv[2], &error);
  if (!model)
    die (error);
  mark ("opened");
  read_tokenizers (argv[7]);
  config = avatar_model_get_config (model);
  states = random_floats ((gsize) TEXT * config->transformer.text_dim);
  pooled = random_floats (config->transformer.pooled_dim);
  texts[0] = texts[1]
      = (AvatarTextStates){ .states = states, .pooled = pooled, .n = TEXT, .used = TEXT };
  avatar_denoise_settings_init (&settings, model);
  settings.width = g_ascii_strtoull (argv[3], NULL, 10);
  settings.height = g_ascii_strtoull (argv[4], NULL, 10);
  settings.window_latents = g_ascii_strtoull (argv[5], NULL, 10);
  settings.overlap = 1;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.steps = 2;
  settings.guidance_scale = 1;
  settings.text_states = texts;
  settings.weight_format = parse_format (argv[6]);
  self = avatar_denoiser_new (model, device, &settings, &error);
  if (!self)
    die (error);
  mark ("denoiser");
  avatar_denoiser_set_progress_func (self, on_progress, watch);
  run (self, avatar_model_get_info (model), &settings);
  return EXIT_SUCCESS;
}
