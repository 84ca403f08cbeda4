/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test helper: compares a denoiser whose settings change between two windows with one that was made
 * with the new settings and moved to the same position. */
#pragma once

#include "engine/denoise/denoiser-private.h"
#include "engine/device/device.h"
#include "engine/backends/fake/fake.h"
#include "tests/unit/device.h"

#include <glib/gstdio.h>
#include <string.h>

#define SIZE 64
#define CHUNK 3
#define OVERLAP 1
#define WINDOWS 3
#define LATENTS (CHUNK + (WINDOWS - 1) * (CHUNK - OVERLAP))
#define FRAMES (4 * LATENTS - 3)
#define MIB ((guint64) 1 << 20)

typedef struct
{
  AvatarModel *model;
  AvatarDenoiseSettings settings;
  gsize n; /* floats of a latent frame */

  /* Latents of an unchanged stream with the settings @plain_settings, or NULL. */
  float *plain;
  AvatarDenoiseSettings plain_settings;
} Fixture;

static inline void
init (Fixture *f, const char *folder)
{
  g_autoptr (GError) error = NULL;

  f->model = avatar_model_open (folder, &error);
  g_assert_no_error (error);
  avatar_denoise_settings_init (&f->settings, f->model);
  f->settings.width = f->settings.height = SIZE;
  f->settings.window_latents = CHUNK;
  f->settings.overlap = OVERLAP;
  f->settings.steps = 2;
  f->settings.mode = AVATAR_DENOISE_MODE_STREAM;
  f->settings.prompt = "a man";
  f->settings.prompt_cache_dir = "none";
  f->n = avatar_model_get_info (f->model)->latent_channels * (SIZE / 8) * (SIZE / 8);
}

static inline void
setup (Fixture *f, gconstpointer data)
{
  init (f, AVATAR_MODEL_DIR);
}

static inline void
teardown (Fixture *f, gconstpointer data)
{
  avatar_fake_fail_memory (0);
  g_assert_cmpuint (avatar_fake_count_memory (), ==, 0);
  g_clear_pointer (&f->plain, g_free);
  avatar_model_unref (f->model);
}

static inline AvatarImage *
portrait (guint seed)
{
  g_autofree guint8 *pixels = g_malloc (SIZE * SIZE * 3);

  for (guint i = 0; i < SIZE * SIZE * 3; i++)
    pixels[i] = i * seed % 251;
  return avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
}

static inline void
push_all (Fixture *f, AvatarDenoiser *self)
{
  const AvatarModelInfo *info = avatar_model_get_info (f->model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);
  g_autoptr (GError) error = NULL;

  for (guint frame = 0; frame < FRAMES; frame++) {
    for (gsize i = 0; i < n; i++)
      features[i] = (float) ((i * 31 + frame * 17) % 101) / 50.f - 1.f;
    avatar_denoiser_push (self, features, &error);
    g_assert_no_error (error);
  }
  avatar_denoiser_drain (self, &error);
  g_assert_no_error (error);
}

static inline AvatarDenoiser *
start (Fixture *f, AvatarDevice *device, const AvatarDenoiseSettings *s, const AvatarImage *image)
{
  g_autoptr (GError) error = NULL;
  AvatarDenoiser *self = avatar_denoiser_new (f->model, device, s, &error);

  g_assert_no_error (error);
  avatar_denoiser_set_reference (self, image, &error);
  g_assert_no_error (error);
  push_all (f, self);
  return self;
}

/* Pulls @n latent frames to @out. */
static inline void
pull (Fixture *f, AvatarDenoiser *self, guint n, float *out)
{
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < n; i++) {
    guint n_ready = avatar_denoiser_get_n_ready (self);
    AvatarPull pull;

    g_assert_true ((n_ready == 0) == avatar_denoiser_is_due (self));
    pull = avatar_denoiser_pull (self, out + i * f->n, &error);
    g_assert_no_error (error);
    g_assert_cmpint (pull, ==, AVATAR_PULL_OK);
    if (n_ready > 0)
      g_assert_cmpuint (avatar_denoiser_get_n_ready (self), ==, n_ready - 1);
  }
}

/* Moves @self to the position of @other in the stream. */
static inline void
go_to (AvatarDenoiser *self, const AvatarDenoiser *other)
{
  AvatarLatentStream *to = &self->stream;
  const AvatarLatentStream *from = &other->stream;

  for (guint i = 0; i < to->n_tracks; i++) {
    const AvatarFeatureTrack *track = &from->tracks[i];

    g_array_set_size (to->tracks[i].features, 0);
    g_array_append_vals (to->tracks[i].features, track->features->data, track->features->len);
    to->tracks[i].pushed = track->pushed;
  }
  to->first_frame = from->first_frame;
  to->drained = from->drained;
  to->start = from->start;
  to->emitted = from->emitted;
  to->n_windows = from->n_windows;
  to->last_window
      = g_memdup2 (from->last_window, avatar_latent_shape_n (&to->shape) * sizeof (float));
}

static inline void
change_ok (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (avatar_denoiser_is_due (self));
  avatar_denoiser_change (self, s, image, &error);
  g_assert_no_error (error);
}

static inline void
check_memory (AvatarDenoiser *self)
{
  gsize predicted, peak;
  AvatarMemory memory;

  avatar_denoiser_get_arena (self, &predicted, &peak);
  g_assert_cmpuint (predicted, ==, peak);
  avatar_device_get_memory (self->device, &memory);
  if (memory.budget)
    g_assert_cmpuint (memory.peak, <=, memory.budget);
}

static inline AvatarDevice *
device_new (const char *name, guint64 budget)
{
  AvatarDevice *device = open_device (name);

  avatar_device_set_budget (device, budget);
  return device;
}

/* Compares a change to @to and @image before window @when with a denoiser made with them. */
static inline void
expect_as_new (Fixture *f, const char *name, guint64 budget, const AvatarDenoiseSettings *to,
    const AvatarImage *image, guint when)
{
  g_autoptr (AvatarDevice) device = device_new (name, budget);
  g_autoptr (AvatarDevice) other = device_new (name, 0);
  g_autoptr (AvatarImage) first = portrait (7);
  g_autoptr (AvatarDenoiser) changed = start (f, device, &f->settings, first);
  g_autoptr (AvatarDenoiser) fresh = start (f, other, to, image ? image : first);
  guint before = when ? CHUNK + (when - 1) * (CHUNK - OVERLAP) : 0;
  g_autofree float *a = g_new (float, LATENTS * f->n);
  g_autofree float *b = g_new (float, LATENTS * f->n);

  pull (f, changed, before, a);
  if (when)
    go_to (fresh, changed);
  change_ok (changed, to, image);
  pull (f, changed, LATENTS - before, a);
  pull (f, fresh, LATENTS - before, b);
  g_assert_cmpmem (a, (LATENTS - before) * f->n * sizeof (float), b,
      (LATENTS - before) * f->n * sizeof (float));
  check_memory (changed);
}

/* In MiB, for a stage with @settings. */
static inline guint64
least_budget (Fixture *f, const AvatarDenoiseSettings *settings)
{
  g_autoptr (AvatarDevice) device = device_new ("sim:512", 0);
  g_autoptr (GError) error = NULL;
  AvatarDenoiserPlan plan;

  avatar_denoiser_plan (f->model, device, settings, FRAMES, G_MAXUINT64, &plan, &error);
  g_assert_no_error (error);
  return (AVATAR_FAKE_OVERHEAD + plan.min_bytes + MIB - 1) / MIB;
}

/* Returns the latents of a stream with @f's settings that are never changed. They are computed
 * once, since most refusals of a test are compared with the same stream. */
static inline const float *
plain_latents (Fixture *f)
{
  g_autoptr (AvatarImage) first = portrait (7);
  g_autoptr (AvatarDevice) device = NULL;
  g_autoptr (AvatarDenoiser) self = NULL;

  if (f->plain && memcmp (&f->plain_settings, &f->settings, sizeof f->settings) == 0)
    return f->plain;
  device = device_new ("cpu", 0);
  self = start (f, device, &f->settings, first);
  g_free (f->plain);
  f->plain = g_new (float, LATENTS * f->n);
  f->plain_settings = f->settings;
  pull (f, self, LATENTS, f->plain);
  return f->plain;
}

/* Returns TRUE if the change is refused, and then compares the rest with an unchanged stream. */
static inline gboolean
is_refused (Fixture *f, AvatarDevice *device, const AvatarDenoiseSettings *to,
    const AvatarImage *image, int code, const char *text, guint fail_memory)
{
  g_autoptr (AvatarImage) first = portrait (7);
  g_autoptr (AvatarDenoiser) self = start (f, device, &f->settings, first);
  g_autoptr (GError) error = NULL;
  g_autofree float *a = g_new (float, LATENTS * f->n);
  gboolean refused;

  pull (f, self, CHUNK, a);
  avatar_fake_fail_memory (fail_memory);
  refused = !avatar_denoiser_change (self, to, image, &error);
  avatar_fake_fail_memory (0);
  if (!refused)
    return FALSE;
  g_assert_error (error, AVATAR_ERROR, code);
  g_assert_nonnull (strstr (error->message, text));
  pull (f, self, LATENTS - CHUNK, a + CHUNK * f->n);
  g_assert_cmpmem (a, LATENTS * f->n * sizeof (float), plain_latents (f),
      LATENTS * f->n * sizeof (float));
  check_memory (self);
  return TRUE;
}

/* Makes a small model of random values. @data: (nullable): its parts */
static inline void
make_model (Fixture *f, gconstpointer data)
{
  const char *argv[] = { AVATAR_RANDOM, "--config", AVATAR_SMALL_CONFIG, "--parts",
    data ? data : "transformer,vae,whisper,llava,clip", NULL, NULL };
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  int status;

  argv[5] = folder;
  g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
      &status, &error);
  g_assert_no_error (error);
  g_assert_true (g_spawn_check_wait_status (status, NULL));
  init (f, folder);
}

static inline void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree char *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  g_remove (path);
}

static inline void
remove_model (Fixture *f, gconstpointer data)
{
  g_autofree char *folder = g_strdup (avatar_model_get_path (f->model));

  teardown (f, data);
  remove_tree (folder);
}
