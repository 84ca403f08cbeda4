/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encodes the prompts that are not in the cache by LLaVA and then by CLIP. The weights of one
 * encoder are freed before those of the other are loaded. */
#define G_LOG_DOMAIN "avatar"
#include "engine/text/encoder.h"

#include "engine/device/device.h"
#include "engine/text/clip.h"
#include "engine/text/prompt-cache-key.h"
#include "engine/model/nan-search.h"
#include "engine/model/model.h"
#include "engine/weights/placement.h"

/* The weights of one encoder and the handles to them; one of @llava and @clip is NULL. */
typedef struct
{
  AvatarWeights *weights;
  AvatarLlavaWeights *llava;
  AvatarClipWeights *clip;
} BoundWeights;

static void
bound_weights_clear (BoundWeights *self)
{
  g_clear_pointer (&self->weights, avatar_weights_free);
  g_clear_pointer (&self->llava, avatar_llava_weights_free);
  g_clear_pointer (&self->clip, avatar_clip_weights_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (BoundWeights, bound_weights_clear)

/* One of the two encoders.
 * @shapes: weights without data, for dry runs */
typedef struct
{
  AvatarWeightSchedule *schedule;
  guint n_groups;
  BoundWeights shapes;
} Encoder;

enum
{
  LLAVA,
  CLIP,
  N_ENCODERS,
};

static const AvatarComponentKind components[N_ENCODERS]
    = { AVATAR_COMPONENT_LLAVA, AVATAR_COMPONENT_CLIP };

struct _AvatarTextEncoder
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarConfig *config;
  gboolean exact_rope;
  AvatarPromptCache cache;
  AvatarEncoding prompts[2];
  guint n_prompts;
  Encoder encoders[N_ENCODERS];
  guint n_groups;
  /* state of a run */
  AvatarTextProgressFunc progress;
  gpointer progress_data;
  guint n_done;
};

/* float16, because the files have three bits more than bfloat16. */
static const AvatarWeightSettings weight_settings
    = { .pinned_bytes = 0, .one_shot = TRUE, .half = TRUE };

gboolean
avatar_model_has_text_encoder (AvatarModel *model)
{
  return avatar_model_get_config (model)->text.kind == AVATAR_TEXT_LLAVA_CLIP
      && !avatar_model_get_component (model, AVATAR_COMPONENT_TEXT, NULL);
}

static gboolean
check_components (AvatarModel *model, GError **error)
{
  static const char *const released[]
      = { "weights/ckpts/llava_llama_image of tencent/HunyuanVideo-Avatar",
          "weights/ckpts/text_encoder_2 of tencent/HunyuanVideo-Avatar" };

  for (guint i = 0; i < 2; i++)
    if (!avatar_model_get_component (model, components[i], NULL)) {
      const char *folder = avatar_model_get_text_folder (model, AVATAR_COMPONENT_LLAVA + i);
      const char *source = avatar_model_get_text_source (model, AVATAR_COMPONENT_LLAVA + i);
      gboolean is_folder = folder && g_file_test (folder, G_FILE_TEST_IS_DIR);

      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
          "%s: found no %s of a text encoder, which a prompt needs; download %s, or set text_states",
          folder ? folder : avatar_model_get_path (model),
          is_folder || !folder ? "weights" : "such folder, the folder",
          source ? source : released[i]);
      return FALSE;
    }
  return TRUE;
}

static gboolean
make_ids (AvatarTextEncoder *self, const char *const *prompts, GError **error)
{
  g_autoptr (AvatarTokenizer) llama
      = avatar_tokenizer_new_llama (avatar_model_get_text_folder (self->model,
                                        AVATAR_COMPONENT_LLAVA),
          error);
  g_autoptr (AvatarTokenizer) clip = NULL;

  if (llama)
    clip = avatar_tokenizer_new_clip (avatar_model_get_text_folder (self->model,
                                          AVATAR_COMPONENT_CLIP),
        error);
  if (!clip)
    return FALSE;
  for (guint i = 0; i < self->n_prompts; i++) {
    g_auto (AvatarLlavaTokens) a = { 0 };
    g_auto (AvatarClipTokens) b = { 0 };
    AvatarPromptKind kind = i ? AVATAR_PROMPT_NEGATIVE : AVATAR_PROMPT_POSITIVE;

    if (!avatar_tokens_llava (llama, &self->config->text, prompts[i], kind, &a, error)
        || !avatar_tokens_clip (clip, &self->config->text, prompts[i], kind, &b, error))
      return FALSE;
    if (!avatar_encoding_init (&self->prompts[i], self->config, &a, &b, error))
      return FALSE;
  }
  return TRUE;
}

static gboolean
open_weights (AvatarTextEncoder *self, guint i, AvatarWeightsMode mode, BoundWeights *out,
    GError **error)
{
  const AvatarWeightList *list;

  if (i == LLAVA) {
    out->llava = avatar_llava_weights_new (&self->config->llava);
    list = out->llava->list;
  } else {
    out->clip = avatar_clip_weights_new (&self->config->clip);
    list = out->clip->list;
  }
  out->weights = avatar_weights_new (self->model, self->device, components[i], list,
      &weight_settings, mode, error);
  return out->weights != NULL;
}

static gboolean
init_encoders (AvatarTextEncoder *self, GError **error)
{
  self->encoders[LLAVA].schedule = avatar_llava_weight_schedule (&self->config->llava);
  self->encoders[CLIP].schedule = avatar_clip_weight_schedule (&self->config->clip);
  for (guint i = 0; i < N_ENCODERS; i++) {
    if (!open_weights (self, i, AVATAR_WEIGHTS_SHAPES_ONLY, &self->encoders[i].shapes, error))
      return FALSE;
    self->encoders[i].n_groups
        = avatar_weights_get_groups (self->encoders[i].shapes.weights)->len - 1;
    self->n_groups += self->encoders[i].n_groups;
  }
  return TRUE;
}

AvatarTextEncoder *
avatar_text_encoder_new (AvatarModel *model, AvatarDevice *device,
    const AvatarTextEncoderSettings *s, GError **error)
{
  g_autoptr (AvatarTextEncoder) self = g_new0 (AvatarTextEncoder, 1);

  self->model = avatar_model_ref (model);
  self->device = avatar_device_ref (device);
  self->config = avatar_model_get_config (model);
  self->exact_rope = s->exact_rope;
  self->n_prompts = s->n_prompts;
  self->cache = (AvatarPromptCache){ g_strdup (s->cache.folder), s->cache.limit };
  for (guint i = 0; i < self->n_prompts && s->max_length; i++)
    avatar_encoding_init_max_length (&self->prompts[i], self->config);
  if (!check_components (model, error) || !init_encoders (self, error)
      || (!s->max_length && !make_ids (self, s->prompts, error)))
    return NULL;
  return g_steal_pointer (&self);
}

void
avatar_text_encoder_free (AvatarTextEncoder *self)
{
  if (!self)
    return;
  for (guint i = 0; i < N_ENCODERS; i++) {
    bound_weights_clear (&self->encoders[i].shapes);
    g_free (self->encoders[i].schedule);
  }
  for (guint i = 0; i < self->n_prompts; i++)
    avatar_encoding_clear (&self->prompts[i]);
  g_free ((char *) self->cache.folder);
  avatar_device_unref (self->device);
  avatar_model_unref (self->model);
  g_free (self);
}

AvatarEncoding *
avatar_text_encoder_get_encoding (AvatarTextEncoder *self, guint i)
{
  return &self->prompts[i];
}

/* ------------------------------------------------------------------------------------ computing */

static void
report_group (gpointer data)
{
  AvatarTextEncoder *self = data;

  self->n_done++;
  if (self->progress)
    self->progress (self->n_done, self->n_groups, self->progress_data);
}

/* Runs encoder @i with @bound weights. */
static gboolean
run_encoder (AvatarTextEncoder *self, guint i, const BoundWeights *bound, AvatarOps *ops,
    const AvatarImage *square, AvatarEncoding *const *prompts, guint n, GError **error)
{
  GHashTable *tensors = avatar_model_get_component (self->model, components[i], NULL);
  AvatarDType dtype = ops->dtype;
  gboolean done;

  ops->dtype = avatar_weights_dtype (self->device, &weight_settings);
  if (i == LLAVA) {
    const AvatarLlava llava = { self->config, bound->weights, bound->llava, tensors,
      self->exact_rope ? AVATAR_ROPE_EXACT : AVATAR_ROPE_HALF, report_group, self };

    done = avatar_llava_run (&llava, ops, square, prompts, n, error);
  } else {
    const AvatarClip clip
        = { self->config, bound->weights, bound->clip, tensors, report_group, self };

    done = avatar_clip_run (&clip, ops, prompts, n, error);
  }
  ops->dtype = dtype;
  return done;
}

/* Opens the weights of encoder @i, runs it, and frees the weights. */
static gboolean
stream_encoder (AvatarTextEncoder *self, guint i, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error)
{
  g_auto (BoundWeights) bound = { 0 };
  gboolean done;

  if (!open_weights (self, i, AVATAR_WEIGHTS_LOAD, &bound, error))
    return FALSE;
  done = avatar_weights_set_schedule (bound.weights, ops, self->encoders[i].schedule, error)
      && run_encoder (self, i, &bound, ops, square, prompts, n, error)
      && avatar_ops_check (ops, error);
  avatar_ops_finish (ops); /* enqueued operations use the weights */
  return done;
}

static gboolean
check_finite (AvatarTextEncoder *self, AvatarOps *ops, const AvatarEncoding *prompt, GError **error)
{
  static const AvatarComponentKind searched[]
      = { AVATAR_COMPONENT_LLAVA, AVATAR_COMPONENT_CLIP, AVATAR_N_COMPONENTS };
  gsize n = (gsize) prompt->n * self->config->llava.hidden;

  if (avatar_is_finite (prompt->states, n)
      && avatar_is_finite (prompt->pooled, self->config->clip.tower.hidden))
    return TRUE;
  avatar_model_find_non_finite (self->model, searched, &ops->cancelled,
      "the text encoders computed NaN or infinity", "they exceed the range of float16", error);
  return FALSE;
}

/* Returns the key of @prompt in the cache, or NULL without a cache. */
static char *
make_key (AvatarTextEncoder *self, const AvatarEncoding *prompt, const AvatarImage *square)
{
  g_autofree char *options
      = g_strdup_printf ("%s %s%s", avatar_device_get_backend (self->device)->name,
          avatar_dtype_name (avatar_weights_dtype (self->device, &weight_settings)),
          self->exact_rope ? " exact" : "");

  return self->cache.folder ? avatar_prompt_cache_key (self->model, prompt, square, options) : NULL;
}

static void
alloc_prompt (AvatarTextEncoder *self, AvatarEncoding *prompt)
{
  g_free (prompt->states);
  g_free (prompt->pooled);
  prompt->states = g_new0 (float, (gsize) prompt->n * self->config->llava.hidden);
  prompt->pooled = g_new0 (float, self->config->clip.tower.hidden);
}

/* Encodes @n prompts. */
static gboolean
encode (AvatarTextEncoder *self, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error)
{
  self->n_done = 0;
  if (self->progress)
    self->progress (0, self->n_groups, self->progress_data);
  for (guint i = 0; i < N_ENCODERS; i++)
    if (!stream_encoder (self, i, ops, square, prompts, n, error))
      return FALSE;
  for (guint i = 0; i < n; i++) {
    avatar_encoding_expand (prompts[i], prompts[i]->states, self->config->llava.hidden);
    if (!check_finite (self, ops, prompts[i], error))
      return FALSE;
  }
  return TRUE;
}

gboolean
avatar_text_encoder_run (AvatarTextEncoder *self, AvatarOps *ops, const AvatarImage *image,
    AvatarTextProgressFunc progress, gpointer data, GError **error)
{
  gsize hidden = self->config->llava.hidden, pooled = self->config->clip.tower.hidden;
  g_autoptr (AvatarImage) square = avatar_vision_prepare (&self->config->llava, image, error);
  g_auto (GStrv) keys = g_new0 (char *, G_N_ELEMENTS (self->prompts) + 1);
  AvatarEncoding *missing[G_N_ELEMENTS (self->prompts)];
  guint n = 0;

  if (!square)
    return FALSE;
  self->progress = progress;
  self->progress_data = data;
  for (guint i = 0; i < self->n_prompts; i++) {
    AvatarEncoding *prompt = &self->prompts[i];
    g_autofree char *key = make_key (self, prompt, square);

    alloc_prompt (self, prompt);
    if (key
        && avatar_prompt_cache_load (&self->cache, key, prompt->states,
            avatar_encoding_count_distinct (prompt) * hidden, prompt->pooled, pooled)) {
      avatar_encoding_expand (prompt, prompt->states, hidden);
      continue;
    }
    keys[n] = key ? g_steal_pointer (&key) : g_strdup ("");
    missing[n++] = prompt;
  }
  if (n > 0 && !encode (self, ops, square, missing, n, error))
    return FALSE;
  for (guint i = 0; i < n; i++)
    if (keys[i][0])
      avatar_prompt_cache_store (&self->cache, keys[i], missing[i]->states,
          avatar_encoding_count_distinct (missing[i]) * hidden, missing[i]->pooled, pooled);
  return TRUE;
}

/* ------------------------------------------------------------------------------------- planning */

static void
plan_weights (AvatarTextEncoder *self, guint64 available_bytes, AvatarTextEncoderRequirements *out)
{
  for (guint i = 0; i < N_ENCODERS; i++) {
    const Encoder *encoder = &self->encoders[i];
    guint64 fixed = avatar_weights_fixed_bytes (encoder->shapes.weights);
    guint64 min_bytes = fixed, bytes = fixed;
    GArray *groups = avatar_weights_get_groups (encoder->shapes.weights);
    g_auto (AvatarPlacement) placement = { 0 };

    out->read_bytes += avatar_weights_file_bytes (encoder->shapes.weights);
    if (avatar_device_get_backend (self->device)->discrete) {
      guint64 largest = 0;

      for (guint j = 0; j < encoder->n_groups; j++)
        largest = MAX (largest, g_array_index (groups, AvatarWeightGroup, j).bytes);
      min_bytes += avatar_placement_slots_bytes (self->device, groups, encoder->schedule,
          AVATAR_MIN_SLOTS);
      if (avatar_placement_init (&placement, self->device, groups, encoder->schedule,
              available_bytes - MIN (available_bytes, fixed), NULL))
        bytes += placement.slots_bytes;
      out->host_bytes = MAX (out->host_bytes, AVATAR_STAGINGS * largest);
    }
    out->min_weight_bytes = MAX (out->min_weight_bytes, min_bytes);
    out->weight_bytes = MAX (out->weight_bytes, bytes);
  }
  out->weight_bytes = MAX (out->weight_bytes, out->min_weight_bytes);
}

void
avatar_text_encoder_plan (AvatarTextEncoder *self, guint64 available_bytes,
    AvatarTextEncoderRequirements *out)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarFlopCounts before = avatar_device_get_flop_counts (self->device), after;
  AvatarEncoding *prompts[] = { &self->prompts[0], &self->prompts[1] };

  *out = (AvatarTextEncoderRequirements){ .groups = self->n_groups };
  plan_weights (self, available_bytes, out);
  for (guint i = 0; i < N_ENCODERS; i++)
    run_encoder (self, i, &self->encoders[i].shapes, ops, NULL, prompts, self->n_prompts, NULL);
  after = avatar_device_get_flop_counts (self->device);
  out->arena_bytes = avatar_arena_peak (ops->arena);
  out->flops = ops->flops;
  out->bytes = ops->bytes;
  out->counts.linear = after.linear - before.linear;
  out->counts.attention = after.attention - before.attention;
}
