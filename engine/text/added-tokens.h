/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Added tokens: strings that are one token each, at any place of a text, as in the Python library
 * tokenizers. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarAddedToken:
 * @name: the string
 * @id: its id
 * @strip_left, @strip_right: the token includes the white space on that side (lstrip, rstrip)
 * @normalized: the token is matched in the text between the other added tokens only
 */
typedef struct
{
  char *name;
  gint32 id;
  gboolean strip_left, strip_right, normalized;
} AvatarAddedToken;

typedef struct _AvatarAddedTokens AvatarAddedTokens;

AvatarAddedTokens *avatar_added_tokens_new (void);
void avatar_added_tokens_free (AvatarAddedTokens *self);
/* Adds a copy of @token, whose name is not empty. Returns FALSE if the name exists already. */
gboolean avatar_added_tokens_add (AvatarAddedTokens *self, const AvatarAddedToken *token);
/* Returns: (transfer none) (nullable): the token @name */
const AvatarAddedToken *avatar_added_tokens_find (const AvatarAddedTokens *self, const char *name);
guint avatar_added_tokens_n (const AvatarAddedTokens *self);
const AvatarAddedToken *avatar_added_tokens_nth (const AvatarAddedTokens *self, guint i);

/* Receives a piece of the text.
 * @token: (nullable): the token that the piece is; NULL for text between added tokens */
typedef void (*AvatarAddedTokensFunc) (const char *text, gsize n, const AvatarAddedToken *token,
    gpointer data);

/* Splits @text, @n bytes, and calls @func for each piece in order; no piece is empty. The leftmost
 * token is matched first, and of tokens that start at the same place, the longest. */
void avatar_added_tokens_split (const AvatarAddedTokens *self, const char *text, gsize n,
    AvatarAddedTokensFunc func, gpointer data);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarAddedTokens, avatar_added_tokens_free)

G_END_DECLS
