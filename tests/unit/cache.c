/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The step cache: which steps are run in full, that the adaptive one is at its default no worse
 * than upstream's table, and so is a forecast with half of its forwards. What cached steps compute
 * is tested in tests/golden, and that it does not depend on the budget in
 * tests/unit/residency.c. */
#include "engine/denoise/step-cache.h"

#include <avatar/avatar.h>

#include <math.h>

#define MOST_STEPS 100

/* The schedule as text: 'x' full, '.' cached. The modulation of step i is @change times that of the
 * step before. */
static char *
schedule (guint steps, AvatarStepCacheMode mode, double threshold, double change)
{
  gboolean full[MOST_STEPS];
  float values[MOST_STEPS];
  const float *modulations[MOST_STEPS];
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < steps; i++) {
    values[i] = powf (change, i);
    modulations[i] = &values[i];
  }
  avatar_step_cache_schedule (full, steps, mode, threshold, modulations, 1);
  for (guint i = 0; i < steps; i++)
    g_string_append_c (text, full[i] ? 'x' : '.');
  return g_string_free (text, FALSE);
}

static void
expect (guint steps, AvatarStepCacheMode mode, double threshold, double change, const char *wanted)
{
  g_autofree char *found = schedule (steps, mode, threshold, change);

  g_assert_cmpstr (found, ==, wanted);
}

static void
test_upstream (void)
{
  expect (50, AVATAR_STEP_CACHE_NONE, 0, 1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
  expect (50, AVATAR_STEP_CACHE_UPSTREAM, 0, 1,
      "xxxxxxxxxxxxxxxx....x....x....x....x....xxxxxxxxxx");
  expect (12, AVATAR_STEP_CACHE_UPSTREAM, 0, 1, "xxxx.x....xx");
  expect (1, AVATAR_STEP_CACHE_UPSTREAM, 0, 1, "x");
}

/* The first steps, that with new texts and the last are always full. */
static void
test_adaptive (void)
{
  expect (50, AVATAR_STEP_CACHE_ADAPTIVE, 0, 1.1,
      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
  expect (50, AVATAR_STEP_CACHE_ADAPTIVE, 9, 1,
      "xxxxxxxxxxx......................................x");
  /* 1 % a step: every third passes 2.5 % */
  expect (26, AVATAR_STEP_CACHE_ADAPTIVE, 0.025, 1.01, "xxxxxxxxx.x..x..x..x..x..x");
  expect (12, AVATAR_STEP_CACHE_ADAPTIVE, 9, 1, "xxxx......xx");
  for (guint steps = 1; steps <= 2; steps++) {
    g_autofree char *all = g_strnfill (steps, 'x');

    expect (steps, AVATAR_STEP_CACHE_ADAPTIVE, 9, 1, all);
  }
}

#define SIZE 64
#define CHUNK 3
#define LATENT (16 * (SIZE / 8) * (SIZE / 8))

/* All latents of a clip, guided, and how many full forwards they took. */
static float *
denoise (AvatarModel *model, guint steps, AvatarStepCacheMode cache, guint *forwards)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarImage) portrait = NULL;
  g_autoptr (AvatarImage) fitted = NULL;
  g_autoptr (AvatarDenoiser) self = NULL;
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);
  float *out = g_new (float, CHUNK *LATENT);
  AvatarDenoiseSettings settings;
  AvatarDenoiseStats stats;

  avatar_denoise_settings_init (&settings, model);
  settings.width = settings.height = SIZE;
  settings.window_latents = CHUNK;
  settings.overlap = 1;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  settings.steps = steps;
  settings.guidance_scale = 7.5;
  settings.step_cache = cache;
  portrait = avatar_image_load (SAMPLES_DIR "/portrait.png", &error);
  g_assert_no_error (error);
  fitted = avatar_image_fit (portrait, model, SIZE, SIZE, NULL, &error);
  self = avatar_denoiser_new (model, device, &settings, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (self, fitted, NULL));
  for (guint frame = 0; frame < 4 * CHUNK - 3; frame++) {
    for (gsize i = 0; i < n; i++)
      features[i] = (float) ((i * 31 + frame * 17) % 101) / 50.f - 1.f;
    g_assert_true (avatar_denoiser_push (self, features, NULL));
  }
  g_assert_true (avatar_denoiser_drain (self, NULL));
  for (guint i = 0; i < CHUNK; i++)
    g_assert_cmpint (avatar_denoiser_pull (self, out + i * LATENT, NULL), ==, AVATAR_PULL_OK);
  avatar_denoiser_get_stats (self, &stats);
  *forwards = stats.forwards;
  return out;
}

static double
relative_error (const float *a, const float *b)
{
  double difference = 0, size = 0;

  for (guint i = 0; i < CHUNK * LATENT; i++) {
    difference += (a[i] - b[i]) * (double) (a[i] - b[i]);
    size += b[i] * (double) b[i];
  }
  return sqrt (difference / size);
}

static void
test_default (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  guint n_none, n_upstream, n_adaptive, n_easy, n_forecast;
  g_autofree float *none = denoise (model, 50, AVATAR_STEP_CACHE_NONE, &n_none);
  g_autofree float *upstream = denoise (model, 50, AVATAR_STEP_CACHE_UPSTREAM, &n_upstream);
  g_autofree float *adaptive = denoise (model, 50, AVATAR_STEP_CACHE_ADAPTIVE, &n_adaptive);
  g_autofree float *easy = denoise (model, 50, AVATAR_STEP_CACHE_EASY, &n_easy);
  g_autofree float *forecast = denoise (model, 50, AVATAR_STEP_CACHE_FORECAST, &n_forecast);
  double upstream_error = relative_error (upstream, none);
  double adaptive_error = relative_error (adaptive, none);
  double easy_error = relative_error (easy, none);
  double forecast_error = relative_error (forecast, none);

  g_test_message (
      "of %u forwards upstream's table runs %u: error %.2g; the adaptive cache %u: %.2g", n_none,
      n_upstream, upstream_error, n_adaptive, adaptive_error);
  g_assert_cmpuint (n_none, ==, 100);
  g_assert_cmpuint (n_upstream, ==, 60);
  g_assert_cmpuint (n_adaptive, <=, n_upstream);
  g_assert_cmpfloat (adaptive_error, <=, upstream_error);
  g_assert_cmpfloat (adaptive_error, >, 0);
  g_test_message ("easy runs %u: error %.2g; the forecast %u: %.2g", n_easy, easy_error, n_forecast,
      forecast_error);
  g_assert_cmpuint (n_easy, <, n_upstream);
  g_assert_cmpfloat (easy_error, <, 0.2);
  g_assert_cmpuint (n_forecast, <=, 30);
  g_assert_cmpfloat (forecast_error, <=, upstream_error);
  g_assert_cmpfloat (forecast_error, >, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cache/upstream", test_upstream);
  g_test_add_func ("/cache/adaptive", test_adaptive);
  g_test_add_func ("/cache/default", test_default);
  return g_test_run ();
}
