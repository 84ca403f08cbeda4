/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies of the properties of avatardenoise, and the settings of the engine from them. */
#include "gst/gstavatardenoiseprops.h"
#include "gst/gstavatarenums.h"
#include "gst/gstavatarloras.h"
#include "gst/gstavatarsigmas.h"

/* Largest number of steps up to which all smaller ones are prepared for the late policy. For the
 * released model a step has 6 MB of modulation and text. */
#define MAX_PREPARED_STEPS 16

void
gst_avatar_denoise_props_copy (GstAvatarDenoiseProps *copy, const GstAvatarDenoiseProps *props)
{
  *copy = *props;
  copy->reference = g_strdup (props->reference);
  copy->prompt = g_strdup (props->prompt);
  copy->negative_prompt = g_strdup (props->negative_prompt);
  copy->face_box = g_strdup (props->face_box);
  copy->pinned_memory = g_strdup (props->pinned_memory);
  copy->lora = g_strdup (props->lora);
  copy->sigmas = g_strdup (props->sigmas);
  copy->preset_file = g_strdup (props->preset_file);
  copy->prompt_cache = g_strdup (props->prompt_cache);
  copy->noise = g_strdup (props->noise);
  copy->posterior_noise = g_strdup (props->posterior_noise);
  copy->preset = props->preset ? avatar_preset_ref (props->preset) : NULL;
  copy->loras = props->loras ? g_array_ref (props->loras) : NULL;
  copy->sigma_values = props->sigma_values ? g_array_ref (props->sigma_values) : NULL;
}

void
gst_avatar_denoise_props_clear (GstAvatarDenoiseProps *props)
{
  g_clear_pointer (&props->reference, g_free);
  g_clear_pointer (&props->prompt, g_free);
  g_clear_pointer (&props->negative_prompt, g_free);
  g_clear_pointer (&props->face_box, g_free);
  g_clear_pointer (&props->pinned_memory, g_free);
  g_clear_pointer (&props->lora, g_free);
  g_clear_pointer (&props->sigmas, g_free);
  g_clear_pointer (&props->preset_file, g_free);
  g_clear_pointer (&props->preset, avatar_preset_unref);
  g_clear_pointer (&props->prompt_cache, g_free);
  g_clear_pointer (&props->noise, g_free);
  g_clear_pointer (&props->posterior_noise, g_free);
  g_clear_pointer (&props->loras, g_array_unref);
  g_clear_pointer (&props->sigma_values, g_array_unref);
}

/* Sets steps and noise levels. Those of a property replace those of a preset. */
static void
apply_schedule (const GstAvatarDenoiseProps *props, const AvatarModelInfo *info,
    AvatarDenoiseSettings *settings)
{
  if (props->flow_shift >= 0.0) {
    settings->flow_shift = props->flow_shift;
    settings->sigmas = NULL;
    settings->n_sigmas = 0;
  }
  if (props->sigma_values && props->sigma_values->len > 0) {
    settings->sigmas = (const gdouble *) props->sigma_values->data;
    settings->steps = settings->n_sigmas = props->sigma_values->len;
    if (props->flow_shift < 0.0)
      settings->flow_shift = info->flow_shift;
  }
  if (props->steps >= 0)
    settings->steps = props->steps;
  settings->idle_steps = props->idle_steps;
  if (props->late_policy == GST_AVATAR_LATE_ADAPT && settings->steps <= MAX_PREPARED_STEPS
      && settings->mode != AVATAR_DENOISE_MODE_CLIP)
    settings->min_steps = 1;
}

void
gst_avatar_denoise_props_apply (const GstAvatarDenoiseProps *props, AvatarModel *model,
    AvatarDenoiseSettings *settings)
{
  avatar_denoise_settings_init (settings, model);
  if (props->preset)
    avatar_preset_apply (props->preset, settings);
  settings->mode = (AvatarDenoiseMode) props->mode;
  if (props->prompt)
    settings->prompt = props->prompt;
  if (props->negative_prompt)
    settings->negative_prompt = props->negative_prompt;
  settings->prompt_cache_dir = props->prompt_cache;
  apply_schedule (props, avatar_model_get_info (model), settings);
  if (props->guidance_scale >= 0.0)
    settings->guidance_scale = props->guidance_scale;
  if (props->guidance_border >= 0.0)
    settings->guidance_border = props->guidance_border;
  if (props->seed >= 0)
    settings->seed = props->seed;
  if (props->window_latents > 0)
    settings->window_latents = props->window_latents;
  if (props->overlap > 0)
    settings->overlap = props->overlap;
  else if (settings->overlap >= settings->window_latents)
    settings->overlap
        = MAX (settings->window_latents / 2, 1); /* the default is for a longer window */
  if (props->motion_pose >= 0.0)
    settings->motion_pose = props->motion_pose;
  if (props->motion_exp >= 0.0)
    settings->motion_exp = props->motion_exp;
  settings->continuation = (AvatarContinuation) props->continuation;
  settings->precision = (AvatarPrecision) props->precision;
  settings->weight_format = (AvatarWeightFormat) props->weight_format;
  if (props->has_step_cache)
    settings->step_cache = (AvatarStepCacheMode) props->step_cache;
  if (props->cache_threshold >= 0.0)
    settings->step_cache_threshold = props->cache_threshold;
  if (props->cache_steps > 0)
    settings->step_cache_steps = props->cache_steps;
  settings->attention = (AvatarAttentionMode) props->attention;
  settings->attention_dense_layers = props->attention_dense_layers;
  if (props->attention_tau >= 0.0)
    settings->attention_tau = props->attention_tau;
  if (props->attention_dense_steps >= 0.0)
    settings->attention_dense_steps = props->attention_dense_steps;
  if (props->lora && props->loras) {
    settings->loras = (const AvatarLoraSetting *) props->loras->data;
    settings->n_loras = props->loras->len;
  }
  if (props->noise && *props->noise)
    settings->noise_file = props->noise;
  if (props->posterior_noise && *props->posterior_noise)
    settings->posterior_noise = props->posterior_noise;
  settings->upstream_rounding = props->upstream_rounding;
  settings->exact_rope = props->exact_rope;
  /* gst_avatar_denoise_props_check() has accepted the string */
  avatar_parse_pinned_memory (props->pinned_memory, &settings->pinned_bytes, NULL);
}

gboolean
gst_avatar_denoise_props_load (GstAvatarDenoiseProps *props, GError **error)
{
  g_clear_pointer (&props->preset, avatar_preset_unref);
  if (!props->preset_file || !*props->preset_file)
    return TRUE;
  props->preset = avatar_preset_load (props->preset_file, error);
  return props->preset != NULL;
}

gboolean
gst_avatar_denoise_props_check (const GstAvatarDenoiseProps *props, GError **error)
{
  g_autoptr (GArray) loras = gst_avatar_loras_parse (props->lora, error);
  g_autoptr (GArray) sigmas = loras ? gst_avatar_sigmas_parse (props->sigmas, error) : NULL;
  guint64 pinned;

  if (!loras || !sigmas)
    return FALSE;
  if (sigmas->len > 0 && props->flow_shift >= 0.0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "found sigmas and a flow-shift of %g, which exclude each other; leave out one of them",
        props->flow_shift);
    return FALSE;
  }
  if (props->steps == 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "steps is 0: expected at least 1, or -1 for the model's default");
    return FALSE;
  }
  return avatar_parse_pinned_memory (props->pinned_memory, &pinned, error);
}
