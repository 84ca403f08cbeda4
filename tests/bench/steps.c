/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Times the steps of the denoiser, through the public interface only.
 *   steps MODEL DEVICE WIDTHxHEIGHT STEPS
 * Denoises two windows of silence and prints the median seconds of a step of the second window, and
 * the seconds of that window. */
#include "tests/bench/open-denoiser.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_STEPS 1000

typedef struct
{
  guint window, n;
  gint64 begin, end; /* microseconds */
  double steps[MAX_STEPS];
} Times;

static void
die (GError *error)
{
  g_printerr ("steps: %s\n", error ? error->message : "a stage gave nothing");
  exit (1);
}

static void
step_done (const AvatarProgress *progress, gpointer data)
{
  Times *times = data;
  gint64 now = g_get_monotonic_time ();

  if (progress->phase != AVATAR_PROGRESS_DENOISE || progress->window != 1)
    return;
  if (progress->step == 0)
    times->begin = now;
  else if (times->n < MAX_STEPS)
    times->steps[times->n++] = (now - times->end) / 1e6;
  times->end = now;
}

static gint
compare (gconstpointer a, gconstpointer b)
{
  double x = *(const double *) a, y = *(const double *) b;

  return (x > y) - (x < y);
}

static void
run (AvatarDenoiser *self, AvatarModel *model, const AvatarDenoiseSettings *settings)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  gsize n = (gsize) settings->width / info->latent_scale * (settings->height / info->latent_scale);
  g_autofree float *features
      = g_new0 (float, info->feature_steps * info->feature_states * info->feature_channels);
  g_autofree float *latent = g_new (float, info->latent_channels *n);
  GError *error = NULL;
  AvatarPull pull;

  for (guint i = 0; i < 2 * info->window_frames; i++)
    if (!avatar_denoiser_push (self, features, &error))
      die (error);
  if (!avatar_denoiser_drain (self, &error))
    die (error);
  while ((pull = avatar_denoiser_pull (self, latent, &error)) == AVATAR_PULL_OK)
    ;
  if (pull == AVATAR_PULL_ERROR)
    die (error);
}

int
main (int argc, char **argv)
{
  AvatarDenoiseSettings settings;
  Times times = { 0 };
  GError *error = NULL;
  guint width, height;

  if (argc != 5 || sscanf (argv[3], "%ux%u", &width, &height) != 2 || atoi (argv[4]) < 1) {
    g_printerr ("usage: steps MODEL DEVICE WIDTHxHEIGHT STEPS\n");
    return 2;
  }
  g_autoptr (AvatarModel) model = avatar_model_open (argv[1], &error);
  g_autoptr (AvatarDevice) device = model ? avatar_device_open (argv[2], &error) : NULL;
  if (!device)
    die (error);
  avatar_denoise_settings_init (&settings, model);
  settings.width = width;
  settings.height = height;
  settings.steps = atoi (argv[4]);
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  g_autoptr (AvatarDenoiser) denoiser = open_denoiser (model, device, &settings, &error);
  if (!denoiser)
    die (error);
  avatar_denoiser_set_progress_func (denoiser, step_done, &times);
  run (denoiser, model, &settings);
  if (times.n == 0)
    die (NULL);
  qsort (times.steps, times.n, sizeof (double), compare);
  printf ("step %.6f window %.6f\n", times.steps[times.n / 2], (times.end - times.begin) / 1e6);
  return 0;
}
