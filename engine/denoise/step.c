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
  gint64 c = self->channels, n = self->frames, h = self->h8, w = self->w8;
  AvatarStepBuffers b = {
    .x = avatar_ops_alloc_as (ops, AVATAR_F32, 4, c, n, h, w),
    .v = avatar_ops_alloc_as (ops, AVATAR_F32, 4, c, n, h, w),
    .non_finite = avatar_ops_alloc_as (ops, AVATAR_I32, 1, (gint64) 1),
  };

  avatar_op_clear (ops, b.non_finite);
  return b;
}

AvatarTensor
avatar_denoiser_alloc_held (AvatarDenoiser *self, AvatarOps *ops, gint64 known)
{
  return avatar_ops_alloc_as (ops, AVATAR_F32, 2, self->channels, known * self->h8 * self->w8);
}

/* Guidance and step with upstream's roundings. */
static void
step_as_upstream (AvatarDenoiser *self, AvatarOps *ops, guint i, AvatarWindowPosition place,
    const AvatarStepBuffers *b, float dt)
{
  double scale;

  self->stats.forwards += avatar_window_branches (&self->window, ops, b->v, b->x, i, place);
  if (avatar_window_is_guided (&self->window, i, &scale))
    avatar_parity_guide (ops, b->v, self->window.second, scale);
  else
    avatar_op_scale_round (ops, b->v, 1, AVATAR_BF16);
  avatar_parity_step (ops, b->x, b->v, dt);
}

void
avatar_denoiser_step (AvatarDenoiser *self, AvatarOps *ops, guint i, AvatarWindowPosition place,
    const AvatarStepBuffers *b)
{
  double sigma = avatar_window_sigma (&self->window, i);
  double next = avatar_window_sigma (&self->window, i + 1);

  if (self->settings.upstream_rounding) {
    step_as_upstream (self, ops, i, place, b, (float) next - (float) sigma);
  } else {
    self->stats.forwards += avatar_window_velocity (&self->window, ops, b->v, b->x, i, place);
    avatar_op_axpby (ops, b->x, next - sigma, b->v, 1);
  }
  avatar_op_find_non_finite (ops, b->non_finite, b->x);
}

gboolean
avatar_denoiser_check_step (AvatarDenoiser *self, const AvatarStepBuffers *b, guint window, guint i,
    GError **error)
{
  static const AvatarComponentKind parts[] = { AVATAR_COMPONENT_TRANSFORMER, AVATAR_COMPONENT_TEXT,
    AVATAR_COMPONENT_VAE, AVATAR_N_COMPONENTS };
  g_autofree char *what = NULL;
  gint32 non_finite = 0;

  avatar_op_download_raw (self->ops, &non_finite, b->non_finite);
  if (!avatar_ops_check (self->ops, error))
    return FALSE;
  if (!non_finite)
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
