/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two tries over bytes: what is looked for first, and what is looked for in the rest. */
#include "engine/text/added-tokens.h"

#include "engine/text/pre-tokenizer.h"

/* Children of a node are a list: there are hundreds of tokens at most that differ in one place. */
typedef struct
{
  guint8 byte;
  guint child, sibling; /* 0: none, since the root is neither */
  guint token;          /* its number + 1 */
} Node;

struct _AvatarAdded
{
  GPtrArray *tokens; /* AvatarAddedToken */
  GHashTable *names; /* their names */
  GArray *tries[2];  /* Node; the first is the root */
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
  GArray *trie = self->tries[token->late ? 1 : 0];
  AvatarAddedToken *copy;
  guint at = 0;

  g_return_val_if_fail (token->name[0] != '\0', FALSE);
  if (g_hash_table_contains (self->names, token->name))
    return FALSE;
  copy = g_memdup2 (token, sizeof *token);
  copy->name = g_strdup (token->name);
  g_ptr_array_add (self->tokens, copy);
  g_hash_table_insert (self->names, copy->name, copy);
  for (const char *p = token->name; *p; p++) {
    guint child = find_child (trie, at, *p);

    if (!child) {
      Node node = { .byte = *p, .sibling = g_array_index (trie, Node, at).child };

      child = trie->len;
      g_array_append_val (trie, node);
      g_array_index (trie, Node, at).child = child;
    }
    at = child;
  }
  g_array_index (trie, Node, at).token = self->tokens->len;
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

/* The longest token that begins at @p; *@behind: (out): its end. */
static const AvatarAddedToken *
match (const AvatarAddedTokens *self, const GArray *trie, const char *p, const char *end,
    const char **behind)
{
  guint found = 0;

  for (guint at = 0; p < end && (at = find_child (trie, at, *p)) != 0;) {
    p++;
    if (g_array_index (trie, Node, at).token) {
      found = g_array_index (trie, Node, at).token;
      *behind = p;
    }
  }
  return found ? self->tokens->pdata[found - 1] : NULL;
}

static const char *
strip_before (const char *from, const char *p)
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
strip_behind (const char *p, const char *end)
{
  while (p < end && avatar_pre_tokenize_is_space (g_utf8_get_char (p)))
    p = g_utf8_next_char (p);
  return p;
}

typedef struct
{
  const AvatarAddedTokens *self;
  AvatarAddedFunc func;
  gpointer data;
} Split;

static void
split_by (const Split *s, guint which, const char *text, const char *end)
{
  const GArray *trie = s->self->tries[which];
  const char *done = text;

  for (const char *p = text, *behind; p < end;) {
    const AvatarAddedToken *token = match (s->self, trie, p, end, &behind);
    const char *start = p;

    if (!token) {
      p++;
      continue;
    }
    p = behind;
    if (token->strip_before)
      start = strip_before (done, start);
    if (token->strip_behind)
      behind = p = strip_behind (behind, end);
    if (start > done)
      which == 0 ? split_by (s, 1, done, start) : s->func (done, start - done, NULL, s->data);
    s->func (start, behind - start, token, s->data);
    done = behind;
  }
  if (end > done)
    which == 0 ? split_by (s, 1, done, end) : s->func (done, end - done, NULL, s->data);
}

void
avatar_added_tokens_split (const AvatarAddedTokens *self, const char *text, gsize n,
    AvatarAddedFunc func, gpointer data)
{
  Split s = { self, func, data };

  split_by (&s, 0, text, text + n);
}
