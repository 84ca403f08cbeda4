/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which prompts are not in the cache goes through LLaVA, and then through CLIP; each one's weights are
 * gone before the other's come. */
#define G_LOG_DOMAIN "avatar"
#include "engine/text/encoder.h"

#include "engine/device/device.h"
#include "engine/text/clip.h"
#include "engine/text/prompt-cache-key.h"
#include "engine/model/nan-search.h"
#include "engine/model/model.h"
#include "engine/weights/placement.h"

/* Weights of either encoder, and the handles to them; one of @llava and @clip is %NULL. */
typedef struct
{
  AvatarWeights *weights;
  AvatarLlavaWeights *llava;
  AvatarClipWeights *clip;
} Opened;

static void
opened_clear (Opened *self)
{
  g_clear_pointer (&self->weights, avatar_weights_free);
  g_clear_pointer (&self->llava, avatar_llava_weights_free);
  g_clear_pointer (&self->clip, avatar_clip_weights_free);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Opened, opened_clear)

/* One encoder. @shapes: without data, for plans */
typedef struct
{
  AvatarWeightSchedule *route;
  guint n_groups;
  Opened shapes;
} Half;

enum
{
  LLAVA,
  CLIP,
  HALVES,
};

static const AvatarComponentKind parts[HALVES] = { AVATAR_COMPONENT_LLAVA, AVATAR_COMPONENT_CLIP };

struct _AvatarTextEncoder
{
  AvatarModel *model;
  AvatarDevice *device;
  const AvatarConfig *config;
  gboolean exact_rope;
  AvatarPromptCache cache;
  AvatarEncoding prompts[2];
  guint n_prompts;
  Half halves[HALVES];
  /* of a run */
  AvatarTextProgressFunc progress;
  gpointer progress_data;
  guint done, parts;
};

/* bfloat16 would lose three bits of what the files have. */
static const AvatarWeightSettings once = { .pinned_bytes = 0, .once = TRUE, .half = TRUE };

gboolean
avatar_text_encoder_is_for (AvatarModel *model)
{
  return avatar_model_get_config (model)->text.kind == AVATAR_TEXT_LLAVA_CLIP
      && !avatar_model_get_component (model, AVATAR_COMPONENT_TEXT, NULL);
}

static gboolean
check_parts (AvatarModel *model, GError **error)
{
  static const char *const released[]
      = { "weights/ckpts/llava_llama_image of tencent/HunyuanVideo-Avatar",
          "weights/ckpts/text_encoder_2 of tencent/HunyuanVideo-Avatar" };

  for (guint i = 0; i < 2; i++)
    if (!avatar_model_get_component (model, parts[i], NULL)) {
      const char *folder = avatar_model_get_text_folder (model, AVATAR_COMPONENT_LLAVA + i);
      const char *source = avatar_model_get_text_source (model, AVATAR_COMPONENT_LLAVA + i);
      gboolean there = folder && g_file_test (folder, G_FILE_TEST_IS_DIR);

      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
          "%s: %s of a text encoder, without which no prompt can be encoded; fetch %s, or give "
          "text_states",
          folder ? folder : avatar_model_get_path (model),
          there || !folder ? "there are no weights" : "there is no such folder, which is that",
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
open_half (AvatarTextEncoder *self, guint i, AvatarWeightsMode mode, Opened *opened, GError **error)
{
  const AvatarWeightList *list;

  if (i == LLAVA) {
    opened->llava = avatar_llava_weights_new (&self->config->llava);
    list = opened->llava->list;
  } else {
    opened->clip = avatar_clip_weights_new (&self->config->clip);
    list = opened->clip->list;
  }
  opened->weights
      = avatar_weights_new (self->model, self->device, parts[i], list, &once, mode, error);
  return opened->weights != NULL;
}

static gboolean
init_halves (AvatarTextEncoder *self, GError **error)
{
  self->halves[LLAVA].route = avatar_llava_weight_schedule (&self->config->llava);
  self->halves[CLIP].route = avatar_clip_weight_schedule (&self->config->clip);
  for (guint i = 0; i < HALVES; i++) {
    if (!open_half (self, i, AVATAR_WEIGHTS_SHAPES_ONLY, &self->halves[i].shapes, error))
      return FALSE;
    self->halves[i].n_groups = avatar_weights_get_groups (self->halves[i].shapes.weights)->len - 1;
    self->parts += self->halves[i].n_groups;
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
  for (guint i = 0; i < self->n_prompts && s->longest; i++)
    avatar_encoding_init_longest (&self->prompts[i], self->config);
  if (!check_parts (model, error) || !init_halves (self, error)
      || (!s->longest && !make_ids (self, s->prompts, error)))
    return NULL;
  return g_steal_pointer (&self);
}

void
avatar_text_encoder_free (AvatarTextEncoder *self)
{
  if (!self)
    return;
  for (guint i = 0; i < HALVES; i++) {
    opened_clear (&self->halves[i].shapes);
    g_free (self->halves[i].route);
  }
  for (guint i = 0; i < self->n_prompts; i++)
    avatar_encoding_clear (&self->prompts[i]);
  g_free ((char *) self->cache.folder);
  avatar_device_unref (self->device);
  avatar_model_unref (self->model);
  g_free (self);
}

AvatarEncoding *
avatar_text_encoder_get (AvatarTextEncoder *self, guint i)
{
  return &self->prompts[i];
}

/* ------------------------------------------------------------------------------------ computing */

static void
count_part (gpointer data)
{
  AvatarTextEncoder *self = data;

  self->done++;
  if (self->progress)
    self->progress (self->done, self->parts, self->progress_data);
}

/* Runs one encoder with its weights. */
static gboolean
run_half (AvatarTextEncoder *self, guint half, const Opened *opened, AvatarOps *ops,
    const AvatarImage *square, AvatarEncoding *const *prompts, guint n, GError **error)
{
  GHashTable *tensors = avatar_model_get_component (self->model, parts[half], NULL);
  AvatarDType dtype = ops->dtype;
  gboolean done;

  ops->dtype = avatar_weights_dtype (self->device, once.half);
  if (half == LLAVA) {
    const AvatarLlava llava = { self->config, opened->weights, opened->llava, tensors,
      self->exact_rope ? AVATAR_ROPE_EXACT : AVATAR_ROPE_HALF, count_part, self };

    done = avatar_llava_run (&llava, ops, square, prompts, n, error);
  } else {
    const AvatarClip clip
        = { self->config, opened->weights, opened->clip, tensors, count_part, self };

    done = avatar_clip_run (&clip, ops, prompts, n, error);
  }
  ops->dtype = dtype;
  return done;
}

/* The same with weights that come and go. */
static gboolean
stream_half (AvatarTextEncoder *self, guint i, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error)
{
  g_auto (Opened) opened = { 0 };
  gboolean done;

  if (!open_half (self, i, AVATAR_WEIGHTS_LOAD, &opened, error))
    return FALSE;
  done = avatar_weights_set_schedule (opened.weights, ops, self->halves[i].route, error)
      && run_half (self, i, &opened, ops, square, prompts, n, error)
      && avatar_ops_check (ops, error);
  avatar_ops_finish (ops); /* before what it works on goes */
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
      "the text encoders computed NaN or infinity", "they must be too large for float16", error);
  return FALSE;
}

/* The key of prompt @i in the cache; %NULL: there is none. */
static char *
key_of (AvatarTextEncoder *self, const AvatarEncoding *prompt, const AvatarImage *square)
{
  g_autofree char *options
      = g_strdup_printf ("%s %s%s", avatar_device_get_backend (self->device)->name,
          avatar_dtype_name (avatar_weights_dtype (self->device, once.half)),
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

/* Those that are not in the cache. */
static gboolean
encode (AvatarTextEncoder *self, AvatarOps *ops, const AvatarImage *square,
    AvatarEncoding *const *prompts, guint n, GError **error)
{
  self->done = 0;
  if (self->progress)
    self->progress (0, self->parts, self->progress_data);
  for (guint i = 0; i < HALVES; i++)
    if (!stream_half (self, i, ops, square, prompts, n, error))
      return FALSE;
  for (guint i = 0; i < n; i++) {
    avatar_encoding_spread (prompts[i], prompts[i]->states, self->config->llava.hidden);
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
    g_autofree char *key = key_of (self, prompt, square);

    alloc_prompt (self, prompt);
    if (key
        && avatar_prompt_cache_load (&self->cache, key, prompt->states,
            avatar_encoding_distinct (prompt) * hidden, prompt->pooled, pooled)) {
      avatar_encoding_spread (prompt, prompt->states, hidden);
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
          avatar_encoding_distinct (missing[i]) * hidden, missing[i]->pooled, pooled);
  return TRUE;
}

/* ------------------------------------------------------------------------------------- planning */

static void
plan_weights (AvatarTextEncoder *self, guint64 room, AvatarTextEncoderNeeds *needs)
{
  for (guint i = 0; i < HALVES; i++) {
    const Half *half = &self->halves[i];
    guint64 fixed = avatar_weights_fixed_bytes (half->shapes.weights), least = fixed, most = fixed;
    GArray *units = avatar_weights_get_groups (half->shapes.weights);
    g_auto (AvatarPlacement) placing = { 0 };

    needs->read += avatar_weights_file_bytes (half->shapes.weights);
    if (avatar_device_get_backend (self->device)->discrete) {
      guint64 largest = 0;

      for (guint j = 0; j < half->n_groups; j++)
        largest = MAX (largest, g_array_index (units, AvatarWeightGroup, j).bytes);
      least += avatar_placement_slots_bytes (self->device, units, half->route, AVATAR_MIN_SLOTS);
      if (avatar_placement_init (&placing, self->device, units, half->route,
              room - MIN (room, fixed), NULL))
        most += placing.slots_bytes;
      needs->host = MAX (needs->host, AVATAR_STAGINGS * largest);
    }
    needs->least = MAX (needs->least, least);
    needs->weights = MAX (needs->weights, most);
  }
  needs->weights = MAX (needs->weights, needs->least);
}

void
avatar_text_encoder_plan (AvatarTextEncoder *self, guint64 room, AvatarTextEncoderNeeds *needs)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  AvatarFlopCounts before = avatar_device_get_flop_counts (self->device), after;
  AvatarEncoding *prompts[] = { &self->prompts[0], &self->prompts[1] };

  *needs = (AvatarTextEncoderNeeds){ .parts = self->parts };
  plan_weights (self, room, needs);
  for (guint i = 0; i < HALVES; i++)
    run_half (self, i, &self->halves[i].shapes, ops, NULL, prompts, self->n_prompts, NULL);
  after = avatar_device_get_flop_counts (self->device);
  needs->arena = avatar_arena_peak (ops->arena);
  needs->flops = ops->flops;
  needs->bytes = ops->bytes;
  needs->counts.linear = after.linear - before.linear;
  needs->counts.attention = after.attention - before.attention;
}
