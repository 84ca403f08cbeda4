/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two branches of guidance on two GPUs: the same bits as on one, with all weights resident and
 * with few. Skipped with fewer than two GPUs. */
#include <avatar/avatar.h>

#include <string.h>

#define SIZE 128
#define CHUNK 9
#define FRAMES (4 * CHUNK - 3)
#define MIB ((guint64) 1 << 20)
#define SKIPPED 77

static AvatarModel *model;
static AvatarDenoiseSettings settings;
static gsize n; /* floats of all latents */

static AvatarDenoiser *
start (AvatarDevice *device, GError **error)
{
  g_autofree guint8 *pixels = g_malloc (SIZE * SIZE * 3);
  AvatarDenoiser *self = avatar_denoiser_new (model, device, &settings, error);
  AvatarImage *image;

  if (!self)
    return NULL;
  for (guint i = 0; i < SIZE * SIZE * 3; i++)
    pixels[i] = i * 7 % 251;
  image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, NULL);
  avatar_denoiser_set_reference (self, image, error);
  avatar_image_free (image);
  return self;
}

/* Returns all latents of a run on the device @name, each member with @budget. */
static float *
run (const char *name, guint64 budget)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n_features = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n_features);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = avatar_device_open (name, &error);
  g_autoptr (AvatarDenoiser) self = NULL;
  float *out = g_new0 (float, n);

  g_assert_no_error (error);
  avatar_device_set_budget (device, budget);
  self = start (device, &error);
  g_assert_no_error (error);
  for (guint f = 0; f < FRAMES; f++) {
    for (gsize i = 0; i < n_features; i++)
      features[i] = (float) ((i * 31 + f * 17) % 101) / 50.f - 1.f;
    avatar_denoiser_push (self, features, NULL);
  }
  avatar_denoiser_drain (self, NULL);
  for (guint i = 0; i < CHUNK; i++)
    avatar_denoiser_pull (self, out + i * (n / CHUNK), &error);
  g_assert_no_error (error);
  avatar_device_set_budget (device, 0);
  return out;
}

static void
test_same_bits (void)
{
  const AvatarPrecision precisions[] = { AVATAR_PRECISION_AUTO, AVATAR_PRECISION_FP8 };

  for (guint i = 0; i < G_N_ELEMENTS (precisions); i++) {
    g_autofree float *one = NULL;
    g_autofree float *two = NULL;
    g_autofree float *small = NULL;

    settings.precision = precisions[i];
    one = run ("cuda:0", 0);
    two = run ("cuda:0+cuda:1", 0);
    small = run ("cuda:1+cuda:0", 1100 * MIB);
    g_assert_cmpmem (two, n * sizeof (float), one, n * sizeof (float));
    g_assert_cmpmem (small, n * sizeof (float), one, n * sizeof (float));
  }
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = NULL;
  int status;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cuda:0+cuda:1", &error);
  if (!device) {
    g_print ("skipped: %s\n", error->message);
    return SKIPPED;
  }
  model = avatar_model_open (AVATAR_MODEL_DIR, NULL);
  avatar_denoise_settings_init (&settings, model);
  settings.width = settings.height = SIZE;
  settings.window_latents = CHUNK;
  settings.steps = 12;
  settings.guidance_scale = 3;
  n = CHUNK * 16 * (SIZE / 8) * (SIZE / 8);
  g_test_add_func ("/gpu/group/same-bits", test_same_bits);
  status = g_test_run ();
  avatar_model_unref (model);
  return status;
}
