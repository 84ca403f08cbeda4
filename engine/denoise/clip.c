/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's way with long clips: in every step all windows over the whole clip, shifted from step
 * to step; what windows share is averaged (docs/dev/spec/denoise.md 4.5, 4.8). */
#include "engine/denoise/parity.h"
#include "engine/denoise/denoiser-private.h"

#include <string.h>

typedef struct
{
  AvatarClip plan;
  float *z, *sum; /* [C, P, h8, w8] */
  guint *count;   /* [P] */
  float *x;       /* [C, frames, h8, w8] */
  float *audio;   /* [4 frames - 3, features] */
} Clip;

static void
clip_clear (Clip *clip)
{
  g_free (clip->z);
  g_free (clip->sum);
  g_free (clip->count);
  g_free (clip->x);
  g_free (clip->audio);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Clip, clip_clear)

static void
gather_audio (AvatarDenoiser *self, Clip *clip, guint shift, guint k)
{
  gsize rows = 4 * self->frames - 3, n = self->n_features;

  for (gsize r = 0; r < rows; r++) {
    guint from = avatar_clip_audio (&clip->plan, shift, k, r);

    if (from < self->pushed)
      memcpy (clip->audio + r * n, (float *) self->features->data + from * n, n * sizeof (float));
    else
      memset (clip->audio + r * n, 0, n * sizeof (float));
  }
}

/* Latent frames between the clip's z and the window's x: into x, or added to the sum. */
static void
exchange (AvatarDenoiser *self, Clip *clip, guint shift, guint k, gboolean add)
{
  gsize n = self->h8 * self->w8;

  for (gint64 j = 0; j < self->frames; j++) {
    guint f = avatar_clip_latent (&clip->plan, shift, k, j);

    for (gint64 c = 0; c < self->channels; c++) {
      float *x = clip->x + (c * self->frames + j) * n;
      gsize at = (c * clip->plan.latents + f) * n;

      if (!add)
        memcpy (x, clip->z + at, n * sizeof (float));
      for (gsize i = 0; add && i < n; i++)
        clip->sum[at + i] += x[i];
      if (add && self->settings.upstream_rounding)
        avatar_dtype_round (clip->sum + at, n, AVATAR_F16);
    }
    clip->count[f] += add ? 1 : 0;
  }
}

static gboolean
step_all (AvatarDenoiser *self, Clip *clip, guint i, GError **error)
{
  gsize n = self->h8 * self->w8, all = self->channels * clip->plan.latents * n;
  guint shift = avatar_clip_shift (&clip->plan, i);
  AvatarStepBuffers buffers;

  memset (clip->sum, 0, all * sizeof (float));
  memset (clip->count, 0, clip->plan.latents * sizeof (guint));
  for (guint k = 0; k < clip->plan.windows; k++) {
    gather_audio (self, clip, shift, k);
    exchange (self, clip, shift, k, FALSE);
    avatar_ops_release (self->ops, self->mark);
    avatar_window_set_audio (&self->window, self->ops, clip->audio);
    buffers = avatar_denoiser_buffers (self, self->ops);
    avatar_op_upload (self->ops, buffers.x, clip->x);
    avatar_denoiser_step (self, self->ops, i,
        (AvatarWindowPosition){ k, avatar_clip_latent (&clip->plan, shift, k, 0) }, &buffers);
    if (!avatar_denoiser_check_step (self, &buffers, k, i, error))
      return FALSE;
    avatar_op_download (self->ops, clip->x, buffers.x);
    exchange (self, clip, shift, k, TRUE);
  }
  for (gsize j = 0; j < all; j++)
    clip->z[j] = clip->sum[j] / clip->count[j / n % clip->plan.latents];
  if (self->settings.upstream_rounding)
    avatar_dtype_round (clip->z, all, AVATAR_F16);
  return avatar_ops_check (self->ops, error);
}

AvatarPull
avatar_denoiser_run_clip (AvatarDenoiser *self, GError **error)
{
  gint64 begin_time = g_get_monotonic_time ();
  gsize n = self->channels * self->h8 * self->w8;
  guint64 total = avatar_denoiser_total (self);
  g_auto (Clip) clip = { .plan = avatar_clip_plan (self->pushed, self->frames) };

  if (clip.plan.windows == 1) /* nothing to shift or to average */
    return avatar_denoiser_run_window (self, error);
  clip.z = g_new (float, n *clip.plan.latents);
  clip.sum = g_new (float, n *clip.plan.latents);
  clip.count = g_new (guint, clip.plan.latents);
  clip.x = g_new (float, n * self->frames);
  clip.audio = g_new (float, (4 * self->frames - 3) * self->n_features);
  for (guint f = 0; f < clip.plan.latents; f++)
    if (!avatar_denoiser_noise (self, clip.z, clip.plan.latents, f, f, error))
      return AVATAR_PULL_ERROR;
  if (self->window.tokens)
    avatar_step_cache_reset (self->window.tokens, clip.plan.latents, clip.plan.windows);
  avatar_denoiser_report (self, 0, 0);
  for (guint i = 0; i < self->settings.steps; i++) {
    if (!step_all (self, &clip, i, error))
      return AVATAR_PULL_ERROR;
    avatar_denoiser_report (self, 0, i + 1);
  }
  while (self->emitted < total)
    avatar_denoiser_emit (self, clip.z, clip.plan.latents, self->emitted);
  self->stats.index = self->n_windows++;
  self->stats.latents = total;
  self->stats.seconds = (g_get_monotonic_time () - begin_time) * 1e-6;
  return AVATAR_PULL_OK;
}
