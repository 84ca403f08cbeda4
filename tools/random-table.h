/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tokens and merges of a random byte-level BPE tokenizer. Every merge is of two tokens and makes a
 * third, which has its id before the merges of the next. */
#pragma once

#include <glib.h>

/**
 * RandomTable:
 * @names: of tokens, by id
 * @merges: "left right", by rank
 * @ending: what the name of a piece's last byte has behind it: "" or CLIP's "</w>"
 * @most: tokens that there may be
 */
typedef struct
{
  GPtrArray *names;
  GHashTable *known; /* the same */
  GPtrArray *merges;
  const char *ending;
  guint most;
} RandomTable;

/* The tokens of bytes alone. @ending must outlive the table. Free with random_table_clear(). */
RandomTable random_table_new (guint most, const char *ending);
void random_table_clear (RandomTable *self);
/* TRUE: it has an id now, or had one. */
gboolean random_table_add (RandomTable *self, const char *name);
/* The merges that make one token of @piece, @n bytes, from its first byte on, while there is room. */
void random_table_spell (RandomTable *self, const char *piece, gsize n);
/* Fills the table with tokens that no text has. */
void random_table_pad (RandomTable *self);
/* Fills the table with words of an invented language until it has @most tokens and exactly @n_merges
 * merges; there must be at least one for each token to come. Where there are more, tokens can be made in
 * several ways, as in LLaMA-3's. */
void random_table_grow (RandomTable *self, guint n_merges, guint64 seed);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RandomTable, random_table_clear)
