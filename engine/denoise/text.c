/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two texts of a denoiser: its prompts, encoded, or what is given in their place. */
#include "engine/denoise/stage.h"
#include "engine/text/text.h"
#include "engine/weights/model.h"

/* Rows of text that may be given; the released model has 831. */
#define MAX_TEXT 4096

static gboolean
copy_texts (AvatarDenoiser *self, const AvatarTextStates *texts, GError **error)
{
  const AvatarTransformerConfig *c = self->transformer.config;

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

static gboolean
encode_texts (AvatarDenoiser *self, GError **error)
{
  const char *const prompts[2] = { self->settings.prompt, self->settings.negative_prompt };
  gboolean encoder = avatar_model_get_part (self->model, "text", NULL) != NULL;

  for (guint i = 0; i < 2; i++) {
    AvatarText *text = &self->conditions.text[i];
    float *states = NULL, *pooled = NULL;
    guint n = avatar_model_get_config (self->model)->text.max_states;

    /* a plan needs no more than the length, at the most */
    if ((encoder || !self->dry)
        && !avatar_text_encode (self->model, prompts[i] ? prompts[i] : "", &states, &n, &pooled,
            error))
      return FALSE;
    *text = (AvatarText){ .states = states, .pooled = pooled, .n = n, .used = n };
  }
  return TRUE;
}

gboolean
avatar_denoiser_take_texts (AvatarDenoiser *self, const AvatarTextStates *texts, GError **error)
{
  return texts ? copy_texts (self, texts, error) : encode_texts (self, error);
}
