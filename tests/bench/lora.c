/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Times a change of the strength of a LoRA between two windows, through the public interface only.
 *   bench-lora MODEL DEVICE WIDTHxHEIGHT FILE
 * Denoises windows of silence, changes the strength from 1 to 0.5 after the second of them, and
 * prints the seconds of the change, of the window after it, and of the next window, which is like
 * any other. */
#include "tests/bench/open-denoiser.h"

#include <stdio.h>
#include <stdlib.h>

static void
die (GError *error)
{
  g_printerr ("bench-lora: %s\n", error ? error->message : "a stage gave nothing");
  exit (1);
}

static void
push_silence (AvatarDenoiser *self, const AvatarModelInfo *info, guint n)
{
  g_autofree float *features
      = g_new0 (float, info->feature_steps * info->feature_states * info->feature_channels);
  GError *error = NULL;

  for (guint i = 0; i < n; i++)
    if (!avatar_denoiser_push (self, features, &error))
      die (error);
}

/* Returns the seconds of the next window. */
static double
time_window (AvatarDenoiser *self, float *latent)
{
  gint64 begin = g_get_monotonic_time (), end;
  GError *error = NULL;

  if (avatar_denoiser_pull (self, latent, &error) != AVATAR_PULL_OK)
    die (error);
  end = g_get_monotonic_time ();
  while (avatar_denoiser_get_n_ready (self) > 0)
    if (avatar_denoiser_pull (self, latent, &error) != AVATAR_PULL_OK)
      die (error);
  return (end - begin) / 1e6;
}

int
main (int argc, char **argv)
{
  AvatarLoraSetting lora = { .strength = 1 };
  AvatarDenoiseSettings settings;
  GError *error = NULL;
  guint width, height;
  double after, next, seconds;
  gint64 begin;

  if (argc != 5 || sscanf (argv[3], "%ux%u", &width, &height) != 2) {
    g_printerr ("usage: bench-lora MODEL DEVICE WIDTHxHEIGHT FILE\n");
    return 2;
  }
  g_autoptr (AvatarModel) model = avatar_model_open (argv[1], &error);
  g_autoptr (AvatarDevice) device = model ? avatar_device_open (argv[2], &error) : NULL;
  if (!device)
    die (error);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  avatar_denoise_settings_init (&settings, model);
  settings.width = width;
  settings.height = height;
  settings.mode = AVATAR_DENOISE_MODE_STREAM;
  lora.path = argv[4];
  settings.loras = &lora;
  settings.n_loras = 1;
  g_autoptr (AvatarDenoiser) denoiser = open_denoiser (model, device, &settings, &error);
  if (!denoiser)
    die (error);
  g_autofree float *latent = g_new (float,
      info->latent_channels *(width / info->latent_scale) * (height / info->latent_scale));
  push_silence (denoiser, info, 5 * info->window_frames);
  for (guint i = 0; i < 2; i++)
    time_window (denoiser, latent);
  lora.strength = 0.5;
  begin = g_get_monotonic_time ();
  if (!avatar_denoiser_change (denoiser, &settings, NULL, &error))
    die (error);
  seconds = (g_get_monotonic_time () - begin) / 1e6;
  after = time_window (denoiser, latent);
  next = time_window (denoiser, latent);
  printf ("change %.3f window-after %.3f window %.3f\n", seconds, after, next);
  return 0;
}
