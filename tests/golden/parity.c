/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rounding with the property upstream-rounding, against upstream's loop in float16 and bfloat16
 * (tools/goldens/make_parity.py). The denoiser runs unchanged, except that a table of velocities
 * replaces the transformer (the linker's --wrap). Bit-identical except for exp(). */
#include "engine/base/tensor.h"
#include "engine/denoise/upstream-rounding.h"
#include "engine/denoise/window.h"
#include "engine/ops/pixels.h"
#include "engine/formats/tensor-writer.h"
#include "tests/golden/golden.h"

#include <avatar/avatar.h>
#include <glib/gstdio.h>
#include <string.h>

#define SIDE 16
#define CELLS (SIDE / 8 * SIDE / 8)
#define CHANNELS 16
#define FRAMES 33
#define WINDOW (CHANNELS * FRAMES * CELLS)

/* Output of the replacement, and its recorded input. */
static struct
{
  const float *velocities, *x; /* [calls, 2, WINDOW], [calls, WINDOW] */
  guint windows;               /* calls in a step */
  guint calls;
} stand_in;

guint __wrap_avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position);

guint
__wrap_avatar_window_branches (AvatarWindow *self, AvatarOps *ops, AvatarTensor velocity,
    AvatarTensor x, guint i, AvatarWindowPosition position)
{
  guint call = i * stand_in.windows + position.window;
  float given[WINDOW];

  if (!avatar_ops_running (ops))
    return 2; /* the plan */
  g_assert_cmpint (avatar_tensor_n (x), ==, WINDOW);
  avatar_op_download (ops, given, x);
  g_assert_cmpmem (given, sizeof given, stand_in.x + call * WINDOW, sizeof given);
  avatar_op_upload (ops, self->velocity_without_audio, stand_in.velocities + 2 * call * WINDOW);
  avatar_op_upload (ops, velocity, stand_in.velocities + (2 * call + 1) * WINDOW);
  stand_in.calls++;
  return 2;
}

static void
fill_from (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data)
{
  avatar_dtype_from_f32 (out, t->tensor.dtype, (const float *) data + first, n);
}

/* The golden's noise as people have it: a file of its own, in float16, with a batch of one. */
static char *
write_noise (const char *folder, AvatarTensor noise)
{
  char *path = g_build_filename (folder, "noise.safetensors", NULL);
  g_autoptr (GArray) list = g_array_new (FALSE, FALSE, sizeof (AvatarNamedTensor));
  AvatarNamedTensor t = { "noise",
    avatar_tensor (AVATAR_F16, NULL, 5, (gint64) 1, noise.shape[0], noise.shape[1], noise.shape[2],
        noise.shape[3]) };
  g_autoptr (GError) error = NULL;

  g_array_append_val (list, t);
  avatar_write_safetensors (path, list, fill_from, noise.data, &error);
  g_assert_no_error (error);
  return path;
}

static AvatarTensor
get (AvatarSafetensors *file, const char *what, const char *name)
{
  g_autofree char *full = g_strconcat (what, name, NULL);

  return golden_get (file, full);
}

/* All latents of @frames video frames, as [n, CHANNELS, CELLS]. */
static float *
denoise (const char *noise, guint frames, guint steps, guint n)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = avatar_model_open (AVATAR_SOURCE_MODEL_DIR, &error);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarDenoiser) self = NULL;
  guint8 pixels[SIDE * SIDE * 3] = { 0 };
  g_autoptr (AvatarImage) image = avatar_image_new (SIDE, SIDE, 3, SIDE * 3, pixels, NULL);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  g_autofree float *features
      = g_new0 (float, info->feature_steps * info->feature_states * info->feature_channels);
  float *out = g_new (float, n *CHANNELS *CELLS);
  AvatarDenoiseSettings settings;

  avatar_denoise_settings_init (&settings, model);
  settings.width = settings.height = SIDE;
  settings.steps = steps;
  settings.guidance_scale = 7.5;
  settings.flow_shift = 5;
  settings.mode = AVATAR_DENOISE_MODE_CLIP;
  settings.noise_file = noise;
  settings.upstream_rounding = TRUE;
  self = avatar_denoiser_new (model, device, &settings, &error);
  g_assert_no_error (error);
  g_assert_true (avatar_denoiser_set_reference (self, image, NULL));
  for (guint i = 0; i < frames; i++)
    g_assert_true (avatar_denoiser_push (self, features, NULL));
  g_assert_true (avatar_denoiser_drain (self, NULL));
  for (guint i = 0; i < n; i++)
    g_assert_cmpint (avatar_denoiser_pull (self, out + i * CHANNELS * CELLS, &error), ==,
        AVATAR_PULL_OK);
  return out;
}

/* @windows: in a step */
static void
run (const char *name, guint frames, guint steps, guint windows)
{
  g_autoptr (AvatarSafetensors) file = golden_open ("upstream/parity.safetensors");
  g_autofree char *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  AvatarTensor noise = get (file, "in.noise.", name), v = get (file, "in.velocity.", name);
  AvatarTensor x = get (file, "out.x.", name), want = get (file, "out.latents.", name);
  g_autofree char *path = write_noise (folder, noise);
  guint kept = want.shape[1], n = (frames + 2) / 4 + 1;
  g_autofree float *found = NULL;

  stand_in.velocities = v.data;
  stand_in.x = x.data;
  stand_in.windows = windows;
  stand_in.calls = 0;
  g_assert_cmpint (x.shape[0], ==, steps * windows);
  g_assert_cmpuint (n, <=, kept);
  found = denoise (path, frames, steps, n);
  g_assert_cmpuint (stand_in.calls, ==, steps * windows);
  for (guint f = 0; f < n; f++)
    for (guint c = 0; c < CHANNELS; c++)
      g_assert_cmpmem (found + (f * CHANNELS + c) * CELLS, CELLS * sizeof (float),
          avatar_tensor_f32 (want) + (c * kept + f) * CELLS, CELLS * sizeof (float));
  g_unlink (path);
  g_rmdir (folder);
  g_free (noise.data);
  g_free (v.data);
  g_free (x.data);
  g_free (want.data);
}

static void
test_one_window (void)
{
  run ("one", 100, 3, 1);
}

/* Latents that two windows share are averaged, and the windows are shifted. */
static void
test_two_windows (void)
{
  run ("two", 130, 2, 2);
}

static void
test_schedule (void)
{
  static const guint steps[] = { 1, 8, 30, 50 };
  g_autoptr (AvatarSafetensors) file = golden_open ("upstream/parity.safetensors");

  for (guint k = 0; k < G_N_ELEMENTS (steps); k++) {
    g_autofree char *n = g_strdup_printf ("%u", steps[k]);
    AvatarTensor sigmas = get (file, "out.sigmas.", n), times = get (file, "out.times.", n);

    g_assert_cmpint (avatar_tensor_n (sigmas), ==, steps[k] + 1);
    for (guint i = 0; i <= steps[k]; i++) {
      float sigma = avatar_upstream_sigma (i, steps[k], 5);

      g_assert_cmpfloat (sigma, ==, avatar_tensor_f32 (sigmas)[i]);
      if (i < steps[k])
        g_assert_cmpfloat (sigma * 1000.f, ==, avatar_tensor_f32 (times)[i]);
    }
    g_free (sigmas.data);
    g_free (times.data);
  }
}

static void
test_posterior (void)
{
  g_autoptr (AvatarSafetensors) file = golden_open ("upstream/parity.safetensors");
  AvatarTensor moments = golden_get (file, "in.moments"), eps = golden_get (file, "in.eps");
  AvatarTensor want = golden_get (file, "out.sample");
  gsize n = avatar_tensor_n (want);
  g_autofree float *x = g_new (float, n), *plain = g_new (float, n);

  avatar_posterior_sample (x, moments.data, eps.data, n, 0, 0.476986, AVATAR_ROUNDING_UPSTREAM);
  avatar_posterior_sample (plain, moments.data, eps.data, n, 0, 0.476986, AVATAR_ROUNDING_NONE);
  for (gsize i = 0; i < n; i++) /* exp() of two libraries, and what it is multiplied with */
    g_assert_cmpfloat (fabsf (x[i] - avatar_tensor_f32 (want)[i]), <=,
        3e-7f * (fabsf (x[i]) + fabsf (avatar_tensor_f32 (moments)[i])));
  g_assert_cmpint (memcmp (x, plain, n * sizeof (float)), !=, 0);
  avatar_posterior_sample (x, moments.data, NULL, n, 0.5, 0.25, AVATAR_ROUNDING_NONE);
  for (gsize i = 0; i < n; i++)
    g_assert_cmpfloat (x[i], ==, (avatar_tensor_f32 (moments)[i] - 0.5) * 0.25);
  g_free (moments.data);
  g_free (eps.data);
  g_free (want.data);
}

/* Decoded values, 12 a cell, as RGB. */
static void
to_bytes (AvatarTensor frames, guint8 *bytes, gboolean upstream_rounding)
{
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open ("cpu", &error);
  g_autoptr (AvatarOps) ops
      = avatar_ops_new (device, avatar_arena_new (device, 1 << 16, "the test", &error), &error);
  AvatarPixels pixels = { .upstream_rounding = upstream_rounding };
  gint64 n = avatar_tensor_n (frames);
  gint32 bad = 0;

  g_assert_no_error (error);
  g_assert_cmpint (n % 12, ==, 0);
  avatar_op_to_bytes (ops, avatar_tensor (AVATAR_U8, bytes, 1, n),
      avatar_tensor (AVATAR_F32, frames.data, 4, (gint64) 1, (gint64) 2, n / 6, (gint64) 3),
      &pixels, avatar_tensor (AVATAR_I32, &bad, 1, (gint64) 1));
  g_assert_true (avatar_ops_check (ops, &error));
  avatar_device_unref (device);
}

/* Every level of a portrait, and frames as they are decoded. */
static void
test_pixels (void)
{
  g_autoptr (AvatarSafetensors) file = golden_open ("upstream/parity.safetensors");
  AvatarTensor levels = golden_get (file, "out.pixels"), frames = golden_get (file, "in.frames");
  AvatarTensor bytes = golden_get (file, "out.bytes");
  gsize n = avatar_tensor_n (frames);
  g_autofree guint8 *found = g_malloc (n), *nearest = g_malloc (n);
  guint8 pixels[256 * 3];
  float rgb[256 * 3];
  g_autoptr (AvatarImage) image = NULL;

  for (guint i = 0; i < sizeof pixels; i++)
    pixels[i] = i / 3;
  image = avatar_image_new (32, 8, 3, 32 * 3, pixels, NULL);
  avatar_upstream_pixels (rgb, image);
  for (guint i = 0; i < sizeof pixels; i++)
    g_assert_cmpfloat (rgb[i], ==, avatar_tensor_f32 (levels)[i / 3]);
  to_bytes (frames, found, TRUE);
  to_bytes (frames, nearest, FALSE);
  for (gsize i = 0; i < n; i++)
    g_assert_cmpuint (found[i], ==, (guint) avatar_tensor_f32 (bytes)[i]);
  g_assert_cmpint (memcmp (found, nearest, n), !=, 0);
  g_free (levels.data);
  g_free (frames.data);
  g_free (bytes.data);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/parity/schedule", test_schedule);
  g_test_add_func ("/parity/one-window", test_one_window);
  g_test_add_func ("/parity/two-windows", test_two_windows);
  g_test_add_func ("/parity/posterior", test_posterior);
  g_test_add_func ("/parity/pixels", test_pixels);
  return g_test_run ();
}
