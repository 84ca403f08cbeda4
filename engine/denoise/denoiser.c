/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The denoising stage: collects features, runs windows (engine/denoise/stream.c, clip.c), hands
 * out latent frames in order. */
#include "engine/denoise/denoiser-private.h"
#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <string.h>

void
avatar_denoise_settings_init (AvatarDenoiseSettings *s, AvatarModel *model)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  const AvatarConfig *config = avatar_model_get_config (model);

  *s = (AvatarDenoiseSettings){
    .width = info->width,
    .height = info->height,
    .prompt = "",
    .negative_prompt = config->text.negative ? config->text.negative : "",
    .steps = info->steps,
    .guidance_scale = info->guidance_scale,
    .flow_shift = info->flow_shift,
    .seed = 1024,
    .window_latents = info->window_latents,
    .overlap = MIN (5, info->window_latents - 1),
    .motion_pose = config->motion_pose,
    .motion_exp = config->motion_exp,
    .step_cache_threshold = 0.05,
    .pinned_bytes = G_MAXUINT64,
    .prompt_cache_bytes = AVATAR_TEXT_CACHE_BYTES,
  };
}

/* The stage with all the memory that must be. */
static AvatarDenoiser *
denoiser_new (AvatarModel *model, AvatarDevice *device, const AvatarDenoiseSettings *settings,
    GError **error)
{
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_open (model, device, settings, FALSE, error);
  AvatarMemoryPlan settled;
  AvatarArena *arena;

  if (!self
      || !avatar_denoiser_plan_memory (self, avatar_device_get_available_bytes (device),
          avatar_placement_available_bytes (device), &settled, error))
    return NULL;
  self->predicted = settled.arena;
  arena = avatar_arena_new (device, self->predicted, "the denoiser", error);
  if (!arena)
    return NULL;
  self->ops = avatar_ops_new (device, arena, error);
  if (!self->ops)
    return NULL;
  if (avatar_device_get_backend (device)->discrete) {
    self->memory_client = avatar_memory_client_new (device, avatar_denoiser_reclaim, self);
    avatar_memory_client_set_reclaimable (self->memory_client, TRUE);
  }
  return g_steal_pointer (&self);
}

AvatarDenoiser *
avatar_denoiser_new (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, GError **error)
{
  GError *reason = NULL;
  AvatarDenoiser *self = denoiser_new (model, device, settings, &reason);

  if (self)
    return self;
  if (g_error_matches (reason, AVATAR_ERROR, AVATAR_ERROR_MEMORY))
    avatar_denoiser_explain_out_of_memory (model, device, settings, &reason);
  g_propagate_error (error, reason);
  return NULL;
}

void
avatar_denoiser_get_arena (AvatarDenoiser *self, gsize *predicted, gsize *peak)
{
  *predicted = self->predicted;
  *peak = avatar_arena_peak (self->ops->arena);
}

void
avatar_denoiser_set_progress_func (AvatarDenoiser *self, AvatarProgressFunc func,
    gpointer user_data)
{
  self->progress = func;
  self->progress_data = user_data;
}

gboolean
avatar_denoiser_push (AvatarDenoiser *self, const float *features, GError **error)
{
  if (self->drained) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "features came after the end of the stream; reset the denoiser first");
    return FALSE;
  }
  if (!avatar_is_finite (features, self->n_features)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the audio features of video frame %" G_GUINT64_FORMAT
        " are NaN or infinite; look at what makes them",
        self->pushed);
    return FALSE;
  }
  g_array_append_vals (self->features, features, self->n_features);
  if (self->settings.upstream_rounding)
    avatar_dtype_round ((float *) self->features->data + self->features->len - self->n_features,
        self->n_features, AVATAR_F16);
  self->pushed++;
  return TRUE;
}

gboolean
avatar_denoiser_drain (AvatarDenoiser *self, GError **error)
{
  self->drained = TRUE;
  return TRUE;
}

/* The moments of all steps, and the way to the blocks. */
static gboolean
prepare (AvatarDenoiser *self, GError **error)
{
  const AvatarTransformerConfig *c = self->transformer.config;
  g_autofree AvatarWeightSchedule *ahead = avatar_transformer_weight_schedule (c, TRUE);
  g_autofree AvatarWeightSchedule *forward = avatar_transformer_weight_schedule (c, FALSE);

  if (avatar_weights_set_schedule (self->weights, self->ops, ahead, error)
      && avatar_window_prepare (&self->window, self->ops, error)
      && avatar_weights_set_schedule (self->weights, self->ops, forward, error))
    return TRUE;
  avatar_window_clear (&self->window);
  return FALSE;
}

/* Constants of all windows: once, before the first. */
static gboolean
ensure_begun (AvatarDenoiser *self, GError **error)
{
  if (self->begun)
    return TRUE;
  if (!self->conditions.reference) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "no reference portrait was given; set one before the first audio arrives");
    return FALSE;
  }
  if (!avatar_denoiser_acquire_memory (self, 0, error))
    return FALSE;
  avatar_ops_release (self->ops, 0);
  if (!self->window.moments && !prepare (self, error))
    return FALSE;
  avatar_window_begin (&self->window, self->ops);
  self->mark = avatar_ops_mark (self->ops);
  self->begun = avatar_ops_check (self->ops, error);
  return self->begun;
}

/* Where nothing can be given up, a budget that was lowered below what is held ends the run. */
static gboolean
check_budget (AvatarDenoiser *self, GError **error)
{
  return avatar_device_get_backend (self->device)->discrete
      || avatar_device_check_budget (self->device, error);
}

/* With the turn: the next window joins what is ready. */
static AvatarPull
denoise (AvatarDenoiser *self, GError **error)
{
  AvatarPull pull;

  if (!check_budget (self, error) || !ensure_begun (self, error))
    return AVATAR_PULL_ERROR;
  self->stats.forwards = 0;
  self->stats.steps = self->settings.steps;
  pull = self->settings.mode == AVATAR_DENOISE_MODE_CLIP ? avatar_denoiser_run_clip (self, error)
                                                         : avatar_denoiser_run_window (self, error);
  avatar_ops_release (self->ops, self->mark);
  if (self->memory_client && avatar_memory_client_has_waiters (self->memory_client))
    avatar_denoiser_release_memory (self);
  return pull;
}

guint
avatar_denoiser_get_n_ready (AvatarDenoiser *self)
{
  gsize n = self->channels * self->h8 * self->w8;

  return self->ready->len / n - self->ready_next;
}

gboolean
avatar_denoiser_is_due (AvatarDenoiser *self)
{
  return avatar_denoiser_get_n_ready (self) == 0 && avatar_denoiser_wants_window (self);
}

AvatarPull
avatar_denoiser_pull (AvatarDenoiser *self, float *latent, GError **error)
{
  gsize n = self->channels * self->h8 * self->w8;

  while (avatar_denoiser_get_n_ready (self) == 0) {
    AvatarPull pull;

    g_array_set_size (self->ready, 0);
    self->ready_next = 0;
    if (!avatar_denoiser_wants_window (self))
      return AVATAR_PULL_EMPTY;
    g_mutex_lock (&self->turn);
    pull = denoise (self, error);
    g_mutex_unlock (&self->turn);
    if (pull != AVATAR_PULL_OK)
      return pull;
  }
  memcpy (latent, (float *) self->ready->data + n * self->ready_next++, n * sizeof (float));
  return AVATAR_PULL_OK;
}

void
avatar_denoiser_reset (AvatarDenoiser *self)
{
  avatar_ops_uncancel (self->ops);
  g_clear_error (&self->ops->error);
  g_array_set_size (self->features, 0);
  g_array_set_size (self->ready, 0);
  self->ready_next = 0;
  self->first_frame = self->pushed = self->start = self->emitted = 0;
  self->n_windows = 0;
  self->drained = FALSE;
  g_clear_pointer (&self->last, g_free);
}

void
avatar_denoiser_cancel (AvatarDenoiser *self)
{
  avatar_ops_cancel (self->ops);
}

void
avatar_denoiser_get_prompt_truncation (AvatarDenoiser *self, gboolean negative,
    AvatarPromptTruncation *cut)
{
  *cut = self->cuts[negative ? 1 : 0];
}

const char *const *
avatar_denoiser_get_warnings (AvatarDenoiser *self)
{
  return (const char *const *) self->warnings->pdata;
}

void
avatar_denoiser_get_stats (AvatarDenoiser *self, AvatarDenoiseStats *stats)
{
  AvatarWeightStreamerStats weights;

  avatar_weights_get_stats (self->weights, &weights);
  *stats = self->stats;
  stats->resident = weights.resident;
  stats->streamed = weights.units - weights.resident;
  stats->evicted = weights.evicted;
  stats->restored = weights.restored;
  stats->uploaded = weights.uploaded;
}
