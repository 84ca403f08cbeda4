/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings that change between two windows: later windows are bit-identical to those of a denoiser
 * made with the new settings; a change that fails has no effect; no budget is exceeded. */
#include "engine/denoise/denoiser-private.h"
#include "engine/device/device.h"
#include "engine/backends/fake/fake.h"

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
} Fixture;

static void
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

static void
setup (Fixture *f, gconstpointer data)
{
  init (f, AVATAR_MODEL_DIR);
}

static void
teardown (Fixture *f, gconstpointer data)
{
  avatar_fake_fail_memory (0);
  g_assert_cmpuint (avatar_fake_count_memory (), ==, 0);
  avatar_model_unref (f->model);
}

static AvatarImage *
portrait (guint seed)
{
  g_autofree guint8 *pixels = g_malloc (SIZE * SIZE * 3);

  for (guint i = 0; i < SIZE * SIZE * 3; i++)
    pixels[i] = i * seed % 251;
  return avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
}

static void
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

static AvatarDenoiser *
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
static void
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
static void
go_to (AvatarDenoiser *self, const AvatarDenoiser *other)
{
  AvatarLatentStream *to = &self->stream;
  const AvatarLatentStream *from = &other->stream;

  g_array_set_size (to->features, 0);
  g_array_append_vals (to->features, from->features->data, from->features->len);
  to->first_frame = from->first_frame;
  to->pushed = from->pushed;
  to->drained = from->drained;
  to->start = from->start;
  to->emitted = from->emitted;
  to->n_windows = from->n_windows;
  to->last_window
      = g_memdup2 (from->last_window, avatar_latent_shape_n (&to->shape) * sizeof (float));
}

static void
change_ok (AvatarDenoiser *self, const AvatarDenoiseSettings *s, const AvatarImage *image)
{
  g_autoptr (GError) error = NULL;

  g_assert_true (avatar_denoiser_is_due (self));
  avatar_denoiser_change (self, s, image, &error);
  g_assert_no_error (error);
}

static void
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

static AvatarDevice *
device_new (const char *name, guint64 budget)
{
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open (name, &error);

  g_assert_no_error (error);
  avatar_device_set_budget (device, budget);
  return device;
}

/* Compares a change to @to and @image before window @when with a denoiser made with them. */
static void
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

/* Applies the @i-th change to @s. @image: (out): another portrait. Returns FALSE after the last. */
static gboolean
nth_change (guint i, AvatarDenoiseSettings *s, AvatarImage **image)
{
  static const char *const words
      = "an angry man in red light shouts at the rain, and nobody is there";

  switch (i) {
    case 0:
      s->seed++;
      return TRUE;
    case 1:
      s->prompt = words;
      return TRUE;
    case 2:
      s->prompt = "";
      return TRUE;
    case 3:
      s->guidance_scale = 4;
      s->negative_prompt = words;
      return TRUE;
    case 4:
      s->steps = 12;
      return TRUE;
    case 5:
      s->motion_exp = 60;
      s->motion_pose = 1;
      return TRUE;
    case 6:
      s->flow_shift = 2;
      return TRUE;
    case 7:
      s->face_box = (AvatarFaceBox){ 8, 8, 24, 24 };
      return TRUE;
    case 8:
      *image = portrait (11);
      return TRUE;
    case 9: /* all at once */
      for (guint j = 0; j < i; j++)
        nth_change (j, s, j == 8 ? image : NULL);
      s->prompt = words;
      return TRUE;
    default:
      return FALSE;
  }
}

static void
test_changes (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings to = f->settings;
  AvatarImage *image = NULL;

  for (guint i = 0; nth_change (i, &to, &image); i++) {
    expect_as_new (f, "cpu", 0, &to, image, 0);
    expect_as_new (f, "cpu", 0, &to, image, 2);
    expect_as_new (f, "sim:512", 0, &to, image, 1);
    to = f->settings;
    g_clear_pointer (&image, avatar_image_free);
  }
}

/* With guidance, a step cache and a sampled reference before and after. */
static void
test_back (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings to;

  f->settings.guidance_scale = 4;
  f->settings.posterior_noise = "seeded";
  f->settings.step_cache = AVATAR_STEP_CACHE_UPSTREAM;
  to = f->settings;
  to.guidance_scale = 1;
  to.seed++;
  expect_as_new (f, "cpu", 0, &to, NULL, 1);
  expect_as_new (f, "sim:512", 0, &to, NULL, 1);
  f->settings.guidance_scale = 1;
  to.guidance_scale = 4;
  expect_as_new (f, "sim:512", 0, &to, NULL, 1);
}

/* In MiB, for a stage with @settings. */
static guint64
least_budget (Fixture *f, const AvatarDenoiseSettings *settings)
{
  g_autoptr (AvatarDevice) device = device_new ("sim:512", 0);
  g_autoptr (GError) error = NULL;
  AvatarDenoiserPlan plan;

  avatar_denoiser_plan (f->model, device, settings, FRAMES, G_MAXUINT64, &plan, &error);
  g_assert_no_error (error);
  return (AVATAR_FAKE_OVERHEAD + plan.min_bytes + MIB - 1) / MIB;
}

/* The minimum budget of a run with the new settings suffices for the change. */
static void
test_least (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings to = f->settings;

  to.guidance_scale = 4;
  to.prompt = "an angry man in red light shouts at the rain, and nobody is there";
  expect_as_new (f, "sim:512", least_budget (f, &to) * MIB, &to, NULL, 1);
}

/* Returns TRUE if the change is refused, and then compares the rest with an unchanged stream. */
static gboolean
is_refused (Fixture *f, AvatarDevice *device, const AvatarDenoiseSettings *to,
    const AvatarImage *image, int code, const char *text, guint fail_memory)
{
  g_autoptr (AvatarImage) first = portrait (7);
  g_autoptr (AvatarDevice) other = device_new ("cpu", 0);
  g_autoptr (AvatarDenoiser) self = start (f, device, &f->settings, first);
  g_autoptr (AvatarDenoiser) plain = start (f, other, &f->settings, first);
  g_autoptr (GError) error = NULL;
  g_autofree float *a = g_new (float, LATENTS * f->n);
  g_autofree float *b = g_new (float, LATENTS * f->n);
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
  pull (f, plain, LATENTS, b);
  g_assert_cmpmem (a, LATENTS * f->n * sizeof (float), b, LATENTS * f->n * sizeof (float));
  check_memory (self);
  return TRUE;
}

static void
test_refused (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarDevice) small = device_new ("sim:512", least_budget (f, &f->settings) * MIB);
  AvatarDenoiseSettings to = f->settings;

  to.window_latents = 2;
  g_assert_true (is_refused (f, device, &to, NULL, AVATAR_ERROR_SETTINGS, "window-latents", 0));
  to = f->settings;
  to.steps = 0;
  g_assert_true (is_refused (f, device, &to, NULL, AVATAR_ERROR_SETTINGS, "steps", 0));
  to = f->settings;
  to.guidance_scale = 4;
  to.steps = 900;
  to.prompt = "an angry man in red light shouts at the rain, and nobody is there";
  g_assert_true (is_refused (f, small, &to, NULL, AVATAR_ERROR_MEMORY, "at least", 0));
}

/* Lets each allocation of a change fail; some are retried with less memory. */
static void
test_failing (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("sim:512", 0);
  g_autoptr (AvatarImage) image = portrait (11);
  guint refused = 0;

  for (guint n = 1; n <= 12; n++)
    refused += is_refused (f, device, &f->settings, image, AVATAR_ERROR_MEMORY, "", n);
  g_assert_cmpuint (refused, >, 2);
}

/* --------------------------------------------------------------- models that have text encoders */

static void
make_model (Fixture *f, gconstpointer data)
{
  const char *argv[] = { AVATAR_RANDOM, "--config", AVATAR_SMALL_CONFIG, "--parts",
    "transformer,vae,whisper,llava,clip", NULL, NULL };
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

static void
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

static void
remove_model (Fixture *f, gconstpointer data)
{
  g_autofree char *folder = g_strdup (avatar_model_get_path (f->model));

  teardown (f, data);
  remove_tree (folder);
}

/* The language model encodes prompt and portrait together, so either change needs it. */
static void
test_encoders (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings to = f->settings;
  g_autoptr (AvatarImage) image = portrait (11);

  f->settings.guidance_scale = to.guidance_scale = 3;
  expect_as_new (f, "cpu", 0, &to, image, 1);
  to.prompt = "an angry man in red light";
  expect_as_new (f, "cpu", 0, &to, NULL, 1);
  expect_as_new (f, "cpu", 0, &to, image, 0);
  expect_as_new (f, "sim:512", least_budget (f, &to) * MIB, &to, image, 1);
}

/* Cancels in the middle of encoding; after a reset the same change succeeds. */
static void
cancel (const AvatarProgress *progress, gpointer denoiser)
{
  if (progress->phase == AVATAR_PROGRESS_TEXT && progress->step == 2)
    avatar_denoiser_cancel (denoiser);
}

static void
test_cancel (Fixture *f, gconstpointer data)
{
  g_autoptr (AvatarDevice) device = device_new ("cpu", 0);
  g_autoptr (AvatarImage) first = portrait (7);
  AvatarDenoiseSettings to = f->settings;
  g_autoptr (AvatarDenoiser) self = start (f, device, &f->settings, first);
  g_autoptr (AvatarDenoiser) fresh = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree float *a = g_new (float, LATENTS * f->n);
  g_autofree float *b = g_new (float, LATENTS * f->n);

  to.prompt = "an angry man in red light";
  avatar_denoiser_set_progress_func (self, cancel, self);
  g_assert_false (avatar_denoiser_change (self, &to, NULL, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  avatar_denoiser_set_progress_func (self, NULL, NULL);
  avatar_denoiser_reset (self);
  push_all (f, self);
  change_ok (self, &to, NULL);
  pull (f, self, LATENTS, a);
  fresh = start (f, device, &to, first);
  pull (f, fresh, LATENTS, b);
  g_assert_cmpmem (a, LATENTS * f->n * sizeof (float), b, LATENTS * f->n * sizeof (float));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/change/changes", Fixture, NULL, setup, test_changes, teardown);
  g_test_add ("/change/back", Fixture, NULL, setup, test_back, teardown);
  g_test_add ("/change/least", Fixture, NULL, setup, test_least, teardown);
  g_test_add ("/change/refused", Fixture, NULL, setup, test_refused, teardown);
  g_test_add ("/change/failing", Fixture, NULL, setup, test_failing, teardown);
  g_test_add ("/change/encoders", Fixture, NULL, make_model, test_encoders, remove_model);
  g_test_add ("/change/cancel", Fixture, NULL, make_model, test_cancel, remove_model);
  return g_test_run ();
}
