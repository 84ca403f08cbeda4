/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A stream of windows: latent frames that are ready, and copies from the device in a window. */
#include "engine/backends/fake/fake.h"
#include "engine/denoise/denoiser-private.h"

#include <avatar/avatar.h>
#include <math.h>
#include <string.h>

#define SIZE 64
#define CHUNK 3
#define OVERLAP 1
#define WINDOWS 3
#define LATENTS (CHUNK + (WINDOWS - 1) * (CHUNK - OVERLAP))
#define FRAMES (4 * LATENTS - 3)
#define MAX_LATENT 4096 /* floats of a latent frame */

static AvatarDenoiser *
start (AvatarModel *model, const char *device_name, AvatarDenoiseMode mode, guint steps)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, &error);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new0 (float, n);
  g_autofree guint8 *pixels = g_malloc0 (SIZE * SIZE * 3);
  g_autoptr (AvatarImage) image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
  AvatarDenoiseSettings settings;
  AvatarDenoiser *self;

  g_assert_no_error (error);
  g_assert_cmpuint (info->latent_channels * (SIZE / 8) * (SIZE / 8), <=, MAX_LATENT);
  avatar_denoise_settings_init (&settings, model);
  settings.width = settings.height = SIZE;
  settings.window_latents = CHUNK;
  settings.overlap = OVERLAP;
  settings.steps = steps;
  settings.guidance_scale = 4;
  settings.mode = mode;
  settings.prompt_cache_dir = "none";
  self = avatar_denoiser_new (model, device, &settings, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (self, image, NULL));
  for (guint i = 0; i < FRAMES; i++)
    g_assert_true (avatar_denoiser_push (self, features, NULL));
  g_assert_true (avatar_denoiser_drain (self, NULL));
  return self;
}

static void
pull (AvatarDenoiser *self, guint n)
{
  float latent[MAX_LATENT];
  g_autoptr (GError) error = NULL;

  for (guint i = 0; i < n; i++) {
    AvatarPull pull = avatar_denoiser_pull (self, latent, &error);

    g_assert_no_error (error);
    g_assert_cmpint (pull, ==, AVATAR_PULL_OK);
  }
}

/* Latent frames are ready after the pull that denoises their window, until they are pulled. */
static void
test_n_ready (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  g_autoptr (AvatarDenoiser) self = start (model, "cpu", AVATAR_DENOISE_MODE_STREAM, 1);

  g_assert_cmpuint (avatar_denoiser_get_n_ready (self), ==, 0);
  for (guint i = 0; i < LATENTS - 1; i++) {
    guint in_window = i < CHUNK ? CHUNK - i : CHUNK - OVERLAP - (i - CHUNK) % (CHUNK - OVERLAP);

    pull (self, 1);
    g_assert_cmpuint (avatar_denoiser_get_n_ready (self), ==, in_window - 1);
    g_assert_true (avatar_denoiser_is_due (self) == (in_window == 1));
  }
  g_assert_cmpuint (avatar_denoiser_get_n_ready (self), ==, 1);
  avatar_denoiser_reset (self);
  g_assert_cmpuint (avatar_denoiser_get_n_ready (self), ==, 0);
}

/* Returns a denoiser that gets features with the number of their frame in all values. */
static AvatarDenoiser *
start_counting (AvatarModel *model, guint frames)
{
  AvatarDenoiser *self = start (model, "cpu", AVATAR_DENOISE_MODE_STREAM, 1);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);

  avatar_denoiser_reset (self);
  for (guint i = 0; i < frames; i++) {
    for (gsize j = 0; j < n; j++)
      features[j] = i;
    g_assert_true (avatar_denoiser_push (self, features, NULL));
  }
  return self;
}

/* Asserts that the first frames of the last window are the last ones of @before. */
static void
expect_continued (const AvatarLatentStream *stream, const float *before)
{
  gsize plane = avatar_latent_shape_plane (&stream->shape);

  for (gint64 c = 0; c < stream->shape.channels; c++) {
    const float *first = stream->last_window + c * CHUNK * plane;

    g_assert_cmpmem (first, OVERLAP * plane * sizeof (float),
        before + (c * CHUNK + CHUNK - OVERLAP) * plane, OVERLAP * plane * sizeof (float));
  }
}

/* A skipped window advances the stream; the next one has its own audio, and continues from the
 * latents of the last one that was denoised. */
static void
test_skip (void)
{
  const guint step = CHUNK - OVERLAP, n_skipped = 3;
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  g_autoptr (AvatarDenoiser) self = start_counting (model, FRAMES + 4 * n_skipped * step);
  const AvatarLatentStream *stream = &self->stream;
  g_autofree float *before = NULL, *audio = NULL;

  g_assert_true (avatar_denoiser_is_due (self));
  g_assert_cmpuint (avatar_denoiser_skip (self), ==, 0); /* nothing to continue from */
  pull (self, 1);
  g_assert_cmpuint (avatar_denoiser_skip (self), ==, 0); /* latents are ready: not due */
  pull (self, CHUNK - 1);
  before = g_memdup2 (stream->last_window, avatar_latent_shape_n (&stream->shape) * sizeof (float));
  for (guint i = 0; i < n_skipped; i++)
    g_assert_cmpuint (avatar_denoiser_skip (self), ==, step);
  g_assert_true (avatar_denoiser_is_due (self));
  audio = avatar_latent_stream_audio (stream, (n_skipped + 1) * step);
  g_assert_cmpfloat (audio[0], ==, 4 * (n_skipped + 1) * step);
  pull (self, step);
  expect_continued (stream, before);
  pull (self, LATENTS - CHUNK - step);
  g_assert_false (avatar_denoiser_is_due (self));
  g_assert_cmpuint (avatar_denoiser_skip (self), ==, 0);
  avatar_denoiser_drain (self, NULL);
  g_assert_false (avatar_denoiser_is_due (self));
  g_assert_cmpuint (stream->emitted, ==, LATENTS + n_skipped * step);
}

/* The end of a stream is never skipped, and clip mode has no windows. */
static void
test_skip_end (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  g_autoptr (AvatarDenoiser) stream = start (model, "cpu", AVATAR_DENOISE_MODE_STREAM, 1);
  g_autoptr (AvatarDenoiser) clip = start (model, "cpu", AVATAR_DENOISE_MODE_CLIP, 1);

  pull (stream, CHUNK);
  g_assert_true (avatar_denoiser_is_due (stream));
  g_assert_cmpuint (avatar_denoiser_skip (stream), ==, 0);
  g_assert_cmpuint (avatar_denoiser_skip (clip), ==, 0);
}

/* A window downloads its latents once, and one number of 32 bits after each step. */
static void
test_downloads (void)
{
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  guint latent = info->latent_channels * (SIZE / 8) * (SIZE / 8) * sizeof (float);

  for (guint steps = 2; steps <= 6; steps += 4) {
    g_autoptr (AvatarDenoiser) self = start (model, "sim:512", AVATAR_DENOISE_MODE_STREAM, steps);
    guint before;

    pull (self, CHUNK); /* constants of all windows are downloaded before the first one */
    before = avatar_fake_count_downloaded ();
    pull (self, CHUNK - OVERLAP);
    g_assert_cmpuint (avatar_fake_count_downloaded () - before, ==, CHUNK * latent + 4 * steps);
  }
}

/* Values outside their range, NaN and infinity are refused with the name of the setting. */
static void
test_settings (void)
{
  static const struct
  {
    gsize offset;
    const char *name;
    double max;
  } settings[]
      = { { G_STRUCT_OFFSET (AvatarDenoiseSettings, guidance_scale), "guidance-scale", 100 },
          { G_STRUCT_OFFSET (AvatarDenoiseSettings, flow_shift), "flow-shift", 100 },
          { G_STRUCT_OFFSET (AvatarDenoiseSettings, motion_pose), "motion-pose", 1000 },
          { G_STRUCT_OFFSET (AvatarDenoiseSettings, motion_exp), "motion-exp", 1000 },
          { G_STRUCT_OFFSET (AvatarDenoiseSettings, step_cache_threshold), "cache-threshold", 100 },
          { G_STRUCT_OFFSET (AvatarDenoiseSettings, attention_tau), "attention-tau", 100 },
          { G_STRUCT_OFFSET (AvatarDenoiseSettings, attention_dense_steps), "attention-dense-steps",
              1 } };
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);

  for (guint i = 0; i < G_N_ELEMENTS (settings); i++) {
    const double bad[] = { -0.5, NAN, INFINITY, settings[i].max * 1.01 };

    for (guint j = 0; j < G_N_ELEMENTS (bad); j++) {
      AvatarDenoiseSettings s;
      g_autoptr (GError) error = NULL;

      avatar_denoise_settings_init (&s, model);
      G_STRUCT_MEMBER (double, &s, settings[i].offset) = bad[j];
      g_assert_null (avatar_denoiser_new (model, device, &s, &error));
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS);
      g_assert_true (g_str_has_prefix (error->message, settings[i].name));
    }
  }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/denoiser/n-ready", test_n_ready);
  g_test_add_func ("/denoiser/skip", test_skip);
  g_test_add_func ("/denoiser/skip-end", test_skip_end);
  g_test_add_func ("/denoiser/downloads", test_downloads);
  g_test_add_func ("/denoiser/settings", test_settings);
  return g_test_run ();
}
