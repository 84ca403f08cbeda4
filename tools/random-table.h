/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tokens and merges of a random byte-level BPE tokenizer. Each merge joins two tokens into a third,
 * which gets its id before the merges of the next token. */
#pragma once

#include <glib.h>

/**
 * RandomTable: tokens and merges of a tokenizer
 * @names: names of the tokens, by id
 * @merges: "left right", by rank
 * @ending: suffix of the last token of a piece: "" or CLIP's "</w>"
 * @max_tokens: maximum number of tokens
 */
typedef struct
{
  GPtrArray *names;
  GHashTable *known; /* set of @names */
  GPtrArray *merges;
  const char *ending;
  guint max_tokens;
} RandomTable;

/* Initialises the table with the tokens of single bytes. @ending must outlive the table. Free with
 * random_table_clear(). */
RandomTable random_table_new (guint max_tokens, const char *ending);
void random_table_clear (RandomTable *self);
/* Returns: TRUE if the token has an id, new or old. */
gboolean random_table_add (RandomTable *self, const char *name);
/* Adds the merges that make one token of @piece, @n bytes, from left to right, until the
 * table is full. */
void random_table_spell (RandomTable *self, const char *piece, gsize n);
/* Fills the table with tokens that occur in no text. */
void random_table_pad (RandomTable *self);
/* Fills the table with words of an invented language until it has @max_tokens tokens and exactly
 * @n_merges merges, at least one for each new token. With more merges than tokens, some tokens can
 * be made in several ways, as in LLaMA-3's tokenizer. */
void random_table_grow (RandomTable *self, guint n_merges, guint64 seed);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RandomTable, random_table_clear)
