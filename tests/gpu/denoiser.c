/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The demo model's denoiser on a GPU: close to the CPU's latents, and the same bits under every
 * budget, also when memory is taken away during the run. Skipped without a GPU. */
#include "engine/denoise/denoiser.h"
#include "engine/device/device.h"

#include <math.h>
#include <string.h>

#define SIZE 128
#define CHUNK 9
#define FRAMES (4 * CHUNK - 3)
#define MIB ((guint64) 1 << 20)
/* Steps. */
#define TAKES_AT 3
#define GIVES_AT 8

static AvatarModel *model;
static AvatarDenoiseSettings settings;
static gsize n; /* floats of all latents */

/* Another process, from one step to another of a run: it takes all but @leave bytes. */
typedef struct
{
  AvatarDevice *device;
  guint64 leave, taken;
  void *memory;
  AvatarDenoiseStats stats; /* statistics of the run */
} Other;

static Other *other; /* NULL: none */

static void
on_progress (const AvatarProgress *progress, gpointer data)
{
  const AvatarBackend *backend = avatar_device_get_backend (other->device);
  AvatarBackendDevice *handle = avatar_device_get_handle (other->device);
  guint64 free_bytes, total;

  if (progress->step == TAKES_AT) {
    backend->memory_info (handle, &free_bytes, &total);
    other->taken = free_bytes - MIN (free_bytes, other->leave);
    other->memory = backend->memory_new (handle, other->taken);
    g_assert_nonnull (other->memory);
  } else if (progress->step == GIVES_AT) {
    backend->memory_free (handle, other->memory, other->taken);
  }
}

static float *
run (AvatarDevice *device, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  g_autofree guint8 *pixels = g_malloc (SIZE * SIZE * 3);
  gsize n_features = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n_features);
  g_autofree float *out = g_new0 (float, n);
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_new (model, device, &settings, error);
  AvatarImage *image;
  gboolean done;

  if (!self)
    return NULL;
  if (other)
    avatar_denoiser_set_progress_func (self, on_progress, NULL);
  for (guint i = 0; i < SIZE * SIZE * 3; i++)
    pixels[i] = i * 7 % 251;
  image = avatar_image_new (SIZE, SIZE, 3, SIZE * 3, pixels, error);
  done = avatar_denoiser_set_reference (self, image, error);
  avatar_image_free (image);
  for (guint frame = 0; frame < FRAMES && done; frame++) {
    for (gsize i = 0; i < n_features; i++)
      features[i] = (float) ((i * 31 + frame * 17) % 101) / 50.f - 1.f;
    done = avatar_denoiser_push (self, features, error);
  }
  if (!done || !avatar_denoiser_drain (self, error))
    return NULL;
  for (guint i = 0; i < CHUNK; i++)
    if (avatar_denoiser_pull (self, out + i * (n / CHUNK), error) != AVATAR_PULL_OK)
      return NULL;
  if (other)
    avatar_denoiser_get_stats (self, &other->stats);
  return g_steal_pointer (&out);
}

static double
relative_error (const float *a, const float *b)
{
  double error = 0, size = 0;

  for (gsize i = 0; i < n; i++) {
    error += pow ((double) a[i] - b[i], 2);
    size += pow (b[i], 2);
  }
  return sqrt (error / size);
}

static void
test_close_and_same (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) cpu = avatar_device_open ("cpu", NULL);
  g_autoptr (AvatarDevice) gpu = avatar_device_open ("cuda", &error);
  g_autofree float *expected = run (cpu, &error);
  g_autofree float *free_run = NULL;
  AvatarMemory memory;
  guint refused = 0, done = 0;

  free_run = run (gpu, &error);
  g_assert_no_error (error);
  avatar_device_get_memory (gpu, &memory);
  g_print ("# latents after %u steps: relative L2 error %.2e, peak %.0f MiB\n", settings.steps,
      relative_error (free_run, expected), memory.peak / 1048576.);
  g_assert_cmpfloat (relative_error (free_run, expected), <, 0.05);
  for (guint64 budget = memory.peak; budget > memory.now && refused == 0; budget -= 8 * MIB) {
    g_autofree float *out = NULL;

    avatar_device_set_budget (gpu, budget);
    out = run (gpu, &error);
    if (!out) {
      g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
      g_print ("# %.0f MiB: %s\n", budget / 1048576., error->message);
      g_clear_error (&error);
      refused++;
      continue;
    }
    g_assert_cmpmem (out, n * sizeof (float), free_run, n * sizeof (float));
    done++;
  }
  g_print ("# %u budgets with the same bits\n", done);
  g_assert_cmpuint (done, >, 1);
}

/* Weights that were resident are given up, streamed, and taken back; the latents are the same. */
static void
test_pressure (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) gpu = avatar_device_open ("cuda", &error);
  Other process = { .device = gpu, .leave = 100 * MIB };
  g_autofree float *undisturbed = NULL;
  g_autofree float *out = NULL;

  avatar_device_set_budget (gpu, 0);
  undisturbed = run (gpu, &error);
  g_assert_no_error (error);
  other = &process;
  out = run (gpu, &error);
  other = NULL;
  g_assert_no_error (error);
  g_print ("# %u units given up, %u taken back\n", process.stats.evicted, process.stats.restored);
  g_assert_cmpuint (process.stats.evicted, >, 0);
  g_assert_cmpuint (process.stats.restored, >, 0);
  g_assert_cmpmem (out, n * sizeof (float), undisturbed, n * sizeof (float));
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) gpu = NULL;
  int status;

  g_test_init (&argc, &argv, NULL);
  gpu = avatar_device_open ("cuda", &error);
  if (!gpu) {
    g_print ("# no GPU: %s\n", error->message);
    return 77;
  }
  model = avatar_model_open (g_getenv ("AVATAR_MODEL") ? NULL : AVATAR_MODEL_DIR, &error);
  g_assert_no_error (error);
  avatar_denoise_settings_init (&settings, model);
  settings.window_latents = CHUNK;
  settings.overlap = 1;
  settings.guidance_scale = 4;
  settings.steps = 12;
  settings.step_cache = AVATAR_STEP_CACHE_UPSTREAM;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  n = CHUNK * 16 * (SIZE / 8) * (SIZE / 8);
  g_test_add_func ("/gpu/denoiser", test_close_and_same);
  g_test_add_func ("/gpu/pressure", test_pressure);
  status = g_test_run ();
  avatar_model_unref (model);
  return status;
}
