/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inserts a prompt into its template and encodes both together, as upstream does. A text that is
 * too long is shortened at the end of the prompt and not after it, where the token of the portrait
 * is. */
#define G_LOG_DOMAIN "avatar"
#include "engine/text/tokenizer.h"

#include <string.h>

#define MAX_PROMPT (1u << 20)

/* Checks @prompt and puts the quality prefix before a positive one. Free with g_free(). */
static char *
prepare_prompt (const AvatarTextConfig *config, const char *prompt, AvatarPromptKind kind,
    GError **error)
{
  const char *end;

  prompt = prompt ? prompt : "";
  if (!g_utf8_validate (prompt, -1, &end)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the prompt is not valid UTF-8 at byte %" G_GSIZE_FORMAT "; convert the text to UTF-8",
        (gsize) (end - prompt));
    return NULL;
  }
  if (strlen (prompt) > MAX_PROMPT) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the prompt has %" G_GSIZE_FORMAT
        " bytes; expected at most %u, of which about 250 words are used",
        strlen (prompt), MAX_PROMPT);
    return NULL;
  }
  return g_strconcat (kind == AVATAR_PROMPT_POSITIVE ? config->quality : "", prompt, NULL);
}

/* Encodes the concatenation of four texts, without BOS. */
static GArray *
encode (const AvatarTokenizer *self, const char *first, const char *second, const char *third,
    const char *fourth)
{
  GArray *ids = g_array_new (FALSE, FALSE, sizeof (gint32));
  g_autofree char *text = g_strconcat (first, second, third, fourth, NULL);

  avatar_tokenizer_encode (self, text, strlen (text), ids);
  return ids;
}

/* Encodes the same after BOS. */
static GArray *
encode_with_bos (const AvatarTokenizer *self, const char *first, const char *second,
    const char *third, const char *fourth)
{
  GArray *ids = encode (self, first, second, third, fourth);

  return g_array_prepend_val (ids, self->bos);
}

/* ---------------------------------------------------------------------------------------- LLaVA */

guint
avatar_tokens_count_head (const AvatarTokenizer *self, const AvatarTextConfig *config)
{
  g_autoptr (GArray) head = encode_with_bos (self, config->template_head, "", "", "");

  return head->len;
}

static gboolean
check_head (const AvatarTokenizer *self, const AvatarTextConfig *c, GError **error)
{
  guint n = avatar_tokens_count_head (self, c);

  if (n == c->crop_start)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: the template before the prompt has %u ids with this tokenizer, but crop_start in the "
      "configuration is %u; use the tokenizer that the transformer was trained with, or set "
      "\"text\": {\"crop_start\": %u} in the configuration",
      self->name, n, c->crop_start, n);
  return FALSE;
}

/* Checks that the suffix ends with an added token, which represents the portrait. *@image is set to
 * its id. */
static gboolean
check_tail (const AvatarTokenizer *self, const AvatarTextConfig *c, const GArray *tail,
    gint32 *image, GError **error)
{
  *image = tail->len > 0 ? g_array_index (tail, gint32, tail->len - 1) : -1;
  for (guint i = 0; i < avatar_added_tokens_n (self->added); i++) {
    const AvatarAddedToken *token = avatar_added_tokens_nth (self->added, i);

    if (token->id == *image && g_str_has_suffix (c->suffix, token->name)) {
      if (tail->len + c->crop_start < c->max_length)
        return TRUE;
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
          "%s: the template before and after the prompt has %u ids with this tokenizer, but "
          "max_length in the configuration is %u; expected a larger max_length",
          self->name, tail->len + c->crop_start, c->max_length);
      return FALSE;
    }
  }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: the suffix \"%s\" does not end with a token of added_tokens; expected <image>, as in the "
      "tokenizer of the release",
      self->name, c->suffix);
  return FALSE;
}

/* Makes at most max_length ids. The last ids of a prompt that is too long are dropped. */
static GArray *
make_ids (const AvatarTokenizer *self, const AvatarTextConfig *c, const char *prompt,
    const GArray *tail, guint *dropped)
{
  GArray *whole = encode_with_bos (self, c->template_head, prompt, c->template_tail, c->suffix);
  GArray *cut;

  *dropped = 0;
  if (whole->len <= c->max_length)
    return whole;
  g_array_unref (whole);
  cut = encode_with_bos (self, c->template_head, prompt, "", "");
  /* false only if the tail merges with the prompt */
  if (cut->len + tail->len > c->max_length) {
    *dropped = cut->len + tail->len - c->max_length;
    g_array_set_size (cut, c->max_length - tail->len);
  }
  g_array_append_vals (cut, tail->data, tail->len);
  return cut;
}

gboolean
avatar_tokens_llava (const AvatarTokenizer *self, const AvatarTextConfig *config,
    const char *prompt, AvatarPromptKind kind, AvatarLlavaTokens *out, GError **error)
{
  g_autofree char *text = prepare_prompt (config, prompt, kind, error);
  g_autoptr (GArray) tail = NULL, ids = NULL;
  gint32 image;

  g_return_val_if_fail (self->kind == AVATAR_TOKENIZER_LLAMA, FALSE);
  *out = (AvatarLlavaTokens){ 0 };
  if (!text || !check_head (self, config, error))
    return FALSE;
  tail = encode (self, config->template_tail, config->suffix, "", "");
  if (!check_tail (self, config, tail, &image, error))
    return FALSE;
  ids = make_ids (self, config, text, tail, &out->dropped);
  for (guint i = 0; i + 1 < ids->len; i++)
    if (g_array_index (ids, gint32, i) == image) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "the prompt contains the token of the portrait (id %d, <image> in the release), which is "
          "added automatically and once; remove it from the prompt",
          image);
      return FALSE;
    }
  if (out->dropped)
    g_debug ("the prompt is %u tokens too long; its end was dropped", out->dropped);
  out->n = ids->len;
  out->length = config->max_length;
  out->crop = config->crop_start;
  out->ids = (gint32 *) g_array_free (g_steal_pointer (&ids), FALSE);
  return TRUE;
}

void
avatar_llava_tokens_clear (AvatarLlavaTokens *tokens)
{
  g_free (tokens->ids);
  *tokens = (AvatarLlavaTokens){ 0 };
}

/* ----------------------------------------------------------------------------------------- CLIP */

gboolean
avatar_tokens_clip (const AvatarTokenizer *self, const AvatarTextConfig *config, const char *prompt,
    AvatarPromptKind kind, AvatarClipTokens *out, GError **error)
{
  g_autofree char *text = prepare_prompt (config, prompt, kind, error);
  g_autoptr (GArray) ids = NULL;

  g_return_val_if_fail (self->kind == AVATAR_TOKENIZER_CLIP, FALSE);
  *out = (AvatarClipTokens){ 0 };
  if (!text)
    return FALSE;
  ids = encode_with_bos (self, text, "", "", "");
  if (ids->len > config->clip_length - 1) {
    out->dropped = ids->len - (config->clip_length - 1);
    g_debug ("the prompt is %u CLIP tokens too long; its end was dropped", out->dropped);
    g_array_set_size (ids, config->clip_length - 1);
  }
  while (ids->len < config->clip_length)
    g_array_append_val (ids, self->eos);
  while (g_array_index (ids, gint32, out->eos) != self->eos)
    out->eos++;
  out->n = ids->len;
  out->ids = (gint32 *) g_array_free (g_steal_pointer (&ids), FALSE);
  return TRUE;
}

void
avatar_clip_tokens_clear (AvatarClipTokens *tokens)
{
  g_free (tokens->ids);
  *tokens = (AvatarClipTokens){ 0 };
}
