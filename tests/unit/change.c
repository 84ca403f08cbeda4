/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Settings that change between two windows: later windows are bit-identical to those of a denoiser
 * made with the new settings; a change that fails has no effect; no budget is exceeded. */
#include "change-fixture.h"

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

/* The minimum budget of a run with the new settings suffices for the change. */
static void
test_least (Fixture *f, gconstpointer data)
{
  AvatarDenoiseSettings to = f->settings;

  to.guidance_scale = 4;
  to.prompt = "an angry man in red light shouts at the rain, and nobody is there";
  expect_as_new (f, "sim:512", least_budget (f, &to) * MIB, &to, NULL, 1);
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
