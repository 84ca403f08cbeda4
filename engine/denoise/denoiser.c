/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The denoising stage: collects features, runs windows (engine/denoise/stream.c, clip.c), hands
 * out latent frames in order. */
#include "engine/denoise/parity.h"
#include "engine/denoise/denoiser-private.h"
#include "engine/model/lora.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

#include <math.h>
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
    .chunk = info->window_latents,
    .overlap = MIN (5, info->window_latents - 1),
    .motion_pose = config->motion_pose,
    .motion_exp = config->motion_exp,
    .cache_threshold = 0.05,
    .pinned_bytes = G_MAXUINT64,
    .text_cache_bytes = AVATAR_TEXT_CACHE_BYTES,
  };
}

gboolean
avatar_denoiser_check_settings (const AvatarDenoiseSettings *s, AvatarModel *model, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  guint multiple = info->size_multiple;

  if (s->steps < 1 || s->steps > 1000)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "steps is %u; at least 1 and at most 1000 are possible (this model's default is %u)",
        s->steps, info->steps);
  else if (s->width < multiple || s->height < multiple || s->width > 4096 || s->height > 4096
      || s->width % multiple || s->height % multiple)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the video size %ux%u is impossible; both sides must be multiples of %u from %u to 4096 "
        "(this model was made for %ux%u)",
        s->width, s->height, multiple, multiple, info->width, info->height);
  else if (s->chunk < 2 || s->chunk > info->window_latents)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "chunk is %u latent frames; 2 to %u are possible", s->chunk, info->window_latents);
  else if (s->overlap < 1 || s->overlap >= s->chunk)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "overlap is %u latent frames; it must be at least 1 and less than chunk, %u", s->overlap,
        s->chunk);
  else if (!(s->flow_shift > 0 && s->flow_shift <= 100))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "flow-shift is %g; it must be above 0 and at most 100 (this model's default is %g)",
        s->flow_shift, info->flow_shift);
  else if (!(s->guidance_scale >= 0 && s->guidance_scale <= 100))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "guidance-scale is %g; 0 to 100 are possible (1 or less: no guidance)", s->guidance_scale);
  else
    return TRUE;
  return FALSE;
}

static gboolean
check_precision (const AvatarDenoiseSettings *s, AvatarDevice *device, GError **error)
{
  const AvatarBackend *backend = avatar_device_get_backend (device);

  if (s->precision != AVATAR_PRECISION_FP8
      || (backend->multiplies_8bit && backend->multiplies_8bit (avatar_device_get_handle (device))))
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "precision is fp8, in which %s cannot compute; choose auto, or a GPU of compute capability "
      "8.9 or later",
      avatar_device_get_name (device));
  return FALSE;
}

/* @limit: the device's, 0: none. */
static gboolean
check_limit (AvatarDevice *device, const char *what, gint64 found, gint64 limit, GError **error)
{
  if (limit == 0 || found <= limit)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "this model's transformer has %s of %" G_GINT64_FORMAT "; %s computes up to %" G_GINT64_FORMAT
      "; choose device=cpu",
      what, found, avatar_device_get_name (device), limit);
  return FALSE;
}

/* Refuses in a plan the sizes that an operation of the device would refuse in a run. */
static gboolean
check_limits (const AvatarDenoiseSettings *s, AvatarModel *model, AvatarDevice *device,
    GError **error)
{
  const AvatarBackend *b = avatar_device_get_backend (device);
  const AvatarTransformerConfig *c = &avatar_model_get_config (model)->transformer;

  return check_limit (device, "heads", c->head_dim, b->max_head, error)
      && check_limit (device, "audio adapters", c->adapter_dim, b->max_frame_width, error)
      && check_limit (device, "audio tokens for a latent frame", 4 * c->audio_tokens,
          b->max_frame_keys, error)
      && (s->precision != AVATAR_PRECISION_FP8
          || check_limit (device, "rows in 8 bits", c->hidden, b->max_norm_8bit, error));
}

void
avatar_denoiser_init_window (AvatarDenoiser *self)
{
  const AvatarDenoiseSettings *s = &self->settings;

  self->window.transformer = &self->transformer;
  self->window.conditions = &self->conditions;
  self->window.motion_exp = s->motion_exp;
  self->window.motion_pose = s->motion_pose;
  self->window.fps = avatar_model_get_info (self->model)->fps;
  self->window.cfg_scale = s->guidance_scale;
  self->window.flow_shift = s->flow_shift;
  self->window.parity = s->parity;
  self->window.steps = s->steps;
  self->window.cache = s->cache;
  self->window.cache_threshold = s->cache_threshold;
  self->window.frames = self->frames;
  self->window.channels = self->channels;
  self->window.h8 = self->h8;
  self->window.w8 = self->w8;
}

/* What the user should know of @loras. */
static GPtrArray *
copy_warnings (GPtrArray *loras)
{
  GPtrArray *all = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < loras->len; i++) {
    GPtrArray *warnings = avatar_lora_get_warnings (loras->pdata[i]);

    for (guint j = 0; j < warnings->len; j++)
      g_ptr_array_add (all, g_strdup (warnings->pdata[j]));
  }
  g_ptr_array_add (all, NULL);
  return all;
}

AvatarDenoiser *
avatar_denoiser_open (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, gboolean dry, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autoptr (GPtrArray) loras = NULL;
  AvatarWeightUnits units;

  if (!avatar_denoiser_check_settings (settings, model, error)
      || !check_precision (settings, device, error)
      || !check_limits (settings, model, device, error))
    return NULL;
  self = g_new0 (AvatarDenoiser, 1);
  g_mutex_init (&self->turn);
  self->model = avatar_model_ref (model);
  self->device = avatar_device_ref (device);
  self->settings = *settings;
  self->settings.prompt = g_strdup (settings->prompt);
  self->settings.negative_prompt = g_strdup (settings->negative_prompt);
  self->settings.text_cache = g_strdup (settings->text_cache);
  self->settings.loras = NULL; /* the caller's; opened below */
  self->settings.n_loras = 0;
  self->channels = info->latent_channels;
  self->h8 = settings->height / info->latent_scale;
  self->w8 = settings->width / info->latent_scale;
  self->frames
      = settings->mode == AVATAR_DENOISE_MODE_CLIP ? info->window_latents : settings->chunk;
  self->n_features = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  self->features = g_array_new (FALSE, FALSE, sizeof (float));
  self->ready = g_array_new (FALSE, FALSE, sizeof (float));
  self->dry = dry;
  self->texts_given = settings->text_states != NULL;
  self->settings.text_states = NULL;
  self->settings.noise_file = self->settings.posterior_noise = NULL; /* read below */
  self->transformer.config = &avatar_model_get_config (model)->transformer;
  loras = avatar_lora_open_all (settings->loras, settings->n_loras, avatar_model_get_config (model),
      error);
  if (!loras || !avatar_denoiser_take_texts (self, settings->text_states, error)
      || !avatar_denoiser_take_noise (self, settings, error))
    return NULL;
  self->warnings = copy_warnings (loras);
  avatar_denoiser_plan_texts (self, G_MAXUINT64, &self->text_needs);
  units = avatar_transformer_units (self->transformer.config);
  self->weights = avatar_weights_new_units (model, device, "transformer", &units,
      &(AvatarWeightSettings){
          .quantise = settings->weight_format == AVATAR_WEIGHT_FORMAT_INT8 ? AVATAR_QUANTISE_INT8
              : settings->weight_format == AVATAR_WEIGHT_FORMAT_FP8
                  || settings->precision == AVATAR_PRECISION_FP8
              ? AVATAR_QUANTISE_FP8
              : AVATAR_QUANTISE_NONE,
          .compute_fp8 = settings->precision == AVATAR_PRECISION_FP8,
          .pinned_bytes = settings->pinned_bytes,
          .loras = loras,
      },
      dry, error);
  if (!self->weights)
    return NULL;
  self->transformer.weights = self->weights;
  self->transformer.fp8 = settings->precision == AVATAR_PRECISION_FP8;
  avatar_denoiser_init_window (self);
  return g_steal_pointer (&self);
}

/* The stage with all the memory that must be. */
static AvatarDenoiser *
denoiser_new (AvatarModel *model, AvatarDevice *device, const AvatarDenoiseSettings *settings,
    GError **error)
{
  g_autoptr (AvatarDenoiser) self = avatar_denoiser_open (model, device, settings, FALSE, error);
  AvatarSettled settled;
  AvatarArena *arena;

  if (!self
      || !avatar_denoiser_settle (self, avatar_device_get_room (device),
          avatar_placing_room (device), &settled, error))
    return NULL;
  self->predicted = settled.arena;
  arena = avatar_arena_new (device, self->predicted, "the denoiser", error);
  if (!arena)
    return NULL;
  self->ops = avatar_ops_new (device, arena, error);
  if (!self->ops || !avatar_weights_check (self->weights, error))
    return NULL;
  if (avatar_device_get_backend (device)->discrete) {
    self->tenant = avatar_tenant_new (device, avatar_denoiser_yield, self);
    avatar_tenant_set_holds (self->tenant, TRUE);
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
    avatar_denoiser_explain (model, device, settings, &reason);
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

void
avatar_denoiser_report (AvatarDenoiser *self, guint window, guint step)
{
  AvatarProgress progress = { AVATAR_PROGRESS_DENOISE, window, step, self->settings.steps };

  if (self->progress)
    self->progress (&progress, self->progress_data);
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
  if (self->settings.parity)
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
  g_autofree AvatarRoute *ahead = avatar_transformer_route (c, TRUE);
  g_autofree AvatarRoute *forward = avatar_transformer_route (c, FALSE);

  if (avatar_weights_set_route (self->weights, self->ops, ahead, error)
      && avatar_window_prepare (&self->window, self->ops, error)
      && avatar_weights_set_route (self->weights, self->ops, forward, error))
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
  if (!avatar_denoiser_unpark (self, 0, error))
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
  if (self->tenant && avatar_tenant_is_wanted (self->tenant))
    avatar_denoiser_park (self);
  return pull;
}

gboolean
avatar_denoiser_is_due (AvatarDenoiser *self)
{
  gsize n = self->channels * self->h8 * self->w8;

  return self->ready_next * n >= self->ready->len && avatar_denoiser_wants_window (self);
}

AvatarPull
avatar_denoiser_pull (AvatarDenoiser *self, float *latent, GError **error)
{
  gsize n = self->channels * self->h8 * self->w8;

  while (self->ready_next * n >= self->ready->len) {
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
avatar_denoiser_get_prompt_cut (AvatarDenoiser *self, gboolean negative, AvatarPromptCut *cut)
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
  AvatarResidencyStats weights;

  avatar_weights_get_stats (self->weights, &weights);
  *stats = self->stats;
  stats->resident = weights.resident;
  stats->streamed = weights.units - weights.resident;
  stats->given_up = weights.given_up;
  stats->taken_back = weights.taken_back;
  stats->uploaded = weights.uploaded;
}

void
avatar_denoiser_free (AvatarDenoiser *self)
{
  if (!self)
    return;
  avatar_tenant_free (self->tenant);
  avatar_window_clear (&self->window);
  avatar_ops_finish (self->ops); /* before what it works on goes */
  avatar_weights_free (self->weights);
  avatar_ops_free (self->ops);
  for (guint i = 0; i < 2; i++) {
    g_free ((float *) self->conditions.text[i].states);
    g_free ((float *) self->conditions.text[i].pooled);
    g_free ((guint8 *) self->conditions.text[i].mask);
  }
  g_free (self->conditions.reference);
  g_free (self->conditions.face);
  g_free (self->moments);
  avatar_image_free (self->image);
  avatar_given_clear (&self->noise);
  avatar_given_clear (&self->posterior);
  g_free (self->velocities);
  g_free (self->last);
  g_array_unref (self->features);
  g_array_unref (self->ready);
  g_clear_pointer (&self->warnings, g_ptr_array_unref);
  g_free ((char *) self->settings.prompt);
  g_free ((char *) self->settings.negative_prompt);
  g_free ((char *) self->settings.text_cache);
  avatar_text_encoder_free (self->text);
  avatar_device_unref (self->device);
  avatar_model_unref (self->model);
  g_mutex_clear (&self->turn);
  g_free (self);
}
