/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Matches with two tries over bytes: tokens that are matched first, and normalized ones, which are
 * matched in the remaining text. */
#include "engine/text/added-tokens.h"

#include "engine/text/pre-tokenizer.h"

/* The children of a node are a list, since few tokens differ at the same place. */
typedef struct
{
  guint8 byte;
  guint child, sibling; /* 0: none; the root is neither */
  guint token;          /* index of the token + 1; 0: none */
} Node;

struct _AvatarAddedTokens
{
  GPtrArray *tokens; /* AvatarAddedToken */
  GHashTable *names; /* name -> AvatarAddedToken */
  GArray *tries[2];  /* Node, the root first; [1]: normalized tokens */
};

static void
token_free (AvatarAddedToken *token)
{
  g_free (token->name);
  g_free (token);
}

AvatarAddedTokens *
avatar_added_tokens_new (void)
{
  AvatarAddedTokens *self = g_new0 (AvatarAddedTokens, 1);
  Node root = { 0 };

  self->tokens = g_ptr_array_new_with_free_func ((GDestroyNotify) token_free);
  self->names = g_hash_table_new (g_str_hash, g_str_equal);
  for (guint i = 0; i < 2; i++) {
    self->tries[i] = g_array_new (FALSE, FALSE, sizeof (Node));
    g_array_append_val (self->tries[i], root);
  }
  return self;
}

void
avatar_added_tokens_free (AvatarAddedTokens *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->names);
  g_ptr_array_unref (self->tokens);
  for (guint i = 0; i < 2; i++)
    g_array_unref (self->tries[i]);
  g_free (self);
}

static guint
find_child (const GArray *trie, guint parent, guint8 byte)
{
  guint i = g_array_index (trie, Node, parent).child;

  while (i && g_array_index (trie, Node, i).byte != byte)
    i = g_array_index (trie, Node, i).sibling;
  return i;
}

gboolean
avatar_added_tokens_add (AvatarAddedTokens *self, const AvatarAddedToken *token)
{
  GArray *trie = self->tries[token->normalized ? 1 : 0];
  AvatarAddedToken *copy;
  guint node_index = 0;

  g_return_val_if_fail (token->name[0] != '\0', FALSE);
  if (g_hash_table_contains (self->names, token->name))
    return FALSE;
  copy = g_memdup2 (token, sizeof *token);
  copy->name = g_strdup (token->name);
  g_ptr_array_add (self->tokens, copy);
  g_hash_table_insert (self->names, copy->name, copy);
  for (const char *p = token->name; *p; p++) {
    guint child = find_child (trie, node_index, *p);

    if (!child) {
      Node node = { .byte = *p, .sibling = g_array_index (trie, Node, node_index).child };

      child = trie->len;
      g_array_append_val (trie, node);
      g_array_index (trie, Node, node_index).child = child;
    }
    node_index = child;
  }
  g_array_index (trie, Node, node_index).token = self->tokens->len;
  return TRUE;
}

const AvatarAddedToken *
avatar_added_tokens_find (const AvatarAddedTokens *self, const char *name)
{
  return g_hash_table_lookup (self->names, name);
}

guint
avatar_added_tokens_n (const AvatarAddedTokens *self)
{
  return self->tokens->len;
}

const AvatarAddedToken *
avatar_added_tokens_nth (const AvatarAddedTokens *self, guint i)
{
  return self->tokens->pdata[i];
}

/* Returns the longest token at @p, or NULL. *@after is set to its end. */
static const AvatarAddedToken *
match (const AvatarAddedTokens *self, const GArray *trie, const char *p, const char *end,
    const char **after)
{
  guint found = 0;

  for (guint i = 0; p < end && (i = find_child (trie, i, *p)) != 0;) {
    p++;
    if (g_array_index (trie, Node, i).token) {
      found = g_array_index (trie, Node, i).token;
      *after = p;
    }
  }
  return found ? self->tokens->pdata[found - 1] : NULL;
}

static const char *
strip_left (const char *from, const char *p)
{
  while (p > from) {
    const char *previous = g_utf8_find_prev_char (from, p);

    if (!previous || !avatar_pre_tokenize_is_space (g_utf8_get_char (previous)))
      break;
    p = previous;
  }
  return p;
}

static const char *
strip_right (const char *p, const char *end)
{
  while (p < end && avatar_pre_tokenize_is_space (g_utf8_get_char (p)))
    p = g_utf8_next_char (p);
  return p;
}

typedef struct
{
  const AvatarAddedTokens *self;
  AvatarAddedTokensFunc func;
  gpointer data;
} Splitter;

static void
split_by (const Splitter *s, guint trie_index, const char *text, const char *end)
{
  const GArray *trie = s->self->tries[trie_index];
  const char *done = text;

  for (const char *p = text, *after; p < end;) {
    const AvatarAddedToken *token = match (s->self, trie, p, end, &after);
    const char *start = p;

    if (!token) {
      p++;
      continue;
    }
    p = after;
    if (token->strip_left)
      start = strip_left (done, start);
    if (token->strip_right)
      after = p = strip_right (after, end);
    if (start > done)
      trie_index == 0 ? split_by (s, 1, done, start) : s->func (done, start - done, NULL, s->data);
    s->func (start, after - start, token, s->data);
    done = after;
  }
  if (end > done)
    trie_index == 0 ? split_by (s, 1, done, end) : s->func (done, end - done, NULL, s->data);
}

void
avatar_added_tokens_split (const AvatarAddedTokens *self, const char *text, gsize n,
    AvatarAddedTokensFunc func, gpointer data)
{
  Splitter s = { self, func, data };

  split_by (&s, 0, text, text + n);
}
