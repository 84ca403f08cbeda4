/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/bench/scene.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

void
die (GError *error)
{
  g_printerr ("%s: %s\n", g_get_prgname () ?: "bench",
      error ? error->message : "a stage gave nothing");
  exit (1);
}

AvatarImage *
scene_open (Scene *scene, const char *model, const char *portrait)
{
  GError *error = NULL;
  AvatarImage *image;

  scene->model = avatar_model_open (model, &error);
  scene->device = scene->model ? avatar_device_open ("cpu", &error) : NULL;
  image = scene->device ? avatar_image_load (portrait, &error) : NULL;
  if (!image)
    die (error);
  return image;
}

void
scene_clear (Scene *scene)
{
  g_clear_pointer (&scene->features, g_array_unref);
  g_clear_pointer (&scene->portrait, avatar_image_free);
  g_clear_pointer (&scene->device, avatar_device_unref);
  g_clear_pointer (&scene->model, avatar_model_unref);
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

void
scene_hear (Scene *scene)
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

Result
result_new (void)
{
  return (
      Result){ .latents = g_array_new (FALSE, FALSE, sizeof (float)), .rgb = g_byte_array_new () };
}

void
result_clear (Result *result)
{
  g_array_unref (result->latents);
  g_byte_array_unref (result->rgb);
}

void
scene_denoise (const Scene *scene, AvatarDenoiser *self, Result *result)
{
  const AvatarModelInfo *info = avatar_model_get_info (scene->model);
  gsize n = (gsize) info->latent_channels * (scene->portrait->width / info->latent_scale)
      * (scene->portrait->height / info->latent_scale);
  g_autofree float *latent = g_new (float, n);
  AvatarDenoiseStats stats;
  GError *error = NULL;
  clock_t start;

  if (!avatar_denoiser_set_reference (self, scene->portrait, &error))
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

void
scene_decode (const Scene *scene, guint width, guint height, Result *result)
{
  gsize n = result->latents->len / scene->latents, stride = (gsize) width * 3;
  AvatarDecodeSettings settings;
  GError *error = NULL;
  g_autoptr (AvatarDecoder) self = NULL;
  g_autofree guint8 *rgb = g_malloc (stride * height);

  avatar_decode_settings_init (&settings, scene->model);
  self = avatar_decoder_new (scene->model, scene->device, width, height, &settings, &error);
  if (!self)
    die (error);
  for (guint i = 0; i < scene->latents; i++)
    if (!avatar_decoder_push (self, (float *) result->latents->data + i * n, &error))
      die (error);
  if (!avatar_decoder_drain (self, &error))
    die (error);
  while (avatar_decoder_pull (self, rgb, stride, &error) == AVATAR_PULL_OK)
    g_byte_array_append (result->rgb, rgb, stride * height);
  if (error)
    die (error);
}

double
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

double
psnr (const GByteArray *a, const GByteArray *b)
{
  double sum = 0;

  for (guint i = 0; i < b->len; i++) {
    double d = (double) a->data[i] - b->data[i];

    sum += d * d;
  }
  return 10 * log10 (255. * 255. * b->len / sum);
}
