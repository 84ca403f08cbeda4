/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Byte-level byte pair encoding (Sennrich et al. 2016; Radford et al. 2019): a piece of text begins as
 * the tokens of its bytes, and neighbours are merged, the pair of the lowest rank first. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef struct _AvatarBpe AvatarBpe;

/**
 * AvatarBpeRules:
 * @ending: (nullable): what the name of a piece's last byte has behind it: CLIP's "</w>"
 * @in_passes: every occurrence of a pair is merged before another is looked at, as CLIP's tokenizer
 *   does it; else what the first of them makes possible may come before the second, as in the library
 *   tokenizers. Of tables that training has made the two hardly ever differ
 * @ignore_merges: a piece that is a token as a whole is that token
 */
typedef struct
{
  const char *ending;
  gboolean in_passes, ignore_merges;
} AvatarBpeRules;

AvatarBpe *avatar_bpe_new (const AvatarBpeRules *rules);
void avatar_bpe_free (AvatarBpe *self);

/* Names are written in GPT-2's alphabet, one character a byte, as files have them, and have a
 * length in bytes: they need no 0 behind them. FALSE: there is one already. */
gboolean avatar_bpe_add_token (AvatarBpe *self, const char *name, gsize n, gint32 id);
/* The next rank is that of @left and @right. FALSE: they, or what they make, are no tokens. A pair
 * that is given again has the later rank. */
gboolean avatar_bpe_add_merge (AvatarBpe *self, const char *left, gsize n_left, const char *right,
    gsize n_right);
/* To be called after the last token. The first byte without a token; -1: all have theirs. */
int avatar_bpe_finish (AvatarBpe *self);

/* -1: there is none of this name. */
gint32 avatar_bpe_find (const AvatarBpe *self, const char *name);
guint avatar_bpe_n_tokens (const AvatarBpe *self);
guint avatar_bpe_n_merges (const AvatarBpe *self);
/* The name of one byte: a character of GPT-2's alphabet. */
void avatar_bpe_name_byte (guint8 byte, GString *out);

/* Appends the ids (gint32) of @piece, any @n bytes, to @ids. O(n log n). */
void avatar_bpe_encode (const AvatarBpe *self, const char *piece, gsize n, GArray *ids);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarBpe, avatar_bpe_free)

G_END_DECLS
