/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Silence in a stream of windows: windows with idle_steps, features that are replaced, and windows
 * that are abandoned. */
#include "engine/backends/fake/fake.h"

#include <avatar/avatar.h>
#include <math.h>
#include <string.h>

#define SIZE 64
#define WINDOW 3
#define OVERLAP 1
#define FURTHER (WINDOW - OVERLAP)
#define FRAMES (4 * (WINDOW + FURTHER) - 3)
#define STEPS 3
#define IDLE_STEPS 1

typedef struct
{
  AvatarModel *model;
  AvatarDenoiseSettings settings;
  AvatarDenoiser *denoiser;
  gsize n_features, n_latent;
  guint abandon_at; /* step after which a window is abandoned; 0: none */
} Stream;

static void
stream_init (Stream *self, const char *device_name, guint steps, guint idle_steps)
{
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, NULL);
  g_autofree guint8 *pixels = g_malloc0 (SIZE * SIZE * 3);
  g_autoptr (AvatarImage) image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
  g_autoptr (GError) error = NULL;
  const AvatarModelInfo *info;

  *self = (Stream){ .model = avatar_model_open (AVATAR_MODEL_DIR, NULL) };
  info = avatar_model_get_info (self->model);
  self->n_features = info->feature_steps * info->feature_states * info->feature_channels;
  self->n_latent = info->latent_channels * (SIZE / 8) * (SIZE / 8);
  avatar_denoise_settings_init (&self->settings, self->model);
  self->settings.width = self->settings.height = SIZE;
  self->settings.window_latents = WINDOW;
  self->settings.overlap = OVERLAP;
  self->settings.steps = steps;
  self->settings.idle_steps = idle_steps;
  self->settings.mode = AVATAR_DENOISE_MODE_STREAM;
  self->settings.prompt_cache_dir = "none";
  self->denoiser = avatar_denoiser_new (self->model, device, &self->settings, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (self->denoiser, image, NULL));
}

static void
stream_clear (Stream *self)
{
  avatar_denoiser_free (self->denoiser);
  avatar_model_unref (self->model);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Stream, stream_clear)

/* Features that are all @value. */
static float *
features_of (const Stream *self, float value)
{
  float *features = g_new (float, self->n_features);

  for (gsize i = 0; i < self->n_features; i++)
    features[i] = value;
  return features;
}

static void
push (Stream *self, guint n, float value)
{
  g_autofree float *features = features_of (self, value);

  for (guint i = 0; i < n; i++)
    g_assert_true (avatar_denoiser_push (self->denoiser, features, NULL));
}

/* Returns the next @n latents. */
static float *
pull (Stream *self, guint n)
{
  float *latents = g_new (float, n * self->n_latent);
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < n; i++) {
    AvatarPull pull = avatar_denoiser_pull (self->denoiser, latents + i * self->n_latent, &error);

    g_assert_no_error (error);
    g_assert_cmpint (pull, ==, AVATAR_PULL_OK);
  }
  return latents;
}

static void
expect_same (Stream *a, Stream *b, guint n)
{
  g_autofree float *x = pull (a, n);
  g_autofree float *y = pull (b, n);

  g_assert_cmpmem (x, n * a->n_latent * sizeof (float), y, n * b->n_latent * sizeof (float));
}

static void
use_steps (Stream *self, guint steps)
{
  g_assert_true (avatar_denoiser_use_steps (self->denoiser, steps, NULL));
}

static void
change (Stream *self)
{
  g_autoptr (GError) error = NULL;

  avatar_denoiser_change (self->denoiser, &self->settings, NULL, &error);
  g_assert_no_error (error);
}

static guint
count_steps (Stream *self)
{
  AvatarDenoiseStats stats;

  avatar_denoiser_get_stats (self->denoiser, &stats);
  return stats.steps;
}

/* A window has the latents of a denoiser with that number of steps in its settings. */
static void
test_steps (void)
{
  g_auto (Stream) self, other;

  stream_init (&self, "cpu", STEPS, IDLE_STEPS);
  stream_init (&other, "cpu", IDLE_STEPS, 0);
  push (&self, FRAMES, 0.5);
  push (&other, FRAMES, 0.5);
  use_steps (&self, IDLE_STEPS);
  expect_same (&self, &other, WINDOW);
  g_assert_cmpuint (count_steps (&self), ==, IDLE_STEPS);
  use_steps (&self, STEPS);
  other.settings.steps = STEPS;
  change (&other);
  expect_same (&self, &other, FURTHER);
  g_assert_cmpuint (count_steps (&self), ==, STEPS);
}

/* All numbers from min_steps to steps are prepared, besides idle_steps. */
static void
test_min_steps (void)
{
  g_auto (Stream) self, other;

  stream_init (&self, "cpu", STEPS, 5);
  stream_init (&other, "cpu", 2, 0);
  self.settings.min_steps = 2;
  change (&self);
  push (&self, FRAMES, 0.5);
  push (&other, FRAMES, 0.5);
  use_steps (&self, 2);
  expect_same (&self, &other, WINDOW);
  g_assert_cmpuint (count_steps (&self), ==, 2);
  use_steps (&self, 5);
  other.settings.steps = 5;
  change (&other);
  expect_same (&self, &other, FURTHER);
  use_steps (&self, STEPS);
  g_assert_false (avatar_denoiser_use_steps (self.denoiser, 1, NULL));
  g_assert_false (avatar_denoiser_use_steps (self.denoiser, 4, NULL));
}

/* A change of other settings keeps what was prepared. */
static void
test_kept (void)
{
  g_auto (Stream) self, other;

  stream_init (&self, "sim:512", STEPS, IDLE_STEPS);
  stream_init (&other, "sim:512", STEPS, 0);
  push (&self, FRAMES, 0.5);
  push (&other, FRAMES, 0.5);
  expect_same (&self, &other, WINDOW);
  self.settings.seed = other.settings.seed = 5;
  change (&self);
  change (&other);
  expect_same (&self, &other, FURTHER);
}

/* Nothing is computed or copied when the number of steps changes: a window downloads its latents,
 * and one number after each step. */
static void
test_cost (void)
{
  g_auto (Stream) self;
  g_autofree float *latents = NULL;
  guint before, window;

  stream_init (&self, "sim:512", STEPS, IDLE_STEPS);
  window = WINDOW * self.n_latent * sizeof (float);
  push (&self, FRAMES, 0.5);
  latents = pull (&self, WINDOW);
  before = avatar_fake_count_downloaded ();
  use_steps (&self, IDLE_STEPS);
  g_free (latents);
  latents = pull (&self, FURTHER);
  g_assert_cmpuint (avatar_fake_count_downloaded () - before, ==, window + 4 * IDLE_STEPS);
}

/* A change while idle steps are in use takes effect on both numbers. */
static void
test_change (void)
{
  g_auto (Stream) self, other;

  stream_init (&self, "cpu", STEPS, IDLE_STEPS);
  stream_init (&other, "cpu", IDLE_STEPS, 0);
  push (&self, FRAMES, 0.5);
  push (&other, FRAMES, 0.5);
  use_steps (&self, IDLE_STEPS);
  expect_same (&self, &other, WINDOW);
  self.settings.seed = other.settings.seed = 5;
  self.settings.idle_steps = other.settings.steps = 2;
  change (&self);
  change (&other);
  use_steps (&self, 2);
  expect_same (&self, &other, FURTHER);
}

static void
test_refused (void)
{
  g_auto (Stream) self;
  g_autoptr (GError) error = NULL;

  stream_init (&self, "cpu", STEPS, IDLE_STEPS);
  g_assert_false (avatar_denoiser_use_steps (self.denoiser, 2, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
  g_assert_nonnull (strstr (error->message, "2 steps"));
}

/* Features that are replaced are as if they had been pushed so, as far as they are not used yet. */
static void
test_replace (void)
{
  g_auto (Stream) self, other;
  g_autofree float *other_value = NULL;
  g_autofree float *nan = NULL;

  stream_init (&self, "cpu", STEPS, 0);
  stream_init (&other, "cpu", STEPS, 0);
  push (&self, FRAMES, 0.5);
  other_value = features_of (&self, -0.25);
  push (&other, 9, 0.5);
  push (&other, FRAMES - 9, -0.25);
  expect_same (&self, &other, WINDOW);
  g_assert_true (avatar_denoiser_replace (self.denoiser, 9, 1000, other_value, NULL));
  expect_same (&self, &other, FURTHER);
  /* frames that are not known have no effect */
  g_assert_true (avatar_denoiser_replace (self.denoiser, FRAMES, 5, other_value, NULL));
  g_assert_true (avatar_denoiser_replace (self.denoiser, 0, 1, other_value, NULL));
  nan = features_of (&self, NAN);
  g_assert_false (avatar_denoiser_replace (self.denoiser, 0, 1, nan, NULL));
}

static void
on_progress (const AvatarProgress *progress, gpointer data)
{
  Stream *self = data;

  if (self->abandon_at == 0 || progress->step != self->abandon_at)
    return;
  self->abandon_at = 0;
  avatar_denoiser_abandon_window (self->denoiser);
}

/* An abandoned window leaves nothing behind: it is due, and has the same latents when it is
 * denoised again. */
static void
test_abandon (void)
{
  g_autofree float *latent = NULL;
  g_auto (Stream) self, other;

  stream_init (&self, "sim:512", STEPS, 0);
  stream_init (&other, "cpu", STEPS, 0);
  latent = g_new (float, self.n_latent);
  push (&self, FRAMES, 0.5);
  push (&other, FRAMES, 0.5);
  avatar_denoiser_set_progress_func (self.denoiser, on_progress, &self);
  avatar_denoiser_abandon_window (self.denoiser); /* no window: no effect */
  expect_same (&self, &other, WINDOW);
  for (guint step = 1; step <= STEPS; step++) {
    self.abandon_at = step;
    g_assert_cmpint (avatar_denoiser_pull (self.denoiser, latent, NULL), ==, AVATAR_PULL_EMPTY);
    g_assert_true (avatar_denoiser_is_due (self.denoiser));
  }
  expect_same (&self, &other, FURTHER);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/idle/steps", test_steps);
  g_test_add_func ("/idle/min-steps", test_min_steps);
  g_test_add_func ("/idle/kept", test_kept);
  g_test_add_func ("/idle/cost", test_cost);
  g_test_add_func ("/idle/change", test_change);
  g_test_add_func ("/idle/refused", test_refused);
  g_test_add_func ("/idle/replace", test_replace);
  g_test_add_func ("/idle/abandon", test_abandon);
  return g_test_run ();
}
