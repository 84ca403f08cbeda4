/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cost and benefit of the step cache: one clip with guidance, with each mode of the cache
 * against none, through the public interface only.
 *   cache MODEL PORTRAIT STEPS...
 * Prints a Markdown table for each number of steps. */
#include <avatar/avatar.h>
#include <math.h>

/* Latent frames of the clip, which is one window, and its video frames. */
#define LATENTS 9
#define FRAMES (4 * LATENTS - 3)
#define GUIDANCE 7.5 /* upstream's */

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarImage *portrait;
  GArray *features; /* all frames, contiguous */
  gsize n_features; /* floats per frame */
} Scene;

typedef struct
{
  GArray *latents; /* float */
  GByteArray *rgb;
  guint forwards;
  double seconds;
} Result;

static void
die (GError *error)
{
  g_printerr ("cache: %s\n", error ? error->message : "a stage gave nothing");
  exit (1);
}

/* Voice-like: syllables four times a second. */
static float *
make_sound (guint n, guint rate)
{
  float *samples = g_new (float, n);

  for (guint i = 0; i < n; i++) {
    double t = (double) i / rate;

    samples[i] = 0.4 * sin (2 * G_PI * 140 * t) * (0.5 + 0.5 * sin (2 * G_PI * 4 * t));
  }
  return samples;
}

static void
hear (Scene *scene)
{
  const AvatarModelInfo *info = avatar_model_get_info (scene->model);
  guint n_samples = FRAMES * info->sample_rate / info->fps;
  AvatarAudioSettings settings = { .context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT };
  GError *error = NULL;
  g_autoptr (AvatarAudioEncoder) encoder
      = avatar_audio_encoder_new (scene->model, scene->device, &settings, &error);
  g_autofree float *samples = make_sound (n_samples, info->sample_rate);
  g_autofree float *feature = NULL;

  scene->n_features = info->feature_steps * info->feature_states * info->feature_channels;
  scene->features = g_array_new (FALSE, FALSE, sizeof (float));
  feature = g_new (float, scene->n_features);
  if (!encoder || !avatar_audio_encoder_push (encoder, samples, n_samples, &error)
      || !avatar_audio_encoder_drain (encoder, &error))
    die (error);
  while (avatar_audio_encoder_pull (encoder, feature, &error) == AVATAR_PULL_OK)
    g_array_append_vals (scene->features, feature, scene->n_features);
  if (scene->features->len != FRAMES * scene->n_features)
    die (error);
}

static void
denoise (const Scene *scene, const AvatarDenoiseSettings *settings, Result *result)
{
  const AvatarModelInfo *info = avatar_model_get_info (scene->model);
  gsize n = (gsize) info->latent_channels * (settings->width / info->latent_scale)
      * (settings->height / info->latent_scale);
  GError *error = NULL;
  g_autoptr (AvatarDenoiser) self
      = avatar_denoiser_new (scene->model, scene->device, settings, &error);
  g_autofree float *latent = g_new (float, n);
  AvatarDenoiseStats stats;

  if (!self || !avatar_denoiser_set_reference (self, scene->portrait, &error))
    die (error);
  for (guint i = 0; i < FRAMES; i++)
    if (!avatar_denoiser_push (self, (float *) scene->features->data + i * scene->n_features,
            &error))
      die (error);
  if (!avatar_denoiser_drain (self, &error))
    die (error);
  while (avatar_denoiser_pull (self, latent, &error) == AVATAR_PULL_OK)
    g_array_append_vals (result->latents, latent, n);
  if (error || result->latents->len != LATENTS * n)
    die (error);
  avatar_denoiser_get_stats (self, &stats);
  result->forwards = stats.forwards;
  result->seconds = stats.seconds;
}

static void
decode (const Scene *scene, const AvatarDenoiseSettings *denoise, Result *result)
{
  gsize n = result->latents->len / LATENTS, stride = (gsize) denoise->width * 3;
  AvatarDecodeSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDecoder) self = NULL;
  g_autofree guint8 *rgb = g_malloc (stride * denoise->height);

  avatar_decode_settings_init (&settings, scene->model);
  self = avatar_decoder_new (scene->model, scene->device, denoise->width, denoise->height,
      &settings, &error);
  if (!self)
    die (error);
  for (guint i = 0; i < LATENTS; i++)
    if (!avatar_decoder_push (self, (float *) result->latents->data + i * n, &error))
      die (error);
  if (!avatar_decoder_drain (self, &error))
    die (error);
  while (avatar_decoder_pull (self, rgb, stride, &error) == AVATAR_PULL_OK)
    g_byte_array_append (result->rgb, rgb, stride * denoise->height);
  if (error)
    die (error);
}

static Result
run (const Scene *scene, guint steps, AvatarStepCacheMode cache, double threshold)
{
  Result result
      = { .latents = g_array_new (FALSE, FALSE, sizeof (float)), .rgb = g_byte_array_new () };
  AvatarDenoiseSettings settings;

  avatar_denoise_settings_init (&settings, scene->model);
  settings.prompt = "a cartoon face talks";
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.window_latents = LATENTS;
  settings.overlap = 1;
  settings.steps = steps;
  settings.guidance_scale = GUIDANCE;
  settings.step_cache = cache;
  if (threshold > 0)
    settings.step_cache_threshold = threshold;
  denoise (scene, &settings, &result);
  decode (scene, &settings, &result);
  return result;
}

static void
result_clear (Result *result)
{
  g_array_unref (result->latents);
  g_byte_array_unref (result->rgb);
}

static double
relative_error (const GArray *a, const GArray *b)
{
  const float *x = (const float *) a->data, *y = (const float *) b->data;
  double difference = 0, size = 0;

  for (guint i = 0; i < b->len; i++) {
    difference += (x[i] - y[i]) * (double) (x[i] - y[i]);
    size += y[i] * (double) y[i];
  }
  return sqrt (difference / size);
}

static char *
psnr (const GByteArray *a, const GByteArray *b)
{
  double sum = 0;

  for (guint i = 0; i < b->len; i++) {
    double d = (double) a->data[i] - b->data[i];

    sum += d * d;
  }
  if (sum == 0)
    return g_strdup ("the same");
  return g_strdup_printf ("%.1f", 10 * log10 (255. * 255. * b->len / sum));
}

static void
print_row (const Scene *scene, guint steps, const char *name, AvatarStepCacheMode cache,
    double threshold, const Result *none)
{
  Result r = run (scene, steps, cache, threshold);
  g_autofree char *frames = psnr (r.rgb, none->rgb);

  g_print ("| %s | %u | %.1f | %.2f | %.4f | %s |\n", name, r.forwards, r.seconds,
      none->seconds / r.seconds, relative_error (r.latents, none->latents), frames);
  result_clear (&r);
}

static void
print_table (const Scene *scene, guint steps)
{
  static const double thresholds[] = { 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2 };
  Result none = run (scene, steps, AVATAR_STEP_CACHE_NONE, 0);

  g_print ("\n%u steps:\n\n"
           "| cache | full forwards | seconds | times as fast | relative L2 error of the latents "
           "| PSNR of the frames, dB |\n"
           "| --- | ---: | ---: | ---: | ---: | ---: |\n"
           "| none | %u | %.1f | 1 | 0 | |\n",
      steps, none.forwards, none.seconds);
  print_row (scene, steps, "upstream", AVATAR_STEP_CACHE_UPSTREAM, 0, &none);
  for (guint i = 0; i < G_N_ELEMENTS (thresholds); i++) {
    g_autofree char *name = g_strdup_printf ("adaptive, %g", thresholds[i]);

    print_row (scene, steps, name, AVATAR_STEP_CACHE_ADAPTIVE, thresholds[i], &none);
  }
  print_row (scene, steps, "adaptive, default", AVATAR_STEP_CACHE_ADAPTIVE, 0, &none);
  result_clear (&none);
}

int
main (int argc, char **argv)
{
  GError *error = NULL;
  Scene scene = { 0 };
  AvatarImage *image;

  if (argc < 4) {
    g_printerr ("usage: cache MODEL PORTRAIT STEPS...\n");
    return 2;
  }
  scene.model = avatar_model_open (argv[1], &error);
  scene.device = scene.model ? avatar_device_open ("cpu", &error) : NULL;
  image = scene.device ? avatar_image_load (argv[2], &error) : NULL;
  if (!image)
    die (error);
  scene.portrait = avatar_image_fit (image, scene.model, avatar_model_get_info (scene.model)->width,
      avatar_model_get_info (scene.model)->height, NULL, &error);
  if (!scene.portrait)
    die (error);
  hear (&scene);
  for (int i = 3; i < argc; i++)
    print_table (&scene, (guint) g_ascii_strtoull (argv[i], NULL, 10));
  g_array_unref (scene.features);
  avatar_image_free (image);
  avatar_image_free (scene.portrait);
  avatar_device_unref (scene.device);
  avatar_model_unref (scene.model);
  return 0;
}
