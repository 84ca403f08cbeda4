/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encodes a text: splits it at added tokens, splits the remaining text into pieces, and encodes the
 * pieces by BPE. Both tokenizers share this code. */
#include "engine/text/tokenizer.h"

#include "engine/text/clip-text-normalize.h"
#include "engine/text/pre-tokenizer.h"

#include <string.h>

AvatarTokenizer *
avatar_tokenizer_new (AvatarTokenizerKind kind, const char *name, const AvatarBpeRules *rules)
{
  AvatarTokenizer *self = g_new0 (AvatarTokenizer, 1);

  self->kind = kind;
  self->name = g_strdup (name);
  self->bpe = avatar_bpe_new (rules);
  self->added = avatar_added_tokens_new ();
  self->bos = self->eos = -1;
  return self;
}

void
avatar_tokenizer_free (AvatarTokenizer *self)
{
  if (!self)
    return;
  avatar_added_tokens_free (self->added);
  avatar_bpe_free (self->bpe);
  g_free (self->name);
  g_free (self);
}

guint
avatar_tokenizer_get_n_ids (const AvatarTokenizer *self)
{
  return self->n_ids;
}

gint32
avatar_tokenizer_find (const AvatarTokenizer *self, const char *name)
{
  const AvatarAddedToken *added = avatar_added_tokens_find (self->added, name);

  return added ? added->id : avatar_bpe_find (self->bpe, name);
}

/* Adds a token of the vocabulary.
 * @id: -1 if it is not a whole number */
static gboolean
add_token (AvatarTokenizer *self, AvatarJsonText name, gint32 id, GError **error)
{
  int shown = MIN (name.n, 100);

  if (id < 0 || id > AVATAR_MAX_TOKEN_ID || name.n == 0)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: the token \"%.*s\" has no valid id; expected a whole number from 0 to %d", self->name,
        shown, name.text, AVATAR_MAX_TOKEN_ID);
  else if (avatar_bpe_n_tokens (self->bpe) == AVATAR_MAX_TOKENIZER_ENTRIES)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: more than %u tokens; expected at most as many", self->name,
        AVATAR_MAX_TOKENIZER_ENTRIES);
  else if (!avatar_bpe_add_token (self->bpe, name.text, name.n, id))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: the token \"%.*s\" occurs twice; expected each token once", self->name, shown,
        name.text);
  else {
    self->n_ids = MAX (self->n_ids, (guint) id + 1);
    return TRUE;
  }
  return FALSE;
}

static gboolean
check_bytes (AvatarTokenizer *self, GError **error)
{
  int missing = avatar_bpe_finish (self->bpe);

  if (missing < 0)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: the vocabulary has no token for the byte 0x%02x; expected one for each of the 256 "
      "bytes, as in byte-level BPE%s",
      self->name, missing,
      self->kind == AVATAR_TOKENIZER_CLIP ? ", both with and without </w>" : "");
  return FALSE;
}

gboolean
avatar_tokenizer_read_vocabulary (AvatarTokenizer *self, const char *json, gsize length,
    GError **error)
{
  AvatarJsonCursor cursor = avatar_json_cursor (json, length);
  g_autoptr (GString) scratch = g_string_new (NULL);
  AvatarJsonText name;
  gint32 id;

  avatar_json_cursor_enter (&cursor, '{');
  while (
      avatar_json_cursor_next (&cursor, '}') && avatar_json_cursor_name (&cursor, scratch, &name)) {
    if (!avatar_json_cursor_count (&cursor, &id))
      id = -1;
    if (!add_token (self, name, id, error))
      return FALSE;
  }
  if (avatar_json_cursor_finish (&cursor))
    return check_bytes (self, error);
  avatar_json_cursor_set_error (&cursor, self->name, error);
  return FALSE;
}

gboolean
avatar_tokenizer_split_merge (const char *text, gsize n, AvatarJsonText pair[2])
{
  const char *end = text + n, *space = memchr (text, ' ', n);

  if (!space || memchr (space + 1, ' ', end - space - 1))
    return FALSE;
  pair[0] = (AvatarJsonText){ text, space - text };
  pair[1] = (AvatarJsonText){ space + 1, end - space - 1 };
  return pair[0].n > 0 && pair[1].n > 0;
}

typedef struct
{
  const AvatarTokenizer *self;
  GArray *ids;
} Encoder;

static void
encode_piece (const char *piece, gsize n, gpointer data)
{
  Encoder *e = data;

  if (e->self->kind == AVATAR_TOKENIZER_CLIP && n > 4 && piece[0] == '<') {
    /* a special token in other case, which is in lower case after normalisation */
    g_autofree char *name = g_strndup (piece, n);
    const AvatarAddedToken *token = avatar_added_tokens_find (e->self->added, name);

    if (token) {
      g_array_append_val (e->ids, token->id);
      return;
    }
  }
  avatar_bpe_encode (e->self->bpe, piece, n, e->ids);
}

static void
encode_part (const char *text, gsize n, const AvatarAddedToken *token, gpointer data)
{
  Encoder *e = data;

  if (token) {
    g_array_append_val (e->ids, token->id);
  } else if (e->self->kind == AVATAR_TOKENIZER_CLIP) {
    g_autofree char *normalized = avatar_clip_normalize (text, n);

    avatar_pre_tokenize_clip (normalized, strlen (normalized), encode_piece, e);
  } else {
    avatar_pre_tokenize_llama (text, n, encode_piece, e);
  }
}

void
avatar_tokenizer_encode (const AvatarTokenizer *self, const char *text, gsize n, GArray *ids)
{
  Encoder e = { self, ids };

  avatar_added_tokens_split (self->added, text, n, encode_part, &e);
}
