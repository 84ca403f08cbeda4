/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Times guided steps on one device and on a group, through the public interface only, and compares
 * their latents. Prints one line of a Markdown table for each row.
 *   group MODEL ONE GROUP WIDTHxHEIGHT/bf16|fp8/MIB...
 * MIB: budget of each device; 0: none. */
#include "tests/bench/open-denoiser.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Steps of a window; the first one is not counted. */
#define STEPS 4
#define MIB ((guint64) 1 << 20)

typedef struct
{
  const char *text;
  guint width, height, budget;
  gboolean fp8;
} Row;

/* @peak: engine's memory of each member, at most (MiB) */
typedef struct
{
  gint64 last; /* microseconds */
  double steps[STEPS];
  float *latents;
  gsize n;
  guint64 peak[2];
  AvatarDenoiseStats stats;
} Result;

static void
step_done (const AvatarProgress *progress, gpointer data)
{
  Result *result = data;
  gint64 now = g_get_monotonic_time ();

  if (progress->phase != AVATAR_PROGRESS_DENOISE)
    return;
  if (progress->step > 0)
    result->steps[progress->step - 1] = (now - result->last) / 1e6;
  result->last = now;
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

/* Returns the median of all steps but the first. */
static double
median (Result *result)
{
  qsort (result->steps + 1, STEPS - 1, sizeof (double), compare);
  return result->steps[1 + (STEPS - 1) / 2];
}

static void
fill_settings (const Row *row, AvatarModel *model, AvatarDenoiseSettings *s)
{
  avatar_denoise_settings_init (s, model);
  s->width = row->width;
  s->height = row->height;
  s->steps = STEPS;
  s->mode = AVATAR_DENOISE_MODE_STREAM;
  s->precision = row->fp8 ? AVATAR_PRECISION_FP8 : AVATAR_PRECISION_AUTO;
  s->guidance_scale = 3;
}

/* Denoises one window of features that are not silent. */
static gboolean
denoise (AvatarDenoiser *self, AvatarModel *model, Result *result, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = info->feature_steps * info->feature_states * info->feature_channels;
  g_autofree float *features = g_new (float, n);

  for (guint f = 0; f < info->window_frames; f++) {
    for (gsize i = 0; i < n; i++)
      features[i] = (float) ((i * 31 + f * 17) % 101) / 50.f - 1.f;
    if (!avatar_denoiser_push (self, features, error))
      return FALSE;
  }
  if (!avatar_denoiser_drain (self, error))
    return FALSE;
  for (guint i = 0; i < info->window_latents; i++)
    if (avatar_denoiser_pull (self, result->latents + i * (result->n / info->window_latents), error)
        != AVATAR_PULL_OK)
      return FALSE;
  avatar_denoiser_get_stats (self, &result->stats);
  return TRUE;
}

static gboolean
run (const Row *row, AvatarModel *model, const char *name, Result *result, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  g_autoptr (AvatarDevice) device = avatar_device_open (name, error);
  g_autoptr (AvatarDenoiser) self = NULL;
  AvatarDenoiseSettings settings;

  if (!device)
    return FALSE;
  avatar_device_set_budget (device, row->budget * MIB);
  fill_settings (row, model, &settings);
  result->n = (gsize) info->latent_channels * info->window_latents
      * (row->width / info->latent_scale) * (row->height / info->latent_scale);
  result->latents = g_new0 (float, result->n);
  self = open_denoiser (model, device, &settings, error);
  if (!self)
    return FALSE;
  avatar_denoiser_set_progress_func (self, step_done, result);
  if (!denoise (self, model, result, error))
    return FALSE;
  for (guint i = 0; i < MIN (avatar_device_get_n_members (device), 2); i++) {
    AvatarMemory memory;

    avatar_device_get_memory (avatar_device_get_member (device, i), &memory);
    result->peak[i] = memory.peak / MIB;
  }
  return TRUE;
}

static gboolean
parse_row (const char *text, Row *row)
{
  char precision[8] = "";

  row->text = text;
  if (sscanf (text, "%ux%u/%7[a-z0-9]/%u", &row->width, &row->height, precision, &row->budget) != 4)
    return FALSE;
  row->fp8 = strcmp (precision, "fp8") == 0;
  return row->fp8 || strcmp (precision, "bf16") == 0;
}

static gboolean
print_row (const Row *row, AvatarModel *model, char **names, GError **error)
{
  Result one = { 0 }, two = { 0 };
  gboolean ok = run (row, model, names[0], &one, error) && run (row, model, names[1], &two, error);

  if (ok) {
    double a = median (&one), b = median (&two);

    printf ("| %s | %.3f | %.3f | %.2f | %s | %" G_GUINT64_FORMAT " | %" G_GUINT64_FORMAT
            ", %" G_GUINT64_FORMAT " | %u, %u |\n",
        row->text, a, b, a / b,
        memcmp (one.latents, two.latents, one.n * sizeof (float)) == 0 ? "yes" : "NO", one.peak[0],
        two.peak[0], two.peak[1], one.stats.resident, two.stats.resident);
    fflush (stdout);
  }
  g_free (one.latents);
  g_free (two.latents);
  return ok;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarModel) model = argc > 4 ? avatar_model_open (argv[1], &error) : NULL;
  int status = EXIT_SUCCESS;

  if (!model) {
    g_printerr ("group: %s\n",
        error ? error->message : "usage: group MODEL ONE GROUP WIDTHxHEIGHT/bf16|fp8/MIB...");
    return EXIT_FAILURE;
  }
  printf (
      "| size / precision / budget of each (MiB) | one: step (s) | two: step (s) | ratio | same "
      "bits | one: peak (MiB) | two: peak (MiB) | resident groups |\n"
      "| --- | --- | --- | --- | --- | --- | --- | --- |\n");
  for (int i = 4; i < argc; i++) {
    Row row;

    g_clear_error (&error);
    if (parse_row (argv[i], &row) && print_row (&row, model, argv + 2, &error))
      continue;
    printf ("| %s | failed: %s |\n", argv[i], error ? error->message : "not WxH/bf16|fp8/MIB");
    status = EXIT_FAILURE;
  }
  return status;
}
