/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Explicit noise levels: the same as those of a shift if the numbers are, and steps that follow
 * Euler's rule, computed from the velocities of single steps. The border between the phases of
 * guidance, and steps without guidance. */
#include "change-fixture.h"

#include "engine/denoise/sampler.h"

#include <math.h>

/* Noise of one window, [channels, CHUNK, SIZE / 8, SIZE / 8]. */
static float *
noise_new (Fixture *f)
{
  float *z = g_new (float, CHUNK * f->n);
  guint channels = avatar_model_get_info (f->model)->latent_channels;
  gsize plane = f->n / channels;

  for (guint j = 0; j < CHUNK; j++) {
    g_autofree float *one = g_new (float, f->n);

    avatar_noise_fill (one, f->n, 5, j);
    for (guint c = 0; c < channels; c++)
      memcpy (z + (c * CHUNK + j) * plane, one + c * plane, plane * sizeof (float));
  }
  return z;
}

/* Returns the latents of the first window with @sigmas, in the shape of the noise. @z: noise */
static float *
denoise (Fixture *f, const AvatarDenoiseSettings *settings, const float *z)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autofree float *latents = g_new (float, CHUNK * f->n);
  guint channels = avatar_model_get_info (f->model)->latent_channels;
  gsize plane = f->n / channels;
  float *out = g_new (float, CHUNK * f->n);
  AvatarDenoiseSettings s = *settings;
  g_autoptr (AvatarDenoiser) self = NULL;

  s.noise = z;
  s.noise_latents = z ? CHUNK : 0;
  self = start (f, device, &s, image);
  pull (f, self, CHUNK, latents);
  for (guint j = 0; j < CHUNK; j++)
    for (guint c = 0; c < channels; c++)
      memcpy (out + (c * CHUNK + j) * plane, latents + j * f->n + c * plane,
          plane * sizeof (float));
  return out;
}

static void
set_sigmas (AvatarDenoiseSettings *s, const double *sigmas, guint n)
{
  s->sigmas = sigmas;
  s->steps = s->n_sigmas = n;
}

/* Returns the largest difference relative to the largest value of @b. */
static double
difference (const float *a, const float *b, gsize n)
{
  double error = 0, size = 0;

  for (gsize i = 0; i < n; i++) {
    error = fmax (error, fabs (a[i] - (double) b[i]));
    size = fmax (size, fabs (b[i]));
  }
  return error / size;
}

/* Levels that equal those of the shift give the same bits. */
static void
test_as_shift (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings s = f->settings;
  double sigmas[3];
  g_autofree float *shifted = NULL, *listed = NULL;

  s.steps = G_N_ELEMENTS (sigmas);
  for (guint i = 0; i < s.steps; i++) {
    double u = 1 - i / 3., shift = s.flow_shift;

    sigmas[i] = shift * u / (1 + (shift - 1) * u);
  }
  shifted = denoise (f, &s, NULL);
  set_sigmas (&s, sigmas, G_N_ELEMENTS (sigmas));
  listed = denoise (f, &s, NULL);
  g_assert_cmpmem (shifted, CHUNK * f->n * sizeof (float), listed, CHUNK * f->n * sizeof (float));
}

/* A single step from noise z at level s gives z - s v, and so the velocity v at z and s. The steps
 * of a list are then computed by hand: z -= (s - next) v. */
static void
test_euler (Fixture *f, gconstpointer data)
{
  static const double sigmas[] = { 1, 0.992, 0.9124, 0.35 };
  guint n = G_N_ELEMENTS (sigmas);
  gsize size = CHUNK * f->n;
  g_autofree float *z = noise_new (f), *end = NULL;
  AvatarDenoiseSettings s = f->settings;

  set_sigmas (&s, sigmas, n);
  end = denoise (f, &s, z);
  for (guint i = 0; i < n; i++) {
    double next = i + 1 < n ? sigmas[i + 1] : 0;
    g_autofree float *out = NULL;

    set_sigmas (&s, sigmas + i, 1);
    out = denoise (f, &s, z);
    for (gsize j = 0; j < size; j++)
      z[j] -= (sigmas[i] - next) / sigmas[i] * (z[j] - out[j]);
  }
  g_assert_cmpfloat (difference (z, end, size), <, 1e-4);
}

/* Windows with other numbers of steps interpolate the list. */
static void
test_interpolated (void)
{
  static const double sigmas[] = { 1, 0.8, 0.5, 0.4 };
  static const double three[] = { 1, 0.8 - 0.3 / 3, 0.5 - 0.1 * 2 / 3, 0 };
  static const double eight[] = { 1, 0.9, 0.8, 0.65, 0.5, 0.45, 0.4, 0.2, 0 };

  for (guint i = 0; i <= 4; i++)
    g_assert_cmpfloat (avatar_sigma_listed (sigmas, 4, i, 4), ==, i < 4 ? sigmas[i] : 0);
  for (guint i = 0; i <= 3; i++)
    g_assert_cmpfloat_with_epsilon (avatar_sigma_listed (sigmas, 4, i, 3), three[i], 1e-12);
  for (guint i = 0; i <= 8; i++)
    g_assert_cmpfloat_with_epsilon (avatar_sigma_listed (sigmas, 4, i, 8), eight[i], 1e-12);
}

/* A change between two windows, to a list and back, with other steps for idle windows. */
static void
test_change (Fixture *f, gconstpointer data)
{
  static const double sigmas[] = { 1, 0.7, 0.2 };
  AvatarDenoiseSettings to = f->settings;

  set_sigmas (&to, sigmas, G_N_ELEMENTS (sigmas));
  to.idle_steps = 2;
  expect_as_new (f, "cpu", 0, &to, NULL, 1);
  expect_as_new (f, "sim:512", 0, &to, NULL, 1);
  f->settings = to;
  to.n_sigmas = 0;
  to.sigmas = NULL;
  expect_as_new (f, "cpu", 0, &to, NULL, 1);
}

/* With 12 steps, a border between the levels of steps 9 and 10 gives upstream's phases. */
static void
test_border (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings s = f->settings;
  double shift = s.flow_shift;
  g_autofree float *steps = NULL, *level = NULL, *early = NULL;
  gsize size = CHUNK * f->n * sizeof (float);

  s.steps = 12;
  s.guidance_scale = 4;
  s.negative_prompt = "rain";
  s.step_cache = AVATAR_STEP_CACHE_UPSTREAM;
  steps = denoise (f, &s, NULL);
  s.guidance_border = (avatar_sigma (9, 12, shift) + avatar_sigma (10, 12, shift)) / 2;
  level = denoise (f, &s, NULL);
  g_assert_cmpmem (steps, size, level, size);
  s.guidance_border = (avatar_sigma (5, 12, shift) + avatar_sigma (6, 12, shift)) / 2;
  early = denoise (f, &s, NULL);
  g_assert_cmpfloat (difference (early, steps, CHUNK * f->n), >, 1e-3);
  f->settings.guidance_scale = s.guidance_scale;
  s = f->settings;
  s.guidance_border = 0.9;
  expect_as_new (f, "cpu", 0, &s, NULL, 1);
  expect_as_new (f, "sim:512", 0, &s, NULL, 1);
}

/* The step at the border is full, whatever the cache would choose. */
static void
test_border_is_full (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  AvatarDenoiseSettings s = f->settings;
  g_autofree float *out = g_new (float, f->n);
  g_autoptr (AvatarDenoiser) self = NULL;

  s.steps = 12;
  s.guidance_scale = 4;
  s.step_cache = AVATAR_STEP_CACHE_ADAPTIVE;
  s.step_cache_threshold = 100;
  s.guidance_border = (avatar_sigma (5, 12, s.flow_shift) + avatar_sigma (6, 12, s.flow_shift)) / 2;
  self = start (f, device, &s, image);
  pull (f, self, 1, out);
  g_assert_false (self->window.is_full[5]);
  g_assert_true (self->window.is_full[6]);
  g_assert_false (self->window.is_full[7]);
}

/* A forecast uses no step before the border, and needs two after it. */
static void
test_forecast_border (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  AvatarDenoiseSettings s = f->settings;
  g_autofree float *out = g_new (float, f->n);
  g_autoptr (AvatarDenoiser) self = NULL;
  guint kept[AVATAR_FORECAST_MAX_HISTORY], n;

  s.steps = 12;
  s.guidance_scale = 4;
  s.step_cache = AVATAR_STEP_CACHE_FORECAST;
  s.step_cache_steps = 1; /* raised to the smallest number: 0, 1, 6, 7 and 11 */
  s.guidance_border = (avatar_sigma (5, 12, s.flow_shift) + avatar_sigma (6, 12, s.flow_shift)) / 2;
  self = start (f, device, &s, image);
  pull (f, self, 1, out);
  for (guint i = 0; i < s.steps; i++)
    g_assert_cmpint (self->window.is_full[i], ==, i % 6 < 2 || i == 11);
  g_assert_cmpuint (self->stats.forwards, ==, 10);
  n = avatar_velocity_cache_steps (self->window.velocity_cache, kept);
  g_assert_cmpuint (n, ==, 2);
  g_assert_cmpuint (kept[0], ==, 6);
  g_assert_cmpuint (kept[1], ==, 7);
}

/* Returns the velocity with audio of step 0 at @x. @n: (out): number of forwards */
static float *
velocity_with_audio (Fixture *f, const AvatarDenoiseSettings *s, const float *x, guint *n)
{
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autoptr (AvatarDenoiser) self = start (f, device, s, image);
  AvatarOps *ops = self->memory.ops;
  g_autofree float *audio = g_new (float,
      (4 * CHUNK - 3) * info->feature_steps * info->feature_states * info->feature_channels);
  float *v = g_new (float, CHUNK * f->n);
  AvatarStepBuffers b;

  pull (f, self, 1, v);
  memcpy (audio, self->stream.tracks[0].features->data,
      (4 * CHUNK - 3) * self->stream.n_features * sizeof (float));
  avatar_window_set_audio (&self->window, ops, audio);
  b = avatar_step_buffers_new (ops, &self->stream.shape);
  avatar_op_upload (ops, b.x, x);
  *n = avatar_window_branches (&self->window, ops, b.v, b.x, 0, (AvatarWindowPosition){ 0 });
  avatar_op_download (ops, v, b.v);
  return v;
}

/* Without guidance a step has one forward: the branch of guidance with audio in the second phase,
 * with the prompt and the whole face mask. */
static void
test_unguided (Fixture *f, gconstpointer data)
{
  static const double scales[] = { 0, 0.5, 1 };
  g_autofree float *x = noise_new (f), *with = NULL;
  AvatarDenoiseSettings s = f->settings;
  guint n;

  s.face_box = (AvatarFaceBox){ 8, 8, 40, 40 };
  s.guidance_scale = 4;
  s.guidance_border = 1;
  s.negative_prompt = "rain";
  with = velocity_with_audio (f, &s, x, &n);
  g_assert_cmpuint (n, ==, 2);
  for (guint i = 0; i < G_N_ELEMENTS (scales); i++) {
    g_autofree float *v = NULL;

    s.guidance_scale = scales[i];
    s.guidance_border = 0;
    v = velocity_with_audio (f, &s, x, &n);
    g_assert_cmpuint (n, ==, 1);
    g_assert_cmpfloat (difference (v, with, CHUNK * f->n), <, 1e-6);
  }
}

static void
expect_refused (Fixture *f, const AvatarDenoiseSettings *s, const char *text)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (GError) error = NULL;

  g_assert_null (avatar_denoiser_new (f->model, device, s, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, text));
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  static const struct
  {
    double sigmas[3];
    const char *text;
  } bad[]
      = { { { 1, 0.5, 0 }, "sigma 3 of 3 is 0" }, { { 1.01, 0.5, 0.2 }, "sigma 1 of 3 is 1.01" },
          { { 1, 1, 0.5 }, "sigma 2 of 3 is 1" }, { { 0.5, 0.6, 0.2 }, "sigma 2 of 3 is 0.6" },
          { { 1, NAN, 0.5 }, "sigma 2 of 3 is" }, { { 1, 0.5, -0.5 }, "sigma 3 of 3 is -0.5" },
          { { INFINITY, 0.5, 0.2 }, "sigma 1 of 3 is inf" } };
  AvatarDenoiseSettings s = f->settings;

  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    set_sigmas (&s, bad[i].sigmas, 3);
    expect_refused (f, &s, bad[i].text);
  }
  set_sigmas (&s, (const double[]){ 1, 0.5, 0.2 }, 3);
  s.steps = 4;
  expect_refused (f, &s, "sigmas has 3 values, but steps is 4");
  s.steps = 3;
  s.guidance_border = 1.5;
  expect_refused (f, &s, "guidance-border is 1.5");
  s.guidance_border = 0;
  s.flow_shift += 1;
  expect_refused (f, &s, "flow-shift");
  set_sigmas (&s, NULL, 3);
  expect_refused (f, &s, "sigmas has 0 values");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/schedule/as-shift", Fixture, NULL, setup, test_as_shift, teardown);
  g_test_add ("/schedule/euler", Fixture, NULL, setup, test_euler, teardown);
  g_test_add_func ("/schedule/interpolated", test_interpolated);
  g_test_add ("/schedule/change", Fixture, NULL, setup, test_change, teardown);
  g_test_add ("/schedule/border", Fixture, NULL, setup, test_border, teardown);
  g_test_add ("/schedule/border-is-full", Fixture, NULL, setup, test_border_is_full, teardown);
  g_test_add ("/schedule/forecast-border", Fixture, NULL, setup, test_forecast_border, teardown);
  g_test_add ("/schedule/unguided", Fixture, NULL, setup, test_unguided, teardown);
  g_test_add ("/schedule/refused", Fixture, NULL, setup, test_refused, teardown);
  return g_test_run ();
}
