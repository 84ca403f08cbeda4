/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text states of the positive and of the negative prompt: copied from the settings, computed by the
 * text encoders, or looked up in the byte table of a model without them. */
#include "engine/denoise/conditioning.h"
#include "engine/text/text.h"
#include "engine/model/model.h"

#include <string.h>

/* Largest number of rows of a text; the released model has 831. */
#define MAX_TEXT 4096

/* Copies @texts [2], after checking their lengths. */
static gboolean
copy_texts (AvatarConditioning *self, const AvatarTextStates *texts, GError **error)
{
  const AvatarTransformerConfig *c = &avatar_model_get_config (self->model)->transformer;

  for (guint i = 0; i < 2; i++) {
    const AvatarTextStates *t = &texts[i];

    if (!t->states || !t->pooled || t->n < 1 || t->n > MAX_TEXT || t->used < 1 || t->used > t->n) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "text_states [%u] has %u rows, of which %u are used; expected states, a pooled vector, 1 "
          "to %d rows, and 1 to all of them in use",
          i, t->n, t->used, MAX_TEXT);
      return FALSE;
    }
    self->conditions.text[i] = (AvatarText){
      .states = g_memdup2 (t->states, (gsize) t->n * c->text_dim * sizeof (float)),
      .pooled = g_memdup2 (t->pooled, c->pooled_dim * sizeof (float)),
      .mask = g_memdup2 (t->mask, t->n),
      .n = t->n,
      .used = t->used,
    };
  }
  return TRUE;
}

/* Returns the number of prompts; the negative one is used by guidance only. */
static guint
count_prompts (AvatarConditioning *self)
{
  return self->settings->guidance_scale > 1 ? 2 : 1;
}

/* Looks up text states in the byte table of models without encoders. */
static gboolean
encode_bytes (AvatarConditioning *self, GError **error)
{
  const char *const prompts[2] = { self->settings->prompt, self->settings->negative_prompt };
  gboolean encoder = avatar_model_get_component (self->model, AVATAR_COMPONENT_TEXT, NULL) != NULL;

  for (guint i = 0; i < 2; i++) {
    AvatarText *text = &self->conditions.text[i];
    float *states = NULL, *pooled = NULL;
    guint n = avatar_model_get_config (self->model)->text.max_states;

    /* a plan without the table uses the largest length */
    if ((encoder || self->use == AVATAR_DENOISER_RUN)
        && !avatar_text_encode (self->model, prompts[i] ? prompts[i] : "", &states, &n, &pooled,
            error))
      return FALSE;
    *text = (AvatarText){ .states = states, .pooled = pooled, .n = n, .used = n };
    if (states && prompts[i] && (i == 0 || count_prompts (self) > 1))
      self->truncations[i].language = strlen (prompts[i]) + 1 - n;
  }
  return TRUE;
}

static gboolean
has_encoders (AvatarConditioning *self)
{
  return avatar_model_get_component (self->model, AVATAR_COMPONENT_LLAVA, NULL)
      && avatar_model_get_component (self->model, AVATAR_COMPONENT_CLIP, NULL);
}

/* Opens the encoder and sets the number of rows of its results. */
static gboolean
open_encoder (AvatarConditioning *self, GError **error)
{
  const AvatarDenoiseSettings *s = self->settings;
  g_autofree char *folder = s->prompt_cache_dir ? g_strdup (s->prompt_cache_dir)
                                                : avatar_prompt_cache_get_default_folder ();
  const AvatarTextEncoderSettings settings = {
    .prompts = { s->prompt, s->negative_prompt },
    .n_prompts = count_prompts (self),
    .exact_rope = s->exact_rope,
    .max_length = self->use == AVATAR_DENOISER_PLAN && !s->prompt,
    .cache = { strcmp (folder, "none") == 0 ? NULL : folder, s->prompt_cache_bytes },
  };

  self->text = avatar_text_encoder_new (self->model, self->device, &settings, error);
  if (!self->text)
    return FALSE;
  for (guint i = 0; i < settings.n_prompts; i++) {
    const AvatarEncoding *e = avatar_text_encoder_get_encoding (self->text, i);

    self->truncations[i]
        = (AvatarPromptTruncation){ .language = e->llava.dropped, .clip = e->clip.dropped };
  }
  for (guint i = 0; i < 2; i++) {
    const AvatarEncoding *e
        = avatar_text_encoder_get_encoding (self->text, MIN (i, settings.n_prompts - 1));

    self->conditions.text[i]
        = (AvatarText){ .mask = g_memdup2 (e->mask, e->n), .n = e->n, .used = e->used };
  }
  return TRUE;
}

gboolean
avatar_conditioning_set_texts (AvatarConditioning *self, const AvatarTextStates *texts,
    GError **error)
{
  if (texts)
    return copy_texts (self, texts, error);
  /* a plan uses the encoders only if their files exist */
  if (avatar_model_has_text_encoder (self->model)
      && (self->use == AVATAR_DENOISER_RUN || has_encoders (self)))
    return open_encoder (self, error);
  return encode_bytes (self, error);
}

/* Converts progress of the text encoder. */
static void
report (guint done, guint parts, gpointer data)
{
  const AvatarDenoiserProgress *progress = data;
  AvatarProgress now = { AVATAR_PROGRESS_TEXT, 0, done, parts };

  if (progress->func)
    progress->func (&now, progress->data);
}

/* Rounds the texts to 16 bits, the format in which upstream's encoders return them. */
static void
round_texts (AvatarConditioning *self)
{
  const AvatarTransformerConfig *c = &avatar_model_get_config (self->model)->transformer;

  for (guint i = 0; i < 2 && self->settings->upstream_rounding; i++) {
    AvatarText *text = &self->conditions.text[i];

    if (text->states)
      avatar_dtype_round ((float *) text->states, (gsize) text->n * c->text_dim, AVATAR_F16);
    if (text->pooled)
      avatar_dtype_round ((float *) text->pooled, c->pooled_dim, AVATAR_F16);
  }
}

/* Sets states and pooled vectors of the texts to those that the encoder has computed. */
static void
set_encodings (AvatarConditioning *self)
{
  for (guint i = 0; i < count_prompts (self); i++) {
    AvatarText *text = &self->conditions.text[i];
    AvatarEncoding *e = avatar_text_encoder_get_encoding (self->text, i);

    g_free ((float *) text->states);
    g_free ((float *) text->pooled);
    text->states = g_steal_pointer (&e->states);
    text->pooled = g_steal_pointer (&e->pooled);
  }
}

gboolean
avatar_conditioning_encode_texts (AvatarConditioning *self, AvatarDenoiserMemory *memory,
    const AvatarImage *image, const AvatarDenoiserProgress *progress, GError **error)
{
  if (self->text) {
    /* frees results for the old texts, and memory for the encoder's weights */
    avatar_ops_finish (memory->ops);
    avatar_window_clear (memory->window);
    avatar_weights_drop_schedule (memory->weights);
    avatar_ops_release (memory->ops, 0);
    if (!avatar_text_encoder_run (self->text, memory->ops, image, report, (gpointer) progress,
            error))
      return FALSE;
    set_encodings (self);
  }
  round_texts (self);
  return TRUE;
}

void
avatar_conditioning_plan_texts (AvatarConditioning *self, guint64 available_bytes,
    AvatarTextEncoderRequirements *needs)
{
  *needs = (AvatarTextEncoderRequirements){ 0 };
  if (self->text)
    avatar_text_encoder_plan (self->text, available_bytes, needs);
}
