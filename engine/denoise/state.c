/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The denoiser's state without memory for its work: made from checked settings, freed, and the
 * progress that it reports. */
#include "engine/denoise/denoiser-private.h"
#include "engine/device/device.h"
#include "engine/model/lora.h"

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
  else if (s->window_latents < 2 || s->window_latents > info->window_latents)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "chunk is %u latent frames; 2 to %u are possible", s->window_latents, info->window_latents);
  else if (s->overlap < 1 || s->overlap >= s->window_latents)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "overlap is %u latent frames; it must be at least 1 and less than chunk, %u", s->overlap,
        s->window_latents);
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
      || (backend->supports_8bit_linear
          && backend->supports_8bit_linear (avatar_device_get_handle (device))))
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
  self->window.parity = s->upstream_rounding;
  self->window.steps = s->steps;
  self->window.cache = s->step_cache;
  self->window.cache_threshold = s->step_cache_threshold;
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
    const AvatarDenoiseSettings *settings, gboolean dry_run, GError **error)
{
  const AvatarModelInfo *info = avatar_model_get_info (model);
  g_autoptr (AvatarDenoiser) self = NULL;
  g_autoptr (GPtrArray) loras = NULL;

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
  self->settings.prompt_cache_dir = g_strdup (settings->prompt_cache_dir);
  self->settings.loras = NULL; /* the caller's; opened below */
  self->settings.n_loras = 0;
  self->channels = info->latent_channels;
  self->h8 = settings->height / info->latent_scale;
  self->w8 = settings->width / info->latent_scale;
  self->frames = settings->mode == AVATAR_DENOISE_MODE_CLIP ? info->window_latents
                                                            : settings->window_latents;
  self->n_features = (gsize) info->feature_steps * info->feature_states * info->feature_channels;
  self->features = g_array_new (FALSE, FALSE, sizeof (float));
  self->ready = g_array_new (FALSE, FALSE, sizeof (float));
  self->dry_run = dry_run;
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
  self->params = avatar_transformer_weights_new (self->transformer.config);
  self->weights = avatar_weights_new (model, device, AVATAR_COMPONENT_TRANSFORMER,
      self->params->list,
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
      dry_run ? AVATAR_WEIGHTS_SHAPES_ONLY : AVATAR_WEIGHTS_LOAD, error);
  if (!self->weights)
    return NULL;
  self->transformer.weights = self->weights;
  self->transformer.params = self->params;
  self->transformer.fp8 = settings->precision == AVATAR_PRECISION_FP8;
  avatar_denoiser_init_window (self);
  return g_steal_pointer (&self);
}

void
avatar_denoiser_report (AvatarDenoiser *self, guint window, guint step)
{
  AvatarProgress progress = { AVATAR_PROGRESS_DENOISE, window, step, self->settings.steps };

  if (self->progress)
    self->progress (&progress, self->progress_data);
}

void
avatar_denoiser_free (AvatarDenoiser *self)
{
  if (!self)
    return;
  avatar_memory_client_free (self->memory_client);
  avatar_window_clear (&self->window);
  avatar_ops_finish (self->ops); /* before what it works on goes */
  avatar_weights_free (self->weights);
  avatar_transformer_weights_free (self->params);
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
  avatar_noise_file_clear (&self->noise);
  avatar_noise_file_clear (&self->posterior);
  g_free (self->last);
  g_array_unref (self->features);
  g_array_unref (self->ready);
  g_clear_pointer (&self->warnings, g_ptr_array_unref);
  g_free ((char *) self->settings.prompt);
  g_free ((char *) self->settings.negative_prompt);
  g_free ((char *) self->settings.prompt_cache_dir);
  avatar_text_encoder_free (self->text);
  avatar_device_unref (self->device);
  avatar_model_unref (self->model);
  g_mutex_clear (&self->turn);
  g_free (self);
}
