/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One denoising step of a window, the noise before the first one, and the check for NaN and
 * infinity after each. */
#include "engine/denoise/denoiser-private.h"
#include "engine/denoise/sampler.h"
#include "engine/denoise/upstream-rounding.h"
#include "engine/device/device.h"
#include "engine/model/nan-search.h"

#include <string.h>

static AvatarTensor
alloc_latents (AvatarOps *ops, const AvatarLatentShape *s)
{
  return avatar_ops_alloc_as (ops, AVATAR_F32, 4, s->channels, s->frames, s->h8, s->w8);
}

AvatarStepBuffers
avatar_step_buffers_new (AvatarOps *ops, const AvatarLatentShape *shape)
{
  AvatarStepBuffers b = {
    .x = alloc_latents (ops, shape),
    .v = alloc_latents (ops, shape),
    .non_finite = avatar_ops_alloc_as (ops, AVATAR_I32, 1, (gint64) 1),
  };

  avatar_op_clear (ops, b.non_finite);
  return b;
}

AvatarTensor
avatar_step_alloc_overlap (AvatarOps *ops, const AvatarLatentShape *shape, gint64 frames)
{
  return avatar_ops_alloc_as (ops, AVATAR_F32, 2, shape->channels,
      frames * (gint64) avatar_latent_shape_plane (shape));
}

/* Fills @turns [2] with those of the devices that compute, in one order for all denoisers. Returns
 * their number. */
static guint
get_turns (AvatarDenoiser *self, AvatarTurns **turns)
{
  turns[0] = avatar_device_get_turns (self->device);
  if (!self->window.peer.begin)
    return 1;
  turns[1] = avatar_device_get_turns (self->peer->device);
  if ((guintptr) turns[1] < (guintptr) turns[0]) {
    turns[1] = turns[0];
    turns[0] = avatar_device_get_turns (self->peer->device);
  }
  return 2;
}

gboolean
avatar_step_begin_turn (AvatarDenoiser *self, GError **error)
{
  AvatarTurns *turns[2];
  guint n = get_turns (self, turns), i = 0;

  while (i < n && avatar_turns_begin (turns[i], self->deadline, &self->memory.ops->cancelled))
    i++;
  if (i == n)
    return TRUE;
  while (i-- > 0)
    avatar_turns_end (turns[i]);
  avatar_ops_check (self->memory.ops, error);
  return FALSE;
}

void
avatar_step_end_turn (AvatarDenoiser *self)
{
  AvatarTurns *turns[2];

  for (guint i = get_turns (self, turns); i-- > 0;)
    avatar_turns_end (turns[i]);
}

/* Computes guidance and Euler step with upstream's roundings. */
static guint
step_as_upstream (AvatarWindow *window, AvatarOps *ops, guint i, AvatarWindowPosition position,
    const AvatarStepBuffers *b, float dt)
{
  guint forwards = avatar_window_branches (window, ops, b->v, b->x, i, position);
  double scale;

  if (avatar_window_is_guided (window, i, &scale))
    avatar_upstream_guide (ops, b->v, window->velocity_without_audio, scale);
  else
    avatar_op_scale_round (ops, b->v, 1, AVATAR_BF16);
  avatar_upstream_step (ops, b->x, b->v, dt);
  return forwards;
}

guint
avatar_step_run (AvatarWindow *window, AvatarOps *ops, guint i, AvatarWindowPosition position,
    const AvatarStepBuffers *b)
{
  double sigma = avatar_window_sigma (window, i), next = avatar_window_sigma (window, i + 1);
  guint forwards;

  if (window->upstream_rounding) {
    forwards = step_as_upstream (window, ops, i, position, b, (float) next - (float) sigma);
  } else {
    forwards = avatar_window_velocity (window, ops, b->v, b->x, i, position);
    avatar_op_axpby (ops, b->x, next - sigma, b->v, 1);
  }
  avatar_op_find_non_finite (ops, b->non_finite, b->x);
  return forwards;
}

gboolean
avatar_step_check (AvatarModel *model, AvatarOps *ops, const AvatarStepBuffers *b, guint i,
    guint steps, guint window, GError **error)
{
  static const AvatarComponentKind components[] = { AVATAR_COMPONENT_TRANSFORMER,
    AVATAR_COMPONENT_TEXT, AVATAR_COMPONENT_VAE, AVATAR_N_COMPONENTS };
  g_autofree char *what = NULL;
  gint32 non_finite = 0;

  avatar_op_download_raw (ops, &non_finite, b->non_finite);
  if (!avatar_ops_check (ops, error))
    return FALSE;
  if (!non_finite)
    return TRUE;
  what = g_strdup_printf ("latents are NaN or infinite after step %u of %u of window %u", i + 1,
      steps, window + 1);
  avatar_model_find_non_finite (model, components, &ops->cancelled, what,
      "the settings or a LoRA cause an overflow: try without the LoRA, with guidance-scale, motion and "
      "flow-shift closer to the defaults, or with precision=auto",
      error);
  return FALSE;
}

gboolean
avatar_step_noise (const AvatarDenoiseSettings *s, const AvatarNoiseFile *file,
    const AvatarLatentShape *shape, float *z, gint64 j, guint64 frame, GError **error)
{
  gint64 channels = shape->channels, frames = shape->frames;
  gsize n = avatar_latent_shape_plane (shape);
  AvatarNoiseFile source = *file;

  if (s->noise)
    source = (AvatarNoiseFile){ (float *) s->noise, s->noise_latents };
  if (source.values && frame >= source.frames) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the initial noise has %u latent frames, but frame %" G_GUINT64_FORMAT
        " (from 0) is needed; provide noise for the whole audio, or use a seed",
        source.frames, frame);
    return FALSE;
  }
  if (source.values) {
    avatar_noise_file_copy (&source, frame, z, channels, frames, j, n);
  } else {
    g_autofree float *noise = g_new (float, channels *n);

    avatar_noise_fill (noise, channels * n, s->seed, frame);
    for (gint64 c = 0; c < channels; c++)
      memcpy (z + (c * frames + j) * n, noise + c * n, n * sizeof (float));
  }
  for (gint64 c = 0; s->upstream_rounding && c < channels; c++)
    avatar_dtype_round (z + (c * frames + j) * n, n, AVATAR_F16);
  return TRUE;
}
