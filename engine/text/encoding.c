/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Assigns the rows of the encoder (docs/dev/spec/vae-text-face-formats.md 2.5, 2.7). The token of
 * the image, the last one, becomes image_tokens rows. length - n rows of padding follow. The first
 * crop rows, which are equal in all prompts, are removed. */
#include "engine/text/encoding.h"

#include <string.h>

/* Sets the row counts and the mask. The mask is upstream's: the mask of the ids, with ones appended
 * for the rows that the portrait adds. Its sum is correct, but its positions are not: the first
 * rows of the portrait count as padding, and rows of padding as the rest of the portrait. The
 * refiner, which uses it, was trained with such masks. */
static void
find_rows (AvatarEncoding *self, const AvatarConfig *config)
{
  const AvatarLlavaTokens *t = &self->llava;
  guint more = config->text.image_tokens - 1;

  self->valid = t->n + more;
  self->padded = t->n < t->length;
  self->n = t->length + more - t->crop;
  self->used = self->valid - t->crop;
  self->mask = g_new (guint8, self->n);
  for (guint i = 0; i < self->n; i++)
    self->mask[i] = i + t->crop < t->n || i + t->crop >= t->length;
}

static gboolean
check_ids (const char *what, const gint32 *ids, guint n, guint vocab, GError **error)
{
  for (guint i = 0; i < n; i++)
    if (ids[i] < 0 || (guint) ids[i] >= vocab) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s's tokenizer has the id %d, but its weights have %u rows; the two do not belong "
          "together: download both from one source",
          what, ids[i], vocab);
      return FALSE;
    }
  return TRUE;
}

static gboolean
check (const AvatarEncoding *self, const AvatarConfig *config, GError **error)
{
  const AvatarLlavaTokens *t = &self->llava;

  if (t->n <= t->crop || t->n > t->length) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "the prompt has %u ids with its template; expected %u to %u; text.crop_start and the "
        "template do not belong together",
        t->n, t->crop + 1, t->length);
    return FALSE;
  }
  if (t->ids[t->n - 1] != (gint32) config->llava.image_token) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "the tokenizer of LLaVA has the id %d for the token of the image, but image_token_index in "
        "its config.json is %u; download both from one source",
        t->ids[t->n - 1], config->llava.image_token);
    return FALSE;
  }
  return check_ids ("LLaVA", t->ids, t->n - 1, config->llava.vocab, error)
      && check_ids ("CLIP", self->clip.ids, self->clip.n, config->clip.vocab, error);
}

gboolean
avatar_encoding_init (AvatarEncoding *self, const AvatarConfig *config, AvatarLlavaTokens *llava,
    AvatarClipTokens *clip, GError **error)
{
  *self = (AvatarEncoding){ .llava = *llava, .clip = *clip };
  *llava = (AvatarLlavaTokens){ 0 };
  *clip = (AvatarClipTokens){ 0 };
  if (!check (self, config, error))
    return FALSE;
  find_rows (self, config);
  return TRUE;
}

void
avatar_encoding_init_max_length (AvatarEncoding *self, const AvatarConfig *config)
{
  const AvatarTextConfig *c = &config->text;

  *self = (AvatarEncoding){
    .llava = { .n = c->max_length, .length = c->max_length, .crop = c->crop_start },
    .clip = { .n = c->clip_length, .eos = c->clip_length - 1 },
  };
  find_rows (self, config);
}

guint
avatar_encoding_count_distinct (const AvatarEncoding *self)
{
  return self->used + (self->padded ? 1 : 0);
}

void
avatar_encoding_expand (const AvatarEncoding *self, float *states, gsize width)
{
  for (gsize i = self->used + 1; i < self->n; i++)
    memcpy (states + i * width, states + self->used * width, width * sizeof (float));
}

void
avatar_encoding_clear (AvatarEncoding *self)
{
  avatar_llava_tokens_clear (&self->llava);
  avatar_clip_tokens_clear (&self->clip);
  g_clear_pointer (&self->mask, g_free);
  g_clear_pointer (&self->states, g_free);
  g_clear_pointer (&self->pooled, g_free);
}
