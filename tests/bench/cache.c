/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cost and benefit of the step cache: one clip with guidance, with each mode of the cache
 * against none, through the public interface only.
 *   cache [--clip] MODEL PORTRAIT STEPS...
 * Prints a Markdown table. --clip: several windows of clip mode instead of one. */
#include <avatar/avatar.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define WINDOW_LATENTS 9
#define GUIDANCE 7.5 /* upstream's */

/* A setting of the cache. @value: threshold, or full steps of a forecast; 0: the default */
typedef struct
{
  AvatarStepCacheMode mode;
  double value;
} Row;

static const Row rows[] = {
  { AVATAR_STEP_CACHE_UPSTREAM, 0 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0.1 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0.15 },
  { AVATAR_STEP_CACHE_ADAPTIVE, 0.2 },
  { AVATAR_STEP_CACHE_EASY, 0 },
  { AVATAR_STEP_CACHE_EASY, 0.01 },
  { AVATAR_STEP_CACHE_EASY, 0.025 },
  { AVATAR_STEP_CACHE_EASY, 0.1 },
  { AVATAR_STEP_CACHE_FORECAST, 0 },
  { AVATAR_STEP_CACHE_FORECAST, 30 },
  { AVATAR_STEP_CACHE_FORECAST, 22 },
  { AVATAR_STEP_CACHE_FORECAST, 18 },
  { AVATAR_STEP_CACHE_FORECAST, 15 },
  { AVATAR_STEP_CACHE_FORECAST, 12 },
  { AVATAR_STEP_CACHE_FORECAST, 11 },
  { AVATAR_STEP_CACHE_FORECAST, 10 },
  { AVATAR_STEP_CACHE_FORECAST, 7 },
  { AVATAR_STEP_CACHE_FORECAST, 6 },
};

typedef struct
{
  AvatarModel *model;
  AvatarDevice *device;
  AvatarImage *portrait;
  GArray *features; /* all frames, contiguous */
  gsize n_features; /* floats per frame */
  AvatarDenoiseMode mode;
  guint frames, latents; /* length of the clip */
} Scene;

typedef struct
{
  GArray *latents; /* float */
  GByteArray *rgb;
  guint forwards;
  double seconds; /* time of the processor, all threads */
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
  guint n_samples = scene->frames * info->sample_rate / info->fps;
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
  if (scene->features->len != scene->frames * scene->n_features)
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
  clock_t start;

  if (!self || !avatar_denoiser_set_reference (self, scene->portrait, &error))
    die (error);
  for (guint i = 0; i < scene->frames; i++)
    if (!avatar_denoiser_push (self, (float *) scene->features->data + i * scene->n_features,
            &error))
      die (error);
  if (!avatar_denoiser_drain (self, &error))
    die (error);
  start = clock ();
  while (avatar_denoiser_pull (self, latent, &error) == AVATAR_PULL_OK)
    g_array_append_vals (result->latents, latent, n);
  if (error || result->latents->len != scene->latents * n)
    die (error);
  avatar_denoiser_get_stats (self, &stats);
  result->forwards = stats.forwards;
  result->seconds = (double) (clock () - start) / CLOCKS_PER_SEC;
}

static void
decode (const Scene *scene, const AvatarDenoiseSettings *denoise, Result *result)
{
  gsize n = result->latents->len / scene->latents, stride = (gsize) denoise->width * 3;
  AvatarDecodeSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDecoder) self = NULL;
  g_autofree guint8 *rgb = g_malloc (stride * denoise->height);

  avatar_decode_settings_init (&settings, scene->model);
  self = avatar_decoder_new (scene->model, scene->device, denoise->width, denoise->height,
      &settings, &error);
  if (!self)
    die (error);
  for (guint i = 0; i < scene->latents; i++)
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
run (const Scene *scene, guint steps, const Row *row)
{
  Result result
      = { .latents = g_array_new (FALSE, FALSE, sizeof (float)), .rgb = g_byte_array_new () };
  AvatarDenoiseSettings settings;

  avatar_denoise_settings_init (&settings, scene->model);
  settings.prompt = "a cartoon face talks";
  settings.mode = scene->mode;
  settings.window_latents = WINDOW_LATENTS;
  settings.overlap = 1;
  settings.steps = steps;
  settings.guidance_scale = GUIDANCE;
  settings.step_cache = row->mode;
  if (row->mode == AVATAR_STEP_CACHE_FORECAST)
    settings.step_cache_steps = row->value;
  else if (row->value > 0)
    settings.step_cache_threshold = row->value;
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
print_row (const Scene *scene, guint steps, const Row *row, const Result *none)
{
  static const char *const names[] = { "none", "upstream", "adaptive", "easy", "forecast" };
  Result r = run (scene, steps, row);
  g_autofree char *frames = psnr (r.rgb, none->rgb);
  g_autofree char *value = row->value > 0 ? g_strdup_printf (", %g", row->value) : g_strdup ("");

  g_print ("| %u | %s%s | %u | %.1f | %.2f | %.4f | %s |\n", steps, names[row->mode], value,
      r.forwards, r.seconds, none->seconds / r.seconds, relative_error (r.latents, none->latents),
      frames);
  result_clear (&r);
}

static void
print_rows (const Scene *scene, guint steps)
{
  Result none = run (scene, steps, &(Row){ AVATAR_STEP_CACHE_NONE, 0 });

  g_print ("| %u | none | %u | %.1f | 1 | 0 | |\n", steps, none.forwards, none.seconds);
  for (guint i = 0; i < G_N_ELEMENTS (rows); i++)
    if (rows[i].mode != AVATAR_STEP_CACHE_FORECAST || rows[i].value < steps)
      print_row (scene, steps, &rows[i], &none);
  result_clear (&none);
}

/* Chooses one window, or with @clip the smallest number of frames that gives clip mode two. */
static void
choose_clip (Scene *scene, gboolean clip)
{
  guint window = avatar_model_get_info (scene->model)->window_latents;

  scene->mode = clip ? AVATAR_DENOISE_MODE_CLIP : AVATAR_DENOISE_MODE_STREAM;
  scene->latents = clip ? window + 1 : WINDOW_LATENTS;
  scene->frames = 4 * scene->latents - 3;
}

int
main (int argc, char **argv)
{
  gboolean clip = argc > 1 && strcmp (argv[1], "--clip") == 0;
  GError *error = NULL;
  Scene scene = { 0 };
  AvatarImage *image;

  argv += clip;
  argc -= clip;
  if (argc < 4) {
    g_printerr ("usage: cache [--clip] MODEL PORTRAIT STEPS...\n");
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
  choose_clip (&scene, clip);
  hear (&scene);
  g_print (
      "| steps | cache | full forwards | processor seconds | times as fast | relative L2 error of the "
      "latents | PSNR of the frames, dB |\n"
      "| ---: | --- | ---: | ---: | ---: | ---: | ---: |\n");
  for (int i = 3; i < argc; i++)
    print_rows (&scene, (guint) g_ascii_strtoull (argv[i], NULL, 10));
  g_array_unref (scene.features);
  avatar_image_free (image);
  avatar_image_free (scene.portrait);
  avatar_device_unref (scene.device);
  avatar_model_unref (scene.model);
  return 0;
}
