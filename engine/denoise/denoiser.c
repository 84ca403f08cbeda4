/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Public functions of the denoiser: collects features, runs windows (stream.c, clip.c) and returns
 * latent frames in order. */
#include "engine/denoise/denoiser-private.h"
#include "engine/device/device.h"

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
    .attention_dense_layers = 1,
    .attention_tau = 1,
    .attention_dense_steps = 0.2,
    .pinned_bytes = G_MAXUINT64,
    .prompt_cache_bytes = AVATAR_PROMPT_CACHE_BYTES,
  };
}

/* Makes a denoiser and allocates its arena. */
static AvatarDenoiser *
denoiser_new (AvatarModel *model, AvatarDevice *device, const AvatarDenoiseSettings *settings,
    GError **error)
{
  g_autoptr (AvatarDenoiser) self
      = avatar_denoiser_open (model, device, settings, AVATAR_DENOISER_RUN, error);

  if (!self || !avatar_denoiser_allocate (self, error)
      || !avatar_denoiser_ensure_peer (self, error))
    return NULL;
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
avatar_denoiser_set_deadline (AvatarDenoiser *self, gint64 deadline)
{
  self->deadline = deadline;
}

void
avatar_denoiser_get_arena (AvatarDenoiser *self, gsize *planned, gsize *peak)
{
  *planned = self->memory.planned_bytes;
  *peak = avatar_arena_peak (self->memory.ops->arena);
}

void
avatar_denoiser_set_progress_func (AvatarDenoiser *self, AvatarProgressFunc func,
    gpointer user_data)
{
  self->progress = (AvatarDenoiserProgress){ func, user_data };
}

gboolean
avatar_denoiser_push (AvatarDenoiser *self, const float *features, GError **error)
{
  return avatar_denoiser_push_speaker (self, 0, features, error);
}

static gboolean
check_speaker (const AvatarDenoiser *self, guint speaker, GError **error)
{
  if (speaker < self->stream.n_tracks)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "found features of speaker %u; the settings have speakers 0 to %u", speaker,
      self->stream.n_tracks - 1);
  return FALSE;
}

gboolean
avatar_denoiser_push_speaker (AvatarDenoiser *self, guint speaker, const float *features,
    GError **error)
{
  return check_speaker (self, speaker, error)
      && avatar_latent_stream_push (&self->stream, speaker, features,
          self->settings.upstream_rounding ? AVATAR_F16 : AVATAR_F32, error);
}

gboolean
avatar_denoiser_replace (AvatarDenoiser *self, guint64 first, guint64 n, const float *features,
    GError **error)
{
  return avatar_denoiser_replace_speaker (self, 0, first, n, features, error);
}

gboolean
avatar_denoiser_replace_speaker (AvatarDenoiser *self, guint speaker, guint64 first, guint64 n,
    const float *features, GError **error)
{
  if (!check_speaker (self, speaker, error))
    return FALSE;
  if (!avatar_is_finite (features, self->stream.n_features)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the audio features that replace those of video frame %" G_GUINT64_FORMAT
        " are NaN or infinite; check the encoder that computed them",
        first);
    return FALSE;
  }
  avatar_latent_stream_replace (&self->stream, speaker, first, n, features,
      self->settings.upstream_rounding ? AVATAR_F16 : AVATAR_F32);
  return TRUE;
}

gboolean
avatar_denoiser_use_steps (AvatarDenoiser *self, guint steps, GError **error)
{
  gboolean ok = self->settings.mode != AVATAR_DENOISE_MODE_CLIP || steps == self->settings.steps;

  if (ok) {
    g_mutex_lock (&self->memory.exec_lock);
    ok = avatar_window_use_steps (&self->window, steps);
    g_mutex_unlock (&self->memory.exec_lock);
  }
  if (!ok)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "a window cannot have %u steps: expected steps, %u, or, except in clip mode, idle_steps, %u, "
        "or a number from min_steps, %u, to steps",
        steps, self->settings.steps, self->settings.idle_steps, self->settings.min_steps);
  return ok;
}

void
avatar_denoiser_abandon_window (AvatarDenoiser *self)
{
  g_atomic_int_set (&self->abandoned, TRUE);
}

gboolean
avatar_denoiser_drain (AvatarDenoiser *self, GError **error)
{
  self->stream.drained = TRUE;
  return TRUE;
}

/* Computes the step conditioning with its schedule, then sets the schedule of forwards. */
static gboolean
precompute (AvatarDenoiserMemory *memory, GError **error)
{
  if (avatar_weights_set_schedule (memory->weights, memory->ops, memory->precompute, error)
      && avatar_window_precompute (memory->window, memory->ops, error)
      && avatar_weights_set_schedule (memory->weights, memory->ops, memory->forward, error))
    return TRUE;
  avatar_window_clear (memory->window);
  return FALSE;
}

/* Computes the constants of all windows in the arena, unless they are there. */
static gboolean
ensure_constants (AvatarDenoiserMemory *memory, GError **error)
{
  if (memory->has_constants)
    return TRUE;
  if (!memory->window->conditions->reference) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found no reference portrait; set one before the audio starts");
    return FALSE;
  }
  if (!avatar_denoiser_memory_acquire (memory, 0, error))
    return FALSE;
  avatar_ops_release (memory->ops, 0);
  if (!memory->window->step_conditioning && !precompute (memory, error))
    return FALSE;
  avatar_window_begin (memory->window, memory->ops);
  memory->mark = avatar_ops_mark (memory->ops);
  memory->has_constants = avatar_ops_check (memory->ops, error);
  return memory->has_constants;
}

/* Refuses a budget that was lowered below the memory in use, on a device that is not discrete,
 * where no memory can be evicted. */
static gboolean
check_host_budget (AvatarDevice *device, GError **error)
{
  return avatar_device_get_backend (device)->discrete || avatar_device_check_budget (device, error);
}

/* Denoises the next window, which adds its latent frames to the ready ones. Called with the lock
 * held. */
static AvatarPull
denoise (AvatarDenoiser *self, GError **error)
{
  AvatarDenoiserMemory *memory = &self->memory;
  AvatarPull pull;

  if (!check_host_budget (self->device, error) || !avatar_denoiser_load_weights (self, error)
      || !ensure_constants (memory, error) || !avatar_denoiser_begin_peer (self, error))
    return AVATAR_PULL_ERROR;
  self->stats.forwards = 0;
  self->stats.steps = self->window.steps;
  pull = self->settings.mode == AVATAR_DENOISE_MODE_CLIP ? avatar_denoiser_run_clip (self, error)
                                                         : avatar_denoiser_run_window (self, error);
  avatar_denoiser_end_peer (self);
  avatar_ops_release (memory->ops, memory->mark);
  if (memory->client && avatar_memory_client_has_waiters (memory->client))
    avatar_denoiser_memory_release (memory);
  return pull;
}

static gboolean
has_window (AvatarDenoiser *self)
{
  return avatar_latent_stream_has_window (&self->stream, self->settings.mode,
      self->settings.overlap);
}

guint
avatar_denoiser_get_n_ready (AvatarDenoiser *self)
{
  return avatar_latent_stream_n_ready (&self->stream);
}

gboolean
avatar_denoiser_is_due (AvatarDenoiser *self)
{
  return avatar_denoiser_get_n_ready (self) == 0 && has_window (self);
}

guint
avatar_denoiser_skip (AvatarDenoiser *self)
{
  guint n = self->stream.shape.frames - self->settings.overlap;

  if (!avatar_denoiser_is_due (self) || !self->stream.last_window || self->stream.drained
      || self->settings.mode == AVATAR_DENOISE_MODE_CLIP)
    return 0;
  avatar_latent_stream_skip (&self->stream, n);
  return n;
}

AvatarPull
avatar_denoiser_pull (AvatarDenoiser *self, float *latent, GError **error)
{
  while (avatar_denoiser_get_n_ready (self) == 0) {
    AvatarPull pull;

    if (!has_window (self))
      return AVATAR_PULL_EMPTY;
    g_mutex_lock (&self->memory.exec_lock);
    pull = denoise (self, error);
    g_mutex_unlock (&self->memory.exec_lock);
    if (pull != AVATAR_PULL_OK)
      return pull;
  }
  avatar_latent_stream_pull (&self->stream, latent);
  return AVATAR_PULL_OK;
}

void
avatar_denoiser_reset (AvatarDenoiser *self)
{
  for (AvatarDenoiser *d = self; d; d = d->peer) {
    avatar_ops_uncancel (d->memory.ops);
    g_clear_error (&d->memory.ops->error);
  }
  avatar_latent_stream_reset (&self->stream);
}

void
avatar_denoiser_cancel (AvatarDenoiser *self)
{
  AvatarDenoiser *peer = g_atomic_pointer_get (&self->peer);

  avatar_ops_cancel (self->memory.ops);
  if (peer)
    avatar_ops_cancel (peer->memory.ops);
}

void
avatar_denoiser_get_prompt_truncation (AvatarDenoiser *self, AvatarPromptKind kind,
    AvatarPromptTruncation *truncation)
{
  *truncation = self->conditioning.truncations[kind == AVATAR_PROMPT_NEGATIVE ? 1 : 0];
}

const char *const *
avatar_denoiser_get_warnings (AvatarDenoiser *self)
{
  return (const char *const *) self->loras.warnings->pdata;
}

void
avatar_denoiser_get_stats (AvatarDenoiser *self, AvatarDenoiseStats *stats)
{
  AvatarWeightStreamerStats weights;

  avatar_weights_get_stats (self->memory.weights, &weights);
  *stats = self->stats;
  stats->resident = weights.resident;
  stats->streamed = weights.groups - weights.resident;
  stats->evicted = weights.evicted;
  stats->restored = weights.restored;
  stats->uploaded = weights.uploaded;
  if (!avatar_denoiser_is_split (self) || !self->peer)
    return;
  avatar_weights_get_stats (self->peer->memory.weights, &weights);
  stats->resident += weights.resident;
  stats->streamed += weights.groups - weights.resident;
  stats->evicted += weights.evicted;
  stats->restored += weights.restored;
  stats->uploaded += weights.uploaded;
}
