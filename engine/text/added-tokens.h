/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Added tokens: strings that are an id as they stand, wherever they stand in a text. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarAddedToken:
 * @strip_before, @strip_behind: white space on that side of it belongs to it
 * @late: looked for only in what the others leave ("normalized" in tokenizer.json)
 */
typedef struct
{
  char *name;
  gint32 id;
  gboolean strip_before, strip_behind, late;
} AvatarAddedToken;

typedef struct _AvatarAdded AvatarAddedTokens;

AvatarAddedTokens *avatar_added_tokens_new (void);
void avatar_added_tokens_free (AvatarAddedTokens *self);
/* A copy of @token, whose name is not empty. FALSE: one has this name already. */
gboolean avatar_added_tokens_add (AvatarAddedTokens *self, const AvatarAddedToken *token);
/* The one of this name, or NULL. */
const AvatarAddedToken *avatar_added_tokens_find (const AvatarAddedTokens *self, const char *name);
guint avatar_added_tokens_n (const AvatarAddedTokens *self);
const AvatarAddedToken *avatar_added_tokens_nth (const AvatarAddedTokens *self, guint i);

/* @token: NULL: a stretch of text that has none */
typedef void (
    *AvatarAddedFunc) (const char *text, gsize n, const AvatarAddedToken *token, gpointer data);

/* Calls @func for all of @text in order, never for an empty stretch. The leftmost token wins, and of
 * those that begin at one place the longest. */
void avatar_added_tokens_split (const AvatarAddedTokens *self, const char *text, gsize n,
    AvatarAddedFunc func, gpointer data);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarAddedTokens, avatar_added_tokens_free)

G_END_DECLS
