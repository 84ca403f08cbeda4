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

/* The first @known frames of a window that continues another one: the last window's frames from
 * @offset on, and the noise that this window began with, [C, frames, h8, w8]. */
typedef struct
{
  gint64 known, offset;
  const float *noise;
} Held;

/* Sets the first frames of x to those of the last window, at noise level @sigma. They are computed on
 * the host, where both operands are: on the device these would take memory all the time that a forward
 * computes, in which resident weights save far more copying. */
static void
hold (AvatarDenoiser *self, AvatarTensor x, const Held *held, double sigma)
{
  gint64 n = self->h8 * self->w8, row = held->known * n, all = self->frames * n;
  gsize mark = avatar_ops_mark (self->ops);
  g_autofree float *blend = g_new (float, self->channels *row);
  AvatarTensor first;

  if (held->known == 0)
    return;
  for (gint64 c = 0; c < self->channels; c++)
    for (gint64 i = 0; i < row; i++)
      blend[c * row + i] = (1 - sigma) * self->last[c * all + held->offset * n + i]
          + sigma * held->noise[c * all + i];
  first = avatar_denoiser_alloc_held (self, self->ops, held->known);
  avatar_op_upload (self->ops, first, blend);
  x = avatar_tensor (AVATAR_F32, x.data, 2, self->channels, all);
  avatar_op_copy (self->ops, avatar_tensor_cols (x, 0, row), first);
  avatar_ops_release (self->ops, mark);
}

/* z: (out): the latents, [C, frames, h8, w8]. They stay on the device during all steps. */
static gboolean
sample (AvatarDenoiser *self, float *z, const Held *held, const float *audio, GError **error)
{
  AvatarStepBuffers buffers;
  guint steps = self->settings.steps;

  avatar_window_set_audio (&self->window, self->ops, audio);
  if (self->window.tokens)
    avatar_step_cache_reset (self->window.tokens, self->frames, 1);
  buffers = avatar_denoiser_buffers (self, self->ops);
  avatar_op_upload (self->ops, buffers.x, held->noise);
  avatar_denoiser_report (self, self->n_windows, 0);
  for (guint i = 0; i < steps; i++) {
    hold (self, buffers.x, held, avatar_window_sigma (&self->window, i));
    avatar_denoiser_step (self, self->ops, i, (AvatarWindowPosition){ 0 }, &buffers);
    if (!avatar_denoiser_check_step (self, &buffers, self->n_windows, i, error))
      return FALSE;
    if (self->settings.upstream_rounding)
      avatar_op_scale_round (self->ops, buffers.x, 1, AVATAR_F16);
    avatar_denoiser_report (self, self->n_windows, i + 1);
  }
  hold (self, buffers.x, held, 0);
  avatar_op_download (self->ops, z, buffers.x);
  return avatar_ops_check (self->ops, error);
}

AvatarPull
avatar_denoiser_run_window (AvatarDenoiser *self, GError **error)
{
  gint64 begin_time = g_get_monotonic_time ();
  guint64 start = next_start (self), end;
  gsize n = self->channels * self->frames * self->h8 * self->w8;
  g_autofree float *z = g_new (float, n);
  g_autofree float *noise = g_new (float, n);
  g_autofree float *audio = window_audio (self, start);
  Held held = { .noise = noise, .offset = start - self->start };

  if (self->last)
    held.known = self->start + self->frames - start;
  for (gint64 j = 0; j < self->frames; j++)
    if (!avatar_denoiser_noise (self, noise, self->frames, j, start + j, error))
      return AVATAR_PULL_ERROR;
  if (!sample (self, z, &held, audio, error))
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
