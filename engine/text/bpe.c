/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tokens are found by name once; from then on all is done with ids. The symbols of a piece are a
 * linked list in an array, and the pairs that can be merged wait in a heap, by rank and place. */
#include "engine/text/bpe.h"

#include <string.h>

#define NONE G_MAXUINT32

typedef struct
{
  guint64 pair; /* left id << 32 | right id */
  guint32 rank;
  gint32 id; /* of both together */
} Merge;

struct _AvatarBpe
{
  char *ending;
  gboolean in_passes, ignore_merges;
  GHashTable *tokens; /* name -> id */
  GHashTable *merges; /* Merge, by pair */
  gsize longest;      /* name, in bytes */
  guint32 next_rank;
  gint32 first[256], last[256]; /* ids of a byte, and of one that ends a piece */
};

typedef struct
{
  gint32 id; /* -1: merged into the one before */
  guint32 before, after;
} Symbol;

/* A pair that can be merged, if nothing has become of its parts meanwhile. */
typedef struct
{
  const Merge *merge;
  guint32 at;
} Candidate;

typedef struct
{
  const AvatarBpe *bpe;
  GArray *symbols; /* Symbol */
  GArray *heap;    /* Candidate: the lowest first */
  GArray *waiting; /* Candidate: found in this pass, for the next */
} Work;

/* --------------------------------------------------------------------------------------- tables */

static guint64
pair_of (gint32 left, gint32 right)
{
  return (guint64) (guint32) left << 32 | (guint32) right;
}

static guint
merge_hash (gconstpointer key)
{
  return (guint) ((((const Merge *) key)->pair * G_GUINT64_CONSTANT (0x9e3779b97f4a7c15)) >> 32);
}

static gboolean
merge_equal (gconstpointer a, gconstpointer b)
{
  return ((const Merge *) a)->pair == ((const Merge *) b)->pair;
}

AvatarBpe *
avatar_bpe_new (const AvatarBpeRules *rules)
{
  AvatarBpe *self = g_new0 (AvatarBpe, 1);

  self->ending = g_strdup (rules->ending ? rules->ending : "");
  self->in_passes = rules->in_passes;
  self->ignore_merges = rules->ignore_merges;
  self->tokens = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  self->merges = g_hash_table_new_full (merge_hash, merge_equal, g_free, NULL);
  return self;
}

void
avatar_bpe_free (AvatarBpe *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->merges);
  g_hash_table_unref (self->tokens);
  g_free (self->ending);
  g_free (self);
}

gboolean
avatar_bpe_add_token (AvatarBpe *self, const char *name, gint32 id)
{
  if (g_hash_table_contains (self->tokens, name))
    return FALSE;
  self->longest = MAX (self->longest, strlen (name));
  return g_hash_table_insert (self->tokens, g_strdup (name), GINT_TO_POINTER (id));
}

gint32
avatar_bpe_find (const AvatarBpe *self, const char *name)
{
  gpointer id;

  return g_hash_table_lookup_extended (self->tokens, name, NULL, &id) ? GPOINTER_TO_INT (id) : -1;
}

gboolean
avatar_bpe_add_merge (AvatarBpe *self, const char *left, const char *right)
{
  g_autofree char *both = g_strconcat (left, right, NULL);
  gint32 ids[2] = { avatar_bpe_find (self, left), avatar_bpe_find (self, right) };
  Merge merge = { pair_of (ids[0], ids[1]), self->next_rank, avatar_bpe_find (self, both) };

  if (ids[0] < 0 || ids[1] < 0 || merge.id < 0)
    return FALSE;
  self->next_rank++;
  g_hash_table_add (self->merges, g_memdup2 (&merge, sizeof merge));
  return TRUE;
}

guint
avatar_bpe_n_tokens (const AvatarBpe *self)
{
  return g_hash_table_size (self->tokens);
}

guint
avatar_bpe_n_merges (const AvatarBpe *self)
{
  return g_hash_table_size (self->merges);
}

/* Bytes that are printable in Latin-1 stand for themselves, the others for U+0100 and so on. */
void
avatar_bpe_name_byte (guint8 byte, GString *out)
{
  gunichar name;

  if (byte <= 32) /* 0 to 32 are the first 33 of the others */
    name = 256 + byte;
  else if (byte >= 127 && byte <= 160) /* and these the next 34 */
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
    g_string_append (name, self->ending);
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

/* The pair that begins at @at, if there is one that can be merged. */
static void
propose (Work *w, guint32 at, GArray *into)
{
  const Symbol *symbols = (const Symbol *) w->symbols->data;
  Candidate candidate = { .at = at };
  Merge key;

  if (at == NONE || symbols[at].after == NONE)
    return;
  key.pair = pair_at (symbols, at);
  candidate.merge = g_hash_table_lookup (w->bpe->merges, &key);
  if (!candidate.merge)
    return;
  if (into == w->heap)
    heap_push (into, candidate);
  else
    g_array_append_val (into, candidate);
}

static void
apply (Work *w, Candidate candidate)
{
  Symbol *symbols = (Symbol *) w->symbols->data;
  Symbol *left = &symbols[candidate.at], *right;
  GArray *into = w->bpe->in_passes ? w->waiting : w->heap;

  if (left->id < 0 || left->after == NONE
      || pair_at (symbols, candidate.at) != candidate.merge->pair)
    return;
  right = &symbols[left->after];
  left->id = candidate.merge->id;
  left->after = right->after;
  right->id = -1;
  if (left->after != NONE)
    symbols[left->after].before = candidate.at;
  propose (w, left->before, into);
  propose (w, candidate.at, into);
}

static void
end_pass (Work *w)
{
  for (guint i = 0; i < w->waiting->len; i++)
    heap_push (w->heap, g_array_index (w->waiting, Candidate, i));
  g_array_set_size (w->waiting, 0);
}

static void
merge_all (Work *w)
{
  for (guint32 i = 0; i < w->symbols->len; i++)
    propose (w, i, w->heap);
  while (w->heap->len > 0) {
    Candidate candidate = heap_pop (w->heap);

    apply (w, candidate);
    if (w->heap->len == 0
        || g_array_index (w->heap, Candidate, 0).merge->rank != candidate.merge->rank)
      end_pass (w);
  }
}

/* The id of all of @piece, or -1. */
static gint32
find_whole (const AvatarBpe *self, const char *piece, gsize n)
{
  g_autoptr (GString) name = NULL;

  if (n > self->longest)
    return -1;
  name = g_string_sized_new (2 * n + 1);
  for (gsize i = 0; i < n; i++)
    avatar_bpe_name_byte (piece[i], name);
  return avatar_bpe_find (self, name->str);
}

void
avatar_bpe_encode (const AvatarBpe *self, const char *piece, gsize n, GArray *ids)
{
  g_autoptr (GArray) symbols = NULL, heap = NULL, waiting = NULL;
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
  waiting = g_array_new (FALSE, FALSE, sizeof (Candidate));
  for (gsize i = 0; i < n; i++) {
    gboolean is_last = i + 1 == n;
    Symbol s = { (is_last ? self->last : self->first)[(guint8) piece[i]], i > 0 ? i - 1 : NONE,
      is_last ? NONE : i + 1 };

    g_array_append_val (symbols, s);
  }
  w = (Work){ self, symbols, heap, waiting };
  merge_all (&w);
  for (guint i = 0; i < symbols->len; i++)
    if (g_array_index (symbols, Symbol, i).id >= 0)
      g_array_append_val (ids, g_array_index (symbols, Symbol, i).id);
}
