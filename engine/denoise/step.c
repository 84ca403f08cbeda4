/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One denoising step of a window, and what both ways of sampling, stream.c and clip.c, do around
 * it: noise before, a check for NaN behind, latent frames that are ready. */
#include "engine/denoise/denoiser-private.h"
#include "engine/denoise/parity.h"
#include "engine/model/nan-search.h"

#include <string.h>

AvatarStepBuffers
avatar_denoiser_buffers (AvatarDenoiser *self, AvatarOps *ops)
{
  return (AvatarStepBuffers){
    .x = avatar_ops_alloc_as (ops, AVATAR_F32, 4, self->channels, self->frames, self->h8, self->w8),
    .v = avatar_ops_alloc_as (ops, AVATAR_F32, 4, self->channels, self->frames, self->h8, self->w8),
  };
}

/* Guidance and step on the host, which both take no time beside a forward. */
static void
step_as_upstream (AvatarDenoiser *self, AvatarOps *ops, float *z, guint i,
    AvatarWindowPosition place, AvatarStepBuffers b, float dt)
{
  gsize n = self->channels * self->frames * self->h8 * self->w8;
  float *with = self->velocities, *without = with ? with + n : NULL;
  double scale;
  gboolean guided = avatar_window_is_guided (&self->window, i, &scale);

  self->stats.forwards += avatar_window_branches (&self->window, ops, b.v, b.x, i, place);
  avatar_op_download (ops, with, b.v);
  if (guided)
    avatar_op_download (ops, without, self->window.second);
  if (!avatar_ops_running (ops))
    return;
  if (guided)
    avatar_parity_guide (with, without, n, scale);
  else
    avatar_dtype_round (with, n, AVATAR_BF16);
  avatar_parity_step (z, with, n, dt);
}

void
avatar_denoiser_step (AvatarDenoiser *self, AvatarOps *ops, float *z, guint i,
    AvatarWindowPosition place, AvatarStepBuffers b)
{
  double sigma = avatar_window_sigma (&self->window, i);
  double next = avatar_window_sigma (&self->window, i + 1);

  avatar_op_upload (ops, b.x, z);
  if (self->settings.upstream_rounding) {
    step_as_upstream (self, ops, z, i, place, b, (float) next - (float) sigma);
    return;
  }
  self->stats.forwards += avatar_window_velocity (&self->window, ops, b.v, b.x, i, place);
  avatar_op_axpby (ops, b.x, next - sigma, b.v, 1);
  avatar_op_download (ops, z, b.x);
}

gboolean
avatar_denoiser_check_step (AvatarDenoiser *self, const float *z, guint window, guint i,
    GError **error)
{
  static const AvatarComponentKind parts[] = { AVATAR_COMPONENT_TRANSFORMER, AVATAR_COMPONENT_TEXT,
    AVATAR_COMPONENT_VAE, AVATAR_N_COMPONENTS };
  g_autofree char *what = NULL;

  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (avatar_is_finite (z, self->channels * self->frames * self->h8 * self->w8))
    return TRUE;
  what = g_strdup_printf ("step %u of %u of window %u gave latents that are NaN or infinite", i + 1,
      self->settings.steps, window + 1);
  avatar_model_find_non_finite (self->model, parts, &self->ops->cancelled, what,
      "these settings or a LoRA let the numbers overflow: try without it, guidance-scale, motion and "
      "flow-shift nearer to the defaults, or precision=auto",
      error);
  return FALSE;
}

gboolean
avatar_denoiser_noise (AvatarDenoiser *self, float *z, gint64 frames, gint64 j, guint64 frame,
    GError **error)
{
  gsize n = self->h8 * self->w8;
  const AvatarDenoiseSettings *s = &self->settings;
  AvatarNoiseFile given = self->noise;

  if (s->noise)
    given = (AvatarNoiseFile){ (float *) s->noise, s->noise_latents };
  if (given.values && frame >= given.frames) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the noise given has %u latent frames, but frame %" G_GUINT64_FORMAT
        " is needed; give it for longer sound",
        given.frames, frame);
    return FALSE;
  }
  if (given.values) {
    avatar_noise_file_copy (&given, frame, z, self->channels, frames, j, n);
  } else {
    g_autofree float *noise = g_new (float, self->channels *n);

    avatar_noise_fill (noise, self->channels * n, self->settings.seed, frame);
    for (gint64 c = 0; c < self->channels; c++)
      memcpy (z + (c * frames + j) * n, noise + c * n, n * sizeof (float));
  }
  for (gint64 c = 0; s->upstream_rounding && c < self->channels; c++)
    avatar_dtype_round (z + (c * frames + j) * n, n, AVATAR_F16);
  return TRUE;
}

void
avatar_denoiser_emit (AvatarDenoiser *self, const float *z, gint64 frames, gint64 j)
{
  gsize n = self->h8 * self->w8;

  for (gint64 c = 0; c < self->channels; c++)
    g_array_append_vals (self->ready, z + (c * frames + j) * n, n);
  self->emitted++;
}

guint64
avatar_denoiser_total (AvatarDenoiser *self)
{
  return self->pushed ? (self->pushed + 2) / 4 + 1 : 0;
}
