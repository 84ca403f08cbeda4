/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Continuation of the window before in stream mode, compared with a computation in double precision
 * in which only the velocities come from the transformer. */
#include "engine/denoise/denoiser-private.h"
#include "engine/denoise/sampler.h"

#include <math.h>
#include <string.h>

#define SIZE 64
#define WINDOW 5
#define OVERLAP 2
#define LATENTS 10 /* windows at 0, 3 and, moved back by one, 5 */
#define FRAMES (4 * LATENTS - 3)
#define STEPS 3

typedef struct
{
  AvatarModel *model;
  const AvatarModelInfo *info;
  AvatarDenoiseSettings settings;
  gsize n, plane, n_features;
} Fixture;

static void
setup (Fixture *f, gconstpointer data)
{
  f->model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  f->info = avatar_model_get_info (f->model);
  avatar_denoise_settings_init (&f->settings, f->model);
  f->settings.width = f->settings.height = SIZE;
  f->settings.window_latents = WINDOW;
  f->settings.overlap = OVERLAP;
  f->settings.steps = STEPS;
  f->settings.mode = AVATAR_DENOISE_MODE_STREAM;
  f->plane = (SIZE / f->info->latent_scale) * (SIZE / f->info->latent_scale);
  f->n = f->info->latent_channels * f->plane;
  f->n_features = f->info->feature_steps * f->info->feature_states * f->info->feature_channels;
}

static void
teardown (Fixture *f, gconstpointer data)
{
  avatar_model_unref (f->model);
}

static float
feature (gsize i, guint frame)
{
  return (float) ((i * 31 + frame * 17) % 101) / 50.f - 1.f;
}

static AvatarImage *
portrait (guint seed)
{
  g_autofree guint8 *pixels = g_malloc (SIZE * SIZE * 3);

  for (guint i = 0; i < SIZE * SIZE * 3; i++)
    pixels[i] = i * seed % 251;
  return avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
}

/* Makes a denoiser that has all features of the stream. */
static AvatarDenoiser *
start (Fixture *f, const char *device_name, AvatarContinuation continuation)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, &error);
  g_autoptr (AvatarImage) image = portrait (7);
  g_autofree float *features = g_new (float, f->n_features);
  AvatarDenoiser *self;

  f->settings.continuation = continuation;
  self = avatar_denoiser_new (f->model, device, &f->settings, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (self, image, NULL));
  for (guint frame = 0; frame < FRAMES; frame++) {
    for (gsize i = 0; i < f->n_features; i++)
      features[i] = feature (i, frame);
    g_assert_true (avatar_denoiser_push (self, features, NULL));
  }
  g_assert_true (avatar_denoiser_drain (self, NULL));
  return self;
}

/* Pulls @n latent frames to @out, [n, channels, plane]. */
static void
pull (Fixture *f, AvatarDenoiser *self, guint n, float *out)
{
  for (guint i = 0; i < n; i++)
    g_assert_cmpint (avatar_denoiser_pull (self, out + i * f->n, NULL), ==, AVATAR_PULL_OK);
}

/* Computes the velocity of step @i of x, both [channels, WINDOW, plane]. */
static void
transformer (AvatarDenoiser *self, guint i, const double *x, double *v)
{
  AvatarOps *ops = self->memory.ops;
  gsize mark = avatar_ops_mark (ops), n = avatar_latent_shape_n (&self->stream.shape);
  AvatarStepBuffers b = avatar_step_buffers_new (ops, &self->stream.shape);
  g_autofree float *host = g_new (float, n);

  for (gsize k = 0; k < n; k++)
    host[k] = x[k];
  avatar_op_upload (ops, b.x, host);
  avatar_window_velocity (&self->window, ops, b.v, b.x, i, (AvatarWindowPosition){ 0 });
  avatar_op_download (ops, host, b.v);
  for (gsize k = 0; k < n; k++)
    v[k] = host[k];
  avatar_ops_release (ops, mark);
}

/* Denoises the window at @start, [channels, WINDOW, plane]. The first @held frames follow the
 * straight line from their noise to @known [held, channels, plane]; those after them get the
 * transformer's velocity, without the error that it made in the last one of these. */
static void
denoise (Fixture *f, AvatarDenoiser *self, guint start, guint held, const float *known, double *x)
{
  gsize plane = f->plane, all = WINDOW * f->n;
  g_autofree double *v = g_new (double, all), *line = g_new (double, all);
  g_autofree float *noise = g_new (float, f->n),
                   *audio = g_new0 (float, (4 * WINDOW - 3) * f->n_features);

  for (guint r = 0; r < 4 * WINDOW - 3 && 4 * start + r < FRAMES; r++)
    for (gsize i = 0; i < f->n_features; i++)
      audio[r * f->n_features + i] = feature (i, 4 * start + r);
  avatar_ops_release (self->memory.ops, self->memory.mark);
  avatar_window_set_audio (&self->window, self->memory.ops, audio);
  for (guint j = 0; j < WINDOW; j++) {
    avatar_noise_fill (noise, f->n, f->settings.seed, start + j);
    for (gsize k = 0; k < f->n; k++) {
      gsize at = (k / plane * WINDOW + j) * plane + k % plane;

      x[at] = noise[k];
      line[at] = j < held ? noise[k] - (double) known[j * f->n + k] : 0;
    }
  }
  for (guint i = 0; i < STEPS; i++) {
    double dt = avatar_sigma (i + 1, STEPS, f->settings.flow_shift)
        - avatar_sigma (i, STEPS, f->settings.flow_shift);

    transformer (self, i, x, v);
    for (gsize at = 0; at < all; at++) {
      guint j = at / plane % WINDOW;
      gsize last = at - (j - (held - 1)) * plane;

      x[at] += dt
          * (j < held ? line[at] : v[at] - exp (-(j - held + 1.) / 4) * (v[last] - line[last]));
    }
  }
}

/* Compares frames @from .. @to of z, [frames, channels, plane], with the window x at @start. */
static void
compare (Fixture *f, const float *z, guint from, guint to, const double *x, guint start)
{
  double error = 0, size = 0;

  for (guint j = from; j < to; j++)
    for (gsize k = 0; k < f->n; k++) {
      double expected = x[(k / f->plane * WINDOW + j - start) * f->plane + k % f->plane];

      error = MAX (error, fabs (z[j * f->n + k] - expected));
      size = MAX (size, fabs (expected));
    }
  g_assert_cmpfloat (size, >, 0.1);
  g_assert_cmpfloat (error, <, 1e-4 * size);
}

static void
test_double (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDenoiser) self = start (f, "cpu", AVATAR_CONTINUATION_CORRECTED);
  g_autoptr (AvatarDenoiser) other = start (f, "cpu", AVATAR_CONTINUATION_HELD);
  g_autofree float *z = g_new (float, LATENTS * f->n), *first = g_new (float, WINDOW * f->n);
  g_autofree double *x = g_new (double, WINDOW * f->n);

  pull (f, self, LATENTS, z);
  pull (f, other, WINDOW, first); /* makes its constants */
  g_assert_cmpmem (z, WINDOW * f->n * sizeof (float), first, WINDOW * f->n * sizeof (float));
  denoise (f, other, 3, 2, z + 3 * f->n, x);
  compare (f, z, 3, 8, x, 3);
  denoise (f, other, 5, 3, z + 5 * f->n, x);
  compare (f, z, 5, 10, x, 5);
}

/* Returns the mean difference between the last frame of the first window and the next one. */
static double
jump (Fixture *f, const float *z)
{
  double sum = 0;

  for (gsize k = 0; k < f->n; k++)
    sum += fabs (z[WINDOW * f->n + k] - z[(WINDOW - 1) * f->n + k]);
  return sum / f->n;
}

/* Both continue the window before, the corrected one more closely. Devices agree. */
static void
test_jump (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDenoiser) held = start (f, "cpu", AVATAR_CONTINUATION_HELD);
  g_autoptr (AvatarDenoiser) corrected = start (f, "cpu", AVATAR_CONTINUATION_CORRECTED);
  g_autoptr (AvatarDenoiser) gpu = start (f, "sim:512", AVATAR_CONTINUATION_CORRECTED);
  g_autofree float *a = g_new (float, LATENTS * f->n), *b = g_new (float, LATENTS * f->n),
                   *c = g_new (float, LATENTS * f->n);
  gsize planned, peak;

  pull (f, held, LATENTS, a);
  pull (f, corrected, LATENTS, b);
  pull (f, gpu, LATENTS, c);
  g_assert_cmpfloat (jump (f, b), <, 0.95 * jump (f, a));
  for (gsize k = 0; k < LATENTS * f->n; k++)
    g_assert_cmpfloat (fabs (b[k] - c[k]), <, 1e-4);
  avatar_denoiser_get_arena (gpu, &planned, &peak);
  g_assert_cmpuint (planned, ==, peak);
}

/* Moves the position of @from in the stream to @to. */
static void
go_to (AvatarDenoiser *to, const AvatarDenoiser *from)
{
  float *latents = g_memdup2 (from->stream.last_window,
      avatar_latent_shape_n (&from->stream.shape) * sizeof (float));

  to->stream.emitted = from->stream.emitted;
  to->stream.n_windows = from->stream.n_windows;
  avatar_latent_stream_finish_window (&to->stream, latents, from->stream.start);
}

/* A new portrait does not mix with the old one: the next window is held only, the one after it is
 * corrected again. */
static void
test_portrait (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDenoiser) self = start (f, "cpu", AVATAR_CONTINUATION_CORRECTED);
  g_autoptr (AvatarDenoiser) held = start (f, "cpu", AVATAR_CONTINUATION_HELD);
  g_autofree float *a = g_new (float, LATENTS * f->n), *b = g_new (float, LATENTS * f->n);
  g_autoptr (AvatarImage) image = portrait (11);
  gsize second = (WINDOW - OVERLAP) * f->n * sizeof (float);

  pull (f, self, WINDOW, a);
  go_to (held, self);
  g_assert_true (avatar_denoiser_change (held, &f->settings, image, NULL));
  f->settings.continuation = AVATAR_CONTINUATION_CORRECTED;
  g_assert_true (avatar_denoiser_change (self, &f->settings, image, NULL));
  pull (f, self, LATENTS - WINDOW, a);
  pull (f, held, LATENTS - WINDOW, b);
  g_assert_cmpmem (a, second, b, second);
  g_assert_cmpint (memcmp ((char *) a + second, (char *) b + second, second / 3), !=, 0);
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDenoiser) self = start (f, "cpu", AVATAR_CONTINUATION_HELD);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (GError) error = NULL;

  f->settings.continuation = AVATAR_CONTINUATION_CORRECTED;
  g_assert_false (avatar_denoiser_change (self, &f->settings, NULL, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "continuation"));
  g_clear_error (&error);
  f->settings.continuation = 2;
  g_assert_null (avatar_denoiser_new (f->model, device, &f->settings, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_true (g_str_has_prefix (error->message, "continuation is 2"));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/continuation/double", Fixture, NULL, setup, test_double, teardown);
  g_test_add ("/continuation/jump", Fixture, NULL, setup, test_jump, teardown);
  g_test_add ("/continuation/portrait", Fixture, NULL, setup, test_portrait, teardown);
  g_test_add ("/continuation/refused", Fixture, NULL, setup, test_refused, teardown);
  return g_test_run ();
}
