/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Byte-level byte pair encoding (Sennrich et al. 2016; Radford et al. 2019). A piece of text starts
 * as the tokens of its bytes. Adjacent tokens are merged, in the order of the ranks of pairs. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct _AvatarBpe AvatarBpe;

/**
 * AvatarBpeRules:
 * @word_suffix: (nullable): suffix of the name of a piece's last byte, e.g. "</w>" of CLIP
 * @in_passes: merges all occurrences of a pair before other pairs, as CLIP's tokenizer does.
 *   Otherwise a pair that the merge of one occurrence creates may precede the next occurrence, as
 *   in the Python library tokenizers. With trained tables the results hardly ever differ
 * @ignore_merges: a piece that is a token as a whole is not split into bytes
 */
typedef struct
{
  const char *word_suffix;
  gboolean in_passes, ignore_merges;
} AvatarBpeRules;

AvatarBpe *avatar_bpe_new (const AvatarBpeRules *rules);
void avatar_bpe_free (AvatarBpe *self);

/* Adds a token. @name has @n bytes, need not be terminated, and is written in GPT-2's alphabet,
 * with one character for each byte. Returns FALSE if the name exists already. */
gboolean avatar_bpe_add_token (AvatarBpe *self, const char *name, gsize n, gint32 id);
/* Gives the next rank to the pair of @left and @right. A pair that was added before gets the new
 * rank. Returns FALSE if one of the names, or their concatenation, is not a token. */
gboolean avatar_bpe_add_merge (AvatarBpe *self, const char *left, gsize n_left, const char *right,
    gsize n_right);
/* Completes the table after the last token. Returns the first byte without a token, or -1. */
int avatar_bpe_finish (AvatarBpe *self);

/* Returns the id of the token @name, or -1. */
gint32 avatar_bpe_find (const AvatarBpe *self, const char *name);
guint avatar_bpe_n_tokens (const AvatarBpe *self);
guint avatar_bpe_n_merges (const AvatarBpe *self);
/* Appends the name of one byte, a character of GPT-2's alphabet, to @out. */
void avatar_bpe_name_byte (guint8 byte, GString *out);

/* Appends the ids (gint32) of @piece, @n bytes of any value, to @ids. Takes O(n log n) time. */
void avatar_bpe_encode (const AvatarBpe *self, const char *piece, gsize n, GArray *ids);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarBpe, avatar_bpe_free)

G_END_DECLS
