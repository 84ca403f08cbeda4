/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streaming: a window of latent frames after the other. The first frames of a window are the last
 * of the one before: in every step they are set to what they were, noised to the step's level
 * (Lugmayr et al. 2022, without resampling), so that the rest is made to go on from them. */
#include "engine/denoise/denoiser-private.h"

#include <string.h>

/* The first latent frame of the next window. The last window of a stream ends with it rather than
 * reaching past it. */
static guint64
next_start (AvatarDenoiser *self)
{
  guint64 start = self->last ? self->start + self->frames - self->settings.overlap : 0;

  if (self->drained && avatar_denoiser_total (self) < start + self->frames)
    start = MAX ((gint64) avatar_denoiser_total (self) - self->frames, 0);
  return start;
}

gboolean
avatar_denoiser_wants_window (AvatarDenoiser *self)
{
  if (self->drained)
    return self->emitted < avatar_denoiser_total (self);
  if (self->settings.mode == AVATAR_DENOISE_MODE_CLIP)
    return FALSE;
  return self->pushed > 4 * (next_start (self) + self->frames - 1);
}

/* The features of the window's video frames; zeros after the end of the audio
 * (docs/dev/spec/denoise.md 3.4). */
static float *
window_audio (AvatarDenoiser *self, guint64 start)
{
  gsize rows = 4 * self->frames - 3;
  float *audio = g_new0 (float, rows * self->n_features);
  guint64 first = 4 * start - self->first_frame, have = self->pushed - self->first_frame;

  if (have > first)
    memcpy (audio, (float *) self->features->data + first * self->n_features,
        MIN (rows, have - first) * self->n_features * sizeof (float));
  return audio;
}

/* Hold the first @known latent frames of z to those of the last window at noise level @sigma. */
static void
hold (AvatarDenoiser *self, float *z, const float *noise, gint64 known, gint64 offset, double sigma)
{
  gsize n = self->h8 * self->w8;

  for (gint64 c = 0; c < self->channels; c++)
    for (gint64 j = 0; j < known; j++) {
      const float *before = self->last + (c * self->frames + j + offset) * n;
      gsize at = (c * self->frames + j) * n;

      for (gsize i = 0; i < n; i++)
        z[at + i] = (1 - sigma) * before[i] + sigma * noise[at + i];
    }
}

static gboolean
sample (AvatarDenoiser *self, float *z, const float *noise, const float *audio, gint64 known,
    gint64 offset, GError **error)
{
  AvatarStepBuffers buffers;
  guint steps = self->settings.steps;

  avatar_window_set_audio (&self->window, self->ops, audio);
  if (self->window.tokens)
    avatar_step_cache_reset (self->window.tokens, self->frames, 1);
  buffers = avatar_denoiser_buffers (self, self->ops);
  avatar_denoiser_report (self, self->n_windows, 0);
  for (guint i = 0; i < steps; i++) {
    hold (self, z, noise, known, offset, avatar_window_sigma (&self->window, i));
    avatar_denoiser_step (self, self->ops, z, i, (AvatarWindowPosition){ 0 }, buffers);
    if (!avatar_denoiser_check_step (self, z, self->n_windows, i, error))
      return FALSE;
    if (self->settings.upstream_rounding)
      avatar_dtype_round (z, self->channels * self->frames * self->h8 * self->w8, AVATAR_F16);
    avatar_denoiser_report (self, self->n_windows, i + 1);
  }
  hold (self, z, noise, known, offset, 0);
  return TRUE;
}

AvatarPull
avatar_denoiser_run_window (AvatarDenoiser *self, GError **error)
{
  gint64 begin_time = g_get_monotonic_time ();
  guint64 start = next_start (self), end;
  gsize n = self->channels * self->frames * self->h8 * self->w8;
  gint64 known = self->last ? (gint64) (self->start + self->frames - start) : 0;
  g_autofree float *z = g_new (float, n);
  g_autofree float *noise = NULL;
  g_autofree float *audio = window_audio (self, start);

  for (gint64 j = 0; j < self->frames; j++)
    if (!avatar_denoiser_noise (self, z, self->frames, j, start + j, error))
      return AVATAR_PULL_ERROR;
  noise = g_memdup2 (z, n * sizeof (float));
  if (!sample (self, z, noise, audio, known, start - self->start, error))
    return AVATAR_PULL_ERROR;
  end = start + self->frames;
  if (self->drained)
    end = MIN (end, avatar_denoiser_total (self));
  self->stats.index = self->n_windows++;
  self->stats.latents = end - self->emitted;
  while (self->emitted < end)
    avatar_denoiser_emit (self, z, self->frames, self->emitted - start);
  g_free (self->last);
  self->last = g_steal_pointer (&z);
  self->start = start;
  if (4 * start > self->first_frame) {
    g_array_remove_range (self->features, 0, (4 * start - self->first_frame) * self->n_features);
    self->first_frame = 4 * start;
  }
  self->stats.seconds = (g_get_monotonic_time () - begin_time) * 1e-6;
  return AVATAR_PULL_OK;
}
