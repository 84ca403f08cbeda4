/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A table grows in two ways. A word is joined from two tokens, which adds one token and one merge;
 * or a short word is added with all its substrings and with every merge that makes one of them. The
 * second is chosen while there are fewer merges than needed. */
#include "tools/random-table.h"

#include "engine/text/bpe.h"

#include <string.h>

#define MOST_UNITS 7
/* Number of extra merges that are made from short words. */
#define LEAD 256

/* ---------------------------------------------------------------------------------------- table */

gboolean
random_table_add (RandomTable *self, const char *name)
{
  char *copy;

  if (g_hash_table_contains (self->known, name))
    return TRUE;
  if (self->names->len >= self->max_tokens)
    return FALSE;
  copy = g_strdup (name);
  g_ptr_array_add (self->names, copy);
  g_hash_table_add (self->known, copy);
  return TRUE;
}

static void
add_bytes (RandomTable *self, const char *ending)
{
  for (guint byte = 0; byte < 256; byte++) {
    g_autoptr (GString) name = g_string_new (NULL);

    avatar_bpe_name_byte (byte, name);
    g_string_append (name, ending);
    random_table_add (self, name->str);
  }
}

RandomTable
random_table_new (guint max_tokens, const char *ending)
{
  RandomTable self
      = { g_ptr_array_new_with_free_func (g_free), g_hash_table_new (g_str_hash, g_str_equal),
          g_ptr_array_new_with_free_func (g_free), ending, max_tokens };

  add_bytes (&self, "");
  if (*ending)
    add_bytes (&self, ending);
  return self;
}

void
random_table_clear (RandomTable *self)
{
  g_clear_pointer (&self->known, g_hash_table_unref);
  g_clear_pointer (&self->names, g_ptr_array_unref);
  g_clear_pointer (&self->merges, g_ptr_array_unref);
}

static void
add_merge (RandomTable *self, const char *left, const char *right)
{
  g_ptr_array_add (self->merges, g_strconcat (left, " ", right, NULL));
}

void
random_table_spell (RandomTable *self, const char *piece, gsize n)
{
  g_autoptr (GString) left = g_string_new (NULL);

  avatar_bpe_name_byte (piece[0], left);
  for (gsize i = 1; i < n; i++) {
    g_autoptr (GString) right = g_string_new (NULL);
    g_autofree char *both = NULL;

    avatar_bpe_name_byte (piece[i], right);
    if (i + 1 == n)
      g_string_append (right, self->ending);
    both = g_strconcat (left->str, right->str, NULL);
    if (!g_hash_table_contains (self->known, both)) {
      if (!random_table_add (self, both))
        return;
      add_merge (self, left->str, right->str);
    }
    g_string_append (left, right->str);
  }
}

/* Names that begin with a zero byte, which no text contains. */
void
random_table_pad (RandomTable *self)
{
  for (guint i = 0; self->names->len < self->max_tokens; i++) {
    g_autofree char *name = g_strdup_printf ("\xc4\x80%u%s", i, self->ending);

    random_table_add (self, name);
  }
}

/* ------------------------------------------------------------------------------------- language */

/* Fragments of words, and the words. The table owns both. */
typedef struct
{
  GPtrArray *units, *words;
} Script;

typedef enum
{
  LATIN,
  SYMBOLS,
  CYRILLIC, /* two bytes per letter */
  N_SCRIPTS,
} ScriptKind;

typedef struct
{
  RandomTable *table;
  GRand *rand;
  Script scripts[N_SCRIPTS];
  guint n_scripts, n_merges;
  gsize longest;       /* length of a joined name in bytes */
  const char *opening; /* prefix of words: the token of a space, or NULL */
} Language;

static guint
draw (Language *l, guint n)
{
  return g_rand_int (l->rand) % n;
}

/* Older words are drawn more often. */
static const char *
draw_word (Language *l, const Script *script)
{
  guint64 a = g_rand_int (l->rand) >> 8, n = script->words->len;

  return script->words->pdata[(a * a >> 24) * n >> 24];
}

static const Script *
draw_script (Language *l)
{
  guint of_16 = draw (l, 16);

  return &l->scripts[of_16 == 0                  ? SYMBOLS
          : of_16 < 4 && l->n_scripts > CYRILLIC ? CYRILLIC
                                                 : LATIN];
}

/* Returns the stored copy of @name, which has an id. */
static char *
stored (const RandomTable *table, const char *name)
{
  gpointer key = NULL;

  g_hash_table_lookup_extended (table->known, name, &key, NULL);
  return key;
}

static void
add_unit (Language *l, Script *script, const char *bytes)
{
  g_autoptr (GString) name = g_string_new (NULL);

  random_table_spell (l->table, bytes, strlen (bytes));
  for (; *bytes; bytes++)
    avatar_bpe_name_byte (*bytes, name);
  g_ptr_array_add (script->units, stored (l->table, name->str));
  g_ptr_array_add (script->words, stored (l->table, name->str));
  g_string_append (name, l->table->ending);
  if (*l->table->ending)
    g_ptr_array_add (script->words, stored (l->table, name->str));
}

static void
add_units (Language *l, ScriptKind kind, gunichar first, guint n, const char *others)
{
  Script *script = &l->scripts[kind];

  *script = (Script){ g_ptr_array_new (), g_ptr_array_new () };
  for (guint i = 0; i < n + strlen (others); i++) {
    char bytes[7] = { 0 };

    if (i < n)
      g_unichar_to_utf8 (first + i, bytes);
    else
      bytes[0] = others[i - n];
    add_unit (l, script, bytes);
  }
}

/* Returns the number of merges that the next token may have, so that one is left for each later
 * token. */
static guint
spare_merges (const Language *l)
{
  return l->n_merges - l->table->merges->len - (l->table->max_tokens - l->table->names->len - 1);
}

static char *
join (const char *const *units, guint n)
{
  GString *name = g_string_new (NULL);

  for (guint i = 0; i < n; i++)
    g_string_append (name, units[i]);
  return g_string_free (name, FALSE);
}

/* Adds a token with every merge of two tokens that makes it. */
static void
add_with_merges (Language *l, const Script *script, const char *const *units, guint n)
{
  RandomTable *t = l->table;
  g_autofree char *name = join (units, n);
  guint n_left;

  if (g_hash_table_contains (t->known, name) || t->names->len >= t->max_tokens)
    return;
  n_left = spare_merges (l);
  for (guint k = 1; k < n && n_left > 0; k++) {
    g_autofree char *left = join (units, k), *right = join (units + k, n - k);

    if (!g_hash_table_contains (t->known, left) || !g_hash_table_contains (t->known, right))
      continue;
    add_merge (t, left, right);
    n_left--;
  }
  random_table_add (t, name);
  g_ptr_array_add (script->words, stored (t, name));
}

/* Adds a short word and all its substrings, the shortest first. */
static void
add_short_word (Language *l)
{
  const Script *script = draw_script (l);
  const char *units[MOST_UNITS];
  guint n = 0, wanted = 3 + draw (l, MOST_UNITS - 2);

  if (l->opening && draw (l, 2))
    units[n++] = l->opening;
  while (n < wanted)
    units[n++] = script->units->pdata[draw (l, script->units->len)];
  for (guint length = 2; length <= n; length++)
    for (guint i = 0; i + length <= n; i++)
      add_with_merges (l, script, units + i, length);
}

static void
add_joined_word (Language *l)
{
  RandomTable *t = l->table;
  const Script *script = draw_script (l);
  const char *right = draw_word (l, script),
             *left = l->opening && draw (l, 4) == 0 ? l->opening : draw_word (l, script);
  g_autofree char *both = g_strconcat (left, right, NULL);

  if (strlen (both) > l->longest || (*t->ending && g_str_has_suffix (left, t->ending))
      || (l->opening && g_str_has_prefix (right, l->opening))
      || g_hash_table_contains (t->known, both) || !random_table_add (t, both))
    return;
  add_merge (t, left, right);
  g_ptr_array_add (script->words, stored (t, both));
}

void
random_table_grow (RandomTable *self, guint n_merges, guint64 seed)
{
  gboolean endings = *self->ending != '\0';
  g_autoptr (GRand) rand = g_rand_new_with_seed_array ((guint32[]){ seed, seed >> 32 }, 2);
  Language l = { .table = self,
    .rand = rand,
    .n_scripts = endings ? CYRILLIC : N_SCRIPTS,
    .n_merges = n_merges,
    .longest = endings ? 14 : 30,
    .opening = endings ? NULL : "\xc4\xa0" };
  guint64 tokens, merges;

  add_units (&l, LATIN, 'a', 26, endings ? "" : "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
  add_units (&l, SYMBOLS, '!', 15, "\\[]{}<>=_");
  if (l.n_scripts > CYRILLIC)
    add_units (&l, CYRILLIC, 0x430, 32, "");
  tokens = self->max_tokens - self->names->len;
  g_assert (n_merges >= self->merges->len + tokens);
  merges = n_merges - self->merges->len;
  while (self->names->len < self->max_tokens) {
    guint64 done = tokens - (self->max_tokens - self->names->len);
    guint64 made = merges - (n_merges - self->merges->len);

    if (merges > tokens && made < done * merges / tokens + LEAD)
      add_short_word (&l);
    else
      add_joined_word (&l);
  }
  g_assert (self->merges->len == n_merges);
  for (guint i = 0; i < l.n_scripts; i++) {
    g_ptr_array_unref (l.scripts[i].units);
    g_ptr_array_unref (l.scripts[i].words);
  }
}
