/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights of the transformer. Those of a plan have shapes only. A change of LoRAs puts a plan in
 * their place, which frees them, and loads the new ones then, so that memory never holds two sets.
 * If that fails, the plan of the weights before takes its place, and they are loaded again before
 * the next window. */
#include "engine/denoise/denoiser-private.h"

#include "engine/model/manifest.h"

#include <string.h>

/* Opens the weights with @loras, which is set. @params: handles, which are bound to the result */
static AvatarWeights *
open_weights (AvatarDenoiser *self, const AvatarLoraList *loras, AvatarTransformerWeights *params,
    AvatarWeightsMode mode, GError **error)
{
  const AvatarDenoiseSettings *s = &self->settings;
  gboolean fp8 = s->precision == AVATAR_PRECISION_FP8;
  const AvatarWeightSettings settings = {
    .quantise = s->weight_format == AVATAR_WEIGHT_FORMAT_INT8 ? AVATAR_QUANTISE_INT8
        : s->weight_format == AVATAR_WEIGHT_FORMAT_FP8 || fp8 ? AVATAR_QUANTISE_FP8
                                                              : AVATAR_QUANTISE_NONE,
    .compute_fp8 = fp8,
    .pinned_bytes = s->pinned_bytes / MIN (avatar_device_get_n_members (self->group), 2),
    .loras = loras->constant,
    .scheduled_loras = loras->scheduled,
  };

  return avatar_weights_new (self->model, self->device, AVATAR_COMPONENT_TRANSFORMER, params->list,
      &settings, mode, error);
}

/* Opens the weights with the LoRAs of @self in place of those before, which stay on failure. */
static gboolean
replace_weights (AvatarDenoiser *self, AvatarWeightsMode mode, GError **error)
{
  AvatarDenoiserMemory *memory = &self->memory;
  g_autoptr (AvatarTransformerWeights) params
      = avatar_transformer_weights_new (self->transformer.config);
  const AvatarLoraList *loras = self->leader ? &self->leader->loras : &self->loras;
  AvatarWeights *weights = open_weights (self, loras, params, mode, error);

  if (!weights)
    return FALSE;
  avatar_weights_free (memory->weights);
  avatar_transformer_weights_free (memory->params);
  memory->weights = self->transformer.weights = weights;
  memory->params = g_steal_pointer (&params);
  self->transformer.params = memory->params;
  memory->has_weights = mode == AVATAR_WEIGHTS_LOAD;
  return TRUE;
}

/* Returns TRUE for a weight whose products are computed before the first step of a window. */
static gboolean
is_window_constant (const char *name)
{
  static const char *const modules[]
      = { "img_in.", "ref_in.", "before_proj.", "audio_proj.", "audio_adapter_blocks." };

  if (g_str_has_prefix (name, "audio_adapter_blocks.") && !strstr (name, ".norm1.")
      && !strstr (name, ".to_kv."))
    return FALSE;
  for (guint i = 0; i < G_N_ELEMENTS (modules); i++)
    if (g_str_has_prefix (name, modules[i]))
      return TRUE;
  return FALSE;
}

/* Refuses LoRAs whose strength depends on the step, but which add to what does not. */
static gboolean
check_scheduled (const AvatarLoraList *loras, const AvatarConfig *config, GError **error)
{
  g_autoptr (GArray) manifest = avatar_manifest_new (config, AVATAR_COMPONENT_TRANSFORMER);

  for (guint i = 0; i < manifest->len; i++) {
    const char *name = g_array_index (manifest, AvatarManifestEntry, i).name;

    if (!is_window_constant (name) || !avatar_lora_touches (loras->scheduled, name))
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "a LoRA whose strength depends on the step adds to \"%s\", which is computed once for a "
        "window; give it one strength",
        name);
    return FALSE;
  }
  return TRUE;
}

gboolean
avatar_denoiser_open_lora_list (AvatarDenoiser *self, const AvatarDenoiseSettings *settings,
    AvatarLoraList *loras, GError **error)
{
  const AvatarConfig *config = avatar_model_get_config (self->model);

  return avatar_lora_list_open (loras, settings->loras, settings->n_loras, config, error)
      && (loras->scheduled->len == 0 || check_scheduled (loras, config, error));
}

gboolean
avatar_denoiser_open_loras (AvatarDenoiser *self, const AvatarDenoiseSettings *settings,
    AvatarLoraList *loras, GError **error)
{
  g_autoptr (AvatarTransformerWeights) params
      = avatar_transformer_weights_new (self->transformer.config);
  g_autoptr (AvatarWeights) plan = NULL;

  if (!avatar_denoiser_open_lora_list (self, settings, loras, error))
    return FALSE;
  plan = open_weights (self, loras, params, AVATAR_WEIGHTS_SHAPES_ONLY, error);
  return plan != NULL;
}

gboolean
avatar_denoiser_plan_weights (AvatarDenoiser *self, GError **error)
{
  return replace_weights (self, AVATAR_WEIGHTS_SHAPES_ONLY, error);
}

gboolean
avatar_denoiser_load_weights (AvatarDenoiser *self, GError **error)
{
  AvatarDenoiserMemory *memory = &self->memory;

  if (memory->has_weights)
    return TRUE;
  if (memory->client) {
    guint64 bytes = avatar_weights_fixed_bytes (memory->weights);

    avatar_memory_client_request (memory->client, bytes, bytes, &memory->ops->cancelled);
    if (!avatar_ops_check (memory->ops, error))
      return FALSE;
  }
  return replace_weights (self, AVATAR_WEIGHTS_LOAD, error);
}
