/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names are looked up when a table is read; encoding uses ids only. The symbols of a piece are a
 * linked list in an array, and the pairs that can be merged are in a heap, by rank and position.
 *
 * Hundreds of thousands of tokens and merges are stored in arrays. Hash tables hold their indices,
 * which avoids an allocation for each entry. Hashes have a random factor, so that a malicious file
 * cannot contain many names with the same hash. */
#include "engine/text/bpe.h"

#include <string.h>

#define NONE G_MAXUINT32
#define FIRST_BITS 10

typedef struct
{
  guint32 start, n; /* position and length of the name in AvatarBpe.names */
  guint32 hash;
  gint32 id;
} Token;

typedef struct
{
  guint64 pair; /* left id << 32 | right id */
  guint32 rank;
  gint32 id; /* id of the merged token */
} Merge;

/* Hash table with linear probing. A slot holds the index of an array entry plus 1, or 0. At least
 * half of the slots are 0. */
typedef struct
{
  guint32 *slots;
  guint bits;
} Index;

struct _AvatarBpe
{
  char *word_suffix;
  gboolean in_passes, ignore_merges;
  guint64 factor; /* odd */
  GString *names; /* concatenated */
  GArray *tokens; /* Token */
  GArray *merges; /* Merge */
  Index by_name, by_pair;
  gsize max_name; /* length of the longest name in bytes */
  guint32 next_rank;
  gint32 first[256], last[256]; /* ids of bytes within a piece, and at its end */
};

typedef struct
{
  gint32 id; /* -1: merged into the symbol before */
  guint32 before, after;
} Symbol;

/* A pair that can be merged, unless one of its symbols has been merged since. */
typedef struct
{
  const Merge *merge;
  guint32 at; /* index of the left symbol */
} Candidate;

typedef struct
{
  const AvatarBpe *bpe;
  GArray *symbols; /* Symbol */
  GArray *heap;    /* Candidate, lowest rank first */
  GArray *pending; /* Candidate, found in this pass for the next one */
} Work;

/* --------------------------------------------------------------------------------------- tables */

static guint64
pair_of (gint32 left, gint32 right)
{
  return (guint64) (guint32) left << 32 | (guint32) right;
}

/* Continues @hash with @n bytes. The hash of no bytes is 0. */
static guint64
hash_bytes (const AvatarBpe *self, guint64 hash, const char *bytes, gsize n)
{
  for (gsize i = 0; i < n; i++)
    hash = (hash ^ (guint8) bytes[i]) * self->factor;
  return hash;
}

static guint32
hash_pair (const AvatarBpe *self, guint64 pair)
{
  return (pair * self->factor) >> 32;
}

/* Returns the slot where the search for @hash starts. */
static guint32
first_slot (const Index *index, guint32 hash)
{
  return hash >> (32 - index->bits);
}

static guint32
next_slot (const Index *index, guint32 slot)
{
  return (slot + 1) & ((1u << index->bits) - 1);
}

static void
index_add (Index *self, guint32 hash, guint number)
{
  guint32 slot = first_slot (self, hash);

  while (self->slots[slot])
    slot = next_slot (self, slot);
  self->slots[slot] = number + 1;
}

/* Replaces the table by a larger, empty one if @n + 1 entries do not fit, and returns TRUE then. */
static gboolean
index_grow (Index *self, guint n)
{
  if (n + 1 <= 1u << (self->bits - 1))
    return FALSE;
  g_free (self->slots);
  self->slots = g_new0 (guint32, 1u << ++self->bits);
  return TRUE;
}

AvatarBpe *
avatar_bpe_new (const AvatarBpeRules *rules)
{
  AvatarBpe *self = g_new0 (AvatarBpe, 1);

  self->word_suffix = g_strdup (rules->word_suffix ? rules->word_suffix : "");
  self->in_passes = rules->in_passes;
  self->ignore_merges = rules->ignore_merges;
  self->factor = (guint64) g_random_int () << 32 | g_random_int () | 1;
  self->names = g_string_new (NULL);
  self->tokens = g_array_new (FALSE, FALSE, sizeof (Token));
  self->merges = g_array_new (FALSE, FALSE, sizeof (Merge));
  self->by_name = (Index){ g_new0 (guint32, 1u << FIRST_BITS), FIRST_BITS };
  self->by_pair = (Index){ g_new0 (guint32, 1u << FIRST_BITS), FIRST_BITS };
  return self;
}

void
avatar_bpe_free (AvatarBpe *self)
{
  if (!self)
    return;
  g_free (self->by_name.slots);
  g_free (self->by_pair.slots);
  g_array_unref (self->merges);
  g_array_unref (self->tokens);
  g_string_free (self->names, TRUE);
  g_free (self->word_suffix);
  g_free (self);
}

/* Returns the id of the token whose name is @left followed by @right and has the hash @hash, or
 * -1. */
static gint32
find_token (const AvatarBpe *self, guint32 hash, const char *left, gsize n_left, const char *right,
    gsize n_right)
{
  const Index *index = &self->by_name;
  guint32 slot = first_slot (index, hash);

  for (; index->slots[slot]; slot = next_slot (index, slot)) {
    const Token *token = &g_array_index (self->tokens, Token, index->slots[slot] - 1);
    const char *name = self->names->str + token->start;

    if (token->hash == hash && token->n == n_left + n_right && memcmp (name, left, n_left) == 0
        && memcmp (name + n_left, right, n_right) == 0)
      return token->id;
  }
  return -1;
}

gboolean
avatar_bpe_add_token (AvatarBpe *self, const char *name, gsize n, gint32 id)
{
  guint32 hash = hash_bytes (self, 0, name, n) >> 32;
  Token token = { self->names->len, n, hash, id };

  g_return_val_if_fail (id >= 0 && n <= G_MAXUINT32 - self->names->len, FALSE);
  if (find_token (self, hash, name, n, "", 0) >= 0)
    return FALSE;
  if (index_grow (&self->by_name, self->tokens->len))
    for (guint i = 0; i < self->tokens->len; i++)
      index_add (&self->by_name, g_array_index (self->tokens, Token, i).hash, i);
  index_add (&self->by_name, hash, self->tokens->len);
  g_array_append_val (self->tokens, token);
  g_string_append_len (self->names, name, n);
  self->max_name = MAX (self->max_name, n);
  return TRUE;
}

gint32
avatar_bpe_find (const AvatarBpe *self, const char *name)
{
  gsize n = strlen (name);

  return find_token (self, hash_bytes (self, 0, name, n) >> 32, name, n, "", 0);
}

/* Returns the merge of @pair, or NULL. */
static Merge *
find_merge (const AvatarBpe *self, guint64 pair)
{
  const Index *index = &self->by_pair;
  guint32 slot = first_slot (index, hash_pair (self, pair));

  for (; index->slots[slot]; slot = next_slot (index, slot)) {
    Merge *merge = &g_array_index (self->merges, Merge, index->slots[slot] - 1);

    if (merge->pair == pair)
      return merge;
  }
  return NULL;
}

static void
store_merge (AvatarBpe *self, Merge merge)
{
  Merge *known = find_merge (self, merge.pair);

  if (known) {
    *known = merge;
    return;
  }
  if (index_grow (&self->by_pair, self->merges->len))
    for (guint i = 0; i < self->merges->len; i++)
      index_add (&self->by_pair, hash_pair (self, g_array_index (self->merges, Merge, i).pair), i);
  index_add (&self->by_pair, hash_pair (self, merge.pair), self->merges->len);
  g_array_append_val (self->merges, merge);
}

gboolean
avatar_bpe_add_merge (AvatarBpe *self, const char *left, gsize n_left, const char *right,
    gsize n_right)
{
  guint64 hash_left = hash_bytes (self, 0, left, n_left);
  guint32 hash_right = hash_bytes (self, 0, right, n_right) >> 32;
  guint32 hash_both = hash_bytes (self, hash_left, right, n_right) >> 32;
  gint32 ids[] = { find_token (self, hash_left >> 32, left, n_left, "", 0),
    find_token (self, hash_right, right, n_right, "", 0),
    find_token (self, hash_both, left, n_left, right, n_right) };

  if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0)
    return FALSE;
  store_merge (self, (Merge){ pair_of (ids[0], ids[1]), self->next_rank++, ids[2] });
  return TRUE;
}

guint
avatar_bpe_n_tokens (const AvatarBpe *self)
{
  return self->tokens->len;
}

guint
avatar_bpe_n_merges (const AvatarBpe *self)
{
  return self->merges->len;
}

/* Printable characters of Latin-1 represent themselves; the other bytes are numbered from
 * U+0100. */
void
avatar_bpe_name_byte (guint8 byte, GString *out)
{
  gunichar name;

  if (byte <= 32) /* the first 33 of the other bytes */
    name = 256 + byte;
  else if (byte >= 127 && byte <= 160) /* the next 34 */
    name = 256 + 33 + byte - 127;
  else if (byte == 173)
    name = 256 + 33 + 34;
  else
    name = byte;
  g_string_append_unichar (out, name);
}

int
avatar_bpe_finish (AvatarBpe *self)
{
  g_autoptr (GString) name = g_string_new (NULL);

  for (guint byte = 0; byte < 256; byte++) {
    g_string_truncate (name, 0);
    avatar_bpe_name_byte (byte, name);
    self->first[byte] = avatar_bpe_find (self, name->str);
    g_string_append (name, self->word_suffix);
    self->last[byte] = avatar_bpe_find (self, name->str);
    if (self->first[byte] < 0 || self->last[byte] < 0)
      return byte;
  }
  return -1;
}

/* ----------------------------------------------------------------------------------------- heap */

static gboolean
comes_before (const Candidate *a, const Candidate *b)
{
  return a->merge->rank != b->merge->rank ? a->merge->rank < b->merge->rank : a->at < b->at;
}

static void
heap_push (GArray *heap, Candidate candidate)
{
  guint i = heap->len;
  Candidate *all;

  g_array_append_val (heap, candidate);
  all = (Candidate *) heap->data;
  for (; i > 0 && comes_before (&candidate, &all[(i - 1) / 2]); i = (i - 1) / 2)
    all[i] = all[(i - 1) / 2];
  all[i] = candidate;
}

static Candidate
heap_pop (GArray *heap)
{
  Candidate *all = (Candidate *) heap->data;
  Candidate top = all[0], last = all[heap->len - 1];
  guint i = 0, n = heap->len - 1;

  for (guint child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && comes_before (&all[child + 1], &all[child]))
      child++;
    if (!comes_before (&all[child], &last))
      break;
    all[i] = all[child];
  }
  all[i] = last;
  g_array_set_size (heap, n);
  return top;
}

/* ------------------------------------------------------------------------------------- encoding */

static guint64
pair_at (const Symbol *symbols, guint32 at)
{
  return pair_of (symbols[at].id, symbols[symbols[at].after].id);
}

/* Adds the pair that starts at symbol @at to @into if it can be merged. */
static void
add_candidate (Work *w, guint32 at, GArray *into)
{
  const Symbol *symbols = (const Symbol *) w->symbols->data;
  Candidate candidate = { .at = at };

  if (at == NONE || symbols[at].after == NONE)
    return;
  candidate.merge = find_merge (w->bpe, pair_at (symbols, at));
  if (!candidate.merge)
    return;
  if (into == w->heap)
    heap_push (into, candidate);
  else
    g_array_append_val (into, candidate);
}

/* Merges a pair, unless one of its symbols has been merged since. */
static void
apply (Work *w, Candidate candidate)
{
  Symbol *symbols = (Symbol *) w->symbols->data;
  Symbol *left = &symbols[candidate.at], *right;
  GArray *into = w->bpe->in_passes ? w->pending : w->heap;

  if (left->id < 0 || left->after == NONE
      || pair_at (symbols, candidate.at) != candidate.merge->pair)
    return;
  right = &symbols[left->after];
  left->id = candidate.merge->id;
  left->after = right->after;
  right->id = -1;
  if (left->after != NONE)
    symbols[left->after].before = candidate.at;
  add_candidate (w, left->before, into);
  add_candidate (w, candidate.at, into);
}

static void
end_pass (Work *w)
{
  for (guint i = 0; i < w->pending->len; i++)
    heap_push (w->heap, g_array_index (w->pending, Candidate, i));
  g_array_set_size (w->pending, 0);
}

static void
merge_all (Work *w)
{
  for (guint32 i = 0; i < w->symbols->len; i++)
    add_candidate (w, i, w->heap);
  while (w->heap->len > 0) {
    Candidate candidate = heap_pop (w->heap);

    apply (w, candidate);
    if (w->heap->len == 0
        || g_array_index (w->heap, Candidate, 0).merge->rank != candidate.merge->rank)
      end_pass (w);
  }
}

/* Returns the id of the token that is all of @piece, or -1. */
static gint32
find_whole (const AvatarBpe *self, const char *piece, gsize n)
{
  g_autoptr (GString) name = NULL;

  if (n > self->max_name)
    return -1;
  name = g_string_sized_new (2 * n + 1);
  for (gsize i = 0; i < n; i++)
    avatar_bpe_name_byte (piece[i], name);
  return avatar_bpe_find (self, name->str);
}

void
avatar_bpe_encode (const AvatarBpe *self, const char *piece, gsize n, GArray *ids)
{
  g_autoptr (GArray) symbols = NULL, heap = NULL, pending = NULL;
  gint32 whole = -1;
  Work w;

  g_return_if_fail (n < NONE);
  if (n == 0)
    return;
  if (n == 1)
    whole = self->last[(guint8) piece[0]];
  else if (self->ignore_merges)
    whole = find_whole (self, piece, n);
  if (whole >= 0) {
    g_array_append_val (ids, whole);
    return;
  }
  symbols = g_array_sized_new (FALSE, FALSE, sizeof (Symbol), n);
  heap = g_array_new (FALSE, FALSE, sizeof (Candidate));
  pending = g_array_new (FALSE, FALSE, sizeof (Candidate));
  for (gsize i = 0; i < n; i++) {
    gboolean is_last = i + 1 == n;
    Symbol s = { (is_last ? self->last : self->first)[(guint8) piece[i]], i > 0 ? i - 1 : NONE,
      is_last ? NONE : i + 1 };

    g_array_append_val (symbols, s);
  }
  w = (Work){ self, symbols, heap, pending };
  merge_all (&w);
  for (guint i = 0; i < symbols->len; i++)
    if (g_array_index (symbols, Symbol, i).id >= 0)
      g_array_append_val (ids, g_array_index (symbols, Symbol, i).id);
}
