/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stack machine for protocols 2 to 5 with the opcodes that state dicts use
 * (docs/dev/spec/vae-text-face-formats.md 5.2). Every node needs at least one byte of the pickle,
 * values are never copied, and no step visits the items of earlier nodes. Time and memory are
 * therefore linear in the size of the pickle, and nothing recurses. */
#include "engine/formats/pickle.h"

#include <string.h>

#define MAX_SIZE ((gsize) 16 << 20)
#define MAX_NODES (1u << 20)

struct _AvatarPickle
{
  char *name;
  const guint8 *data;
  gsize size, at;
  GArray *nodes; /* array of AvatarPickleNode */
  GArray *stack; /* array of guint: numbers of nodes */
  GArray *marks; /* array of guint: heights of the stack */
  GHashTable *memo;
  guint memoised;   /* number of MEMOIZE opcodes */
  GPtrArray *names; /* texts of globals whose module and name are two strings of the pickle */
  GError *error;
};

static void fail (AvatarPickle *self, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
fail (AvatarPickle *self, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  if (self->error)
    return;
  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  self->error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: its pickle is broken at byte %" G_GSIZE_FORMAT ": %s; download the file again",
      self->name, self->at, text);
}

/* Returns the next @n bytes, or NULL after a failure. */
static const guint8 *
take (AvatarPickle *self, guint64 n)
{
  const guint8 *p = self->data + self->at;

  if (n > self->size - self->at) {
    fail (self, "expected %" G_GUINT64_FORMAT " more bytes, found %" G_GSIZE_FORMAT, n,
        self->size - self->at);
    return NULL;
  }
  self->at += n;
  return p;
}

static guint64
take_le (AvatarPickle *self, guint bytes)
{
  const guint8 *p = take (self, bytes);
  guint64 value = 0;

  if (p)
    memcpy (&value, p, bytes);
  return GUINT64_FROM_LE (value);
}

static AvatarPickleNode *
node_at (AvatarPickle *self, guint i)
{
  return &g_array_index (self->nodes, AvatarPickleNode, i);
}

static void
push_node (AvatarPickle *self, guint node)
{
  g_array_append_val (self->stack, node);
}

static guint
push (AvatarPickle *self, AvatarPickleNode node)
{
  guint i = self->nodes->len;

  if (i >= MAX_NODES) {
    fail (self, "it has more than %u values; expected fewer in a file of weights", MAX_NODES);
    return 0;
  }
  g_array_append_val (self->nodes, node);
  push_node (self, i);
  return i;
}

/* Returns the lowest height to which the stack may be popped. */
static guint
min_height (AvatarPickle *self)
{
  return self->marks->len ? g_array_index (self->marks, guint, self->marks->len - 1) : 0;
}

static guint
pop (AvatarPickle *self)
{
  guint node;

  if (self->stack->len <= min_height (self)) {
    fail (self, "an opcode needs a value, and the stack is empty");
    return 0;
  }
  node = g_array_index (self->stack, guint, self->stack->len - 1);
  g_array_set_size (self->stack, self->stack->len - 1);
  return node;
}

static guint
top (AvatarPickle *self)
{
  if (self->stack->len <= min_height (self)) {
    fail (self, "an opcode needs a value, and the stack is empty");
    return 0;
  }
  return g_array_index (self->stack, guint, self->stack->len - 1);
}

/* Pops the last mark. Returns the position of the first value after it; G_MAXUINT on failure. */
static guint
pop_mark (AvatarPickle *self)
{
  guint start;

  if (self->marks->len == 0) {
    fail (self, "there is no mark");
    return G_MAXUINT;
  }
  start = min_height (self);
  g_array_set_size (self->marks, self->marks->len - 1);
  return start;
}

static gboolean
holds_items (const AvatarPickleNode *node)
{
  return node->type == AVATAR_PICKLE_LIST || node->type == AVATAR_PICKLE_TUPLE
      || node->type == AVATAR_PICKLE_DICT || node->type == AVATAR_PICKLE_OBJECT;
}

/* Moves the values from @start of the stack into @node. */
static void
move_items (AvatarPickle *self, guint start, guint node)
{
  AvatarPickleNode *n;
  guint count;

  if (self->error || start > self->stack->len)
    return;
  n = node_at (self, node);
  count = self->stack->len - start;
  if (!holds_items (n)) {
    fail (self, "items are added to a value that cannot hold any");
    return;
  }
  if (count > 0) {
    if (!n->items)
      n->items = g_array_sized_new (FALSE, FALSE, sizeof (guint), count);
    g_array_append_vals (n->items, &g_array_index (self->stack, guint, start), count);
  }
  g_array_set_size (self->stack, start);
}

static void
push_empty (AvatarPickle *self, AvatarPickleType type)
{
  push (self, (AvatarPickleNode){ .type = type });
}

static void
push_int (AvatarPickle *self, AvatarPickleType type, gint64 value)
{
  push (self, (AvatarPickleNode){ .type = type, .integer = value });
}

/* Replaces the last @n values by a tuple with them. */
static void
push_tuple (AvatarPickle *self, guint n)
{
  guint height = self->stack->len, node;

  if (height - min_height (self) < n) {
    fail (self, "an opcode needs a value, and the stack is empty");
    return;
  }
  node = self->nodes->len;
  push_empty (self, AVATAR_PICKLE_TUPLE);
  if (self->error)
    return;
  g_array_set_size (self->stack, height);
  move_items (self, height - n, node);
  push_node (self, node);
}

/* Replaces the values after the mark by a container of @type with them. */
static void
push_after_mark (AvatarPickle *self, AvatarPickleType type)
{
  guint start = pop_mark (self), node = self->nodes->len;

  if (self->error)
    return;
  push_empty (self, type);
  if (self->error)
    return;
  g_array_set_size (self->stack, self->stack->len - 1);
  move_items (self, start, node);
  push_node (self, node);
}

typedef enum
{
  SINGLE_ITEMS,    /* items of a list or set */
  KEYS_AND_VALUES, /* items of a dict */
} Items;

/* Moves the values after the mark into the container below it. */
static void
add_after_mark (AvatarPickle *self, Items items)
{
  guint start = pop_mark (self);

  if (self->error)
    return;
  if (start <= min_height (self))
    fail (self, "items are added without a container");
  else if (items == KEYS_AND_VALUES && (self->stack->len - start) % 2)
    fail (self, "a key has no value");
  else
    move_items (self, start, g_array_index (self->stack, guint, start - 1));
}

/* Moves the last @n values into the container below them. */
static void
add_last (AvatarPickle *self, guint n)
{
  guint height = self->stack->len;

  if (height - min_height (self) < n + 1)
    fail (self, "items are added without a container");
  else
    move_items (self, height - n, g_array_index (self->stack, guint, height - n - 1));
}

static void
push_text (AvatarPickle *self, AvatarPickleType type, guint64 length)
{
  const guint8 *p = take (self, length);

  if (p) /* shorter than 4 GiB, since the pickle is */
    push (self, (AvatarPickleNode){ .type = type, .text = (const char *) p, .length = length });
}

static void
push_long (AvatarPickle *self, guint64 length)
{
  const guint8 *p = take (self, length);
  guint64 value = 0;

  if (!p)
    return;
  if (length > 8) {
    push_empty (self, AVATAR_PICKLE_OTHER);
    return;
  }
  memcpy (&value, p, length);
  value = GUINT64_FROM_LE (value);
  if (length > 0 && length < 8 && p[length - 1] & 0x80)
    value |= G_MAXUINT64 << (8 * length);
  push_int (self, AVATAR_PICKLE_INT, (gint64) value);
}

static void
push_float (AvatarPickle *self)
{
  const guint8 *p = take (self, 8);
  guint64 bits;
  double number;

  if (!p)
    return;
  memcpy (&bits, p, 8);
  bits = GUINT64_FROM_BE (bits);
  memcpy (&number, &bits, 8);
  push (self, (AvatarPickleNode){ .type = AVATAR_PICKLE_FLOAT, .number = number });
}

static const char *
take_line (AvatarPickle *self, gsize *length)
{
  const guint8 *start = self->data + self->at;
  const guint8 *end = memchr (start, '\n', self->size - self->at);

  if (!end) {
    fail (self, "a name does not end");
    return NULL;
  }
  *length = end - start;
  self->at += *length + 1;
  return (const char *) start;
}

#define MAX_GLOBAL 256

static void
push_global (AvatarPickle *self, const char *module, gsize n_module, const char *name, gsize n_name)
{
  char *text;

  if (self->error)
    return;
  if (n_module > MAX_GLOBAL || n_name > MAX_GLOBAL) {
    fail (self, "a global's name has more than %u characters", MAX_GLOBAL);
    return;
  }
  text = g_strdup_printf ("%.*s.%.*s", (int) n_module, module, (int) n_name, name);
  g_ptr_array_add (self->names, text);
  push (self,
      (AvatarPickleNode){ .type = AVATAR_PICKLE_GLOBAL, .text = text, .length = strlen (text) });
}

static void
op_global (AvatarPickle *self)
{
  gsize n_module = 0, n_name = 0;
  const char *module = take_line (self, &n_module),
             *name = module ? take_line (self, &n_name) : NULL;

  if (name)
    push_global (self, module, n_module, name, n_name);
}

static void
op_stack_global (AvatarPickle *self)
{
  guint name = pop (self), module = pop (self);
  const AvatarPickleNode *m, *n;

  if (self->error)
    return;
  m = node_at (self, module);
  n = node_at (self, name);
  if (m->type != AVATAR_PICKLE_STRING || n->type != AVATAR_PICKLE_STRING)
    fail (self, "a global's name is not a string");
  else
    push_global (self, m->text, m->length, n->text, n->length);
}

/* REDUCE and NEWOBJ: pushes a node for a call with its arguments. */
static void
op_object (AvatarPickle *self)
{
  guint args = pop (self), callee = pop (self);

  if (!self->error)
    push (self,
        (AvatarPickleNode){ .type = AVATAR_PICKLE_OBJECT, .first = callee, .second = args });
}

/* BUILD: stores the attributes of an object. The attributes of an OrderedDict are not its items. */
static void
op_build (AvatarPickle *self)
{
  guint attributes = pop (self), object = top (self);

  if (!self->error && node_at (self, object)->type == AVATAR_PICKLE_OBJECT)
    node_at (self, object)->built = attributes + 1;
}

static void
op_persistent (AvatarPickle *self)
{
  guint id = pop (self);

  if (!self->error)
    push (self, (AvatarPickleNode){ .type = AVATAR_PICKLE_STORED, .first = id });
}

static void
memo_put (AvatarPickle *self, guint64 key)
{
  guint node = top (self);

  if (g_hash_table_size (self->memo) >= MAX_NODES)
    fail (self, "its memo has more than %u values; expected fewer in a file of weights", MAX_NODES);
  if (!self->error)
    g_hash_table_insert (self->memo, GUINT_TO_POINTER (key), GUINT_TO_POINTER (node + 1));
}

static void
memo_get (AvatarPickle *self, guint64 key)
{
  guint node = GPOINTER_TO_UINT (g_hash_table_lookup (self->memo, GUINT_TO_POINTER (key)));

  if (self->error)
    return;
  if (node == 0)
    fail (self, "value %" G_GUINT64_FORMAT " of the memo is used but was never stored", key);
  else
    push_node (self, node - 1);
}

static void
op_proto (AvatarPickle *self)
{
  guint64 protocol = take_le (self, 1);

  if (protocol > 5)
    fail (self, "it has protocol %" G_GUINT64_FORMAT "; expected 2 to 5", protocol);
}

/* Runs an opcode that pushes a value from the bytes after it. Returns FALSE if @op is another
 * one. */
static gboolean
run_value (AvatarPickle *self, guint8 op)
{
  switch (op) {
    case 'N':
      push_empty (self, AVATAR_PICKLE_NONE);
      return TRUE;
    case 0x88: /* NEWTRUE, NEWFALSE */
    case 0x89:
      push_int (self, AVATAR_PICKLE_BOOL, op == 0x88);
      return TRUE;
    case 'J': /* BININT, BININT1, BININT2, LONG1, LONG4 */
      push_int (self, AVATAR_PICKLE_INT, (gint32) take_le (self, 4));
      return TRUE;
    case 'K':
      push_int (self, AVATAR_PICKLE_INT, take_le (self, 1));
      return TRUE;
    case 'M':
      push_int (self, AVATAR_PICKLE_INT, take_le (self, 2));
      return TRUE;
    case 0x8a:
      push_long (self, take_le (self, 1));
      return TRUE;
    case 0x8b:
      push_long (self, take_le (self, 4));
      return TRUE;
    case 'G': /* BINFLOAT */
      push_float (self);
      return TRUE;
    case 'X': /* BINUNICODE, SHORT_BINUNICODE, BINUNICODE8 */
    case 'T': /* BINSTRING */
      push_text (self, AVATAR_PICKLE_STRING, take_le (self, 4));
      return TRUE;
    case 0x8c:
    case 'U': /* SHORT_BINSTRING */
      push_text (self, AVATAR_PICKLE_STRING, take_le (self, 1));
      return TRUE;
    case 0x8d:
      push_text (self, AVATAR_PICKLE_STRING, take_le (self, 8));
      return TRUE;
    case 'B': /* BINBYTES, SHORT_BINBYTES, BINBYTES8, BYTEARRAY8 */
      push_text (self, AVATAR_PICKLE_OTHER, take_le (self, 4));
      return TRUE;
    case 'C':
      push_text (self, AVATAR_PICKLE_OTHER, take_le (self, 1));
      return TRUE;
    case 0x8e:
    case 0x96:
      push_text (self, AVATAR_PICKLE_OTHER, take_le (self, 8));
      return TRUE;
    case 'c':
      op_global (self);
      return TRUE;
    default:
      return FALSE;
  }
}

/* Runs an opcode that creates or fills a container. Returns FALSE if @op is another one. */
static gboolean
run_container (AvatarPickle *self, guint8 op)
{
  switch (op) {
    case '}': /* EMPTY_DICT, EMPTY_LIST, EMPTY_SET, EMPTY_TUPLE */
      push_empty (self, AVATAR_PICKLE_DICT);
      return TRUE;
    case ']':
    case 0x8f:
      push_empty (self, AVATAR_PICKLE_LIST);
      return TRUE;
    case ')':
      push_empty (self, AVATAR_PICKLE_TUPLE);
      return TRUE;
    case 't': /* TUPLE, LIST, FROZENSET */
      push_after_mark (self, AVATAR_PICKLE_TUPLE);
      return TRUE;
    case 'l':
    case 0x91:
      push_after_mark (self, AVATAR_PICKLE_LIST);
      return TRUE;
    case 0x85: /* TUPLE1, TUPLE2, TUPLE3 */
    case 0x86:
    case 0x87:
      push_tuple (self, op - 0x84);
      return TRUE;
    case 's': /* SETITEM, SETITEMS, APPEND, APPENDS, ADDITEMS */
      add_last (self, 2);
      return TRUE;
    case 'u':
      add_after_mark (self, KEYS_AND_VALUES);
      return TRUE;
    case 'a':
      add_last (self, 1);
      return TRUE;
    case 'e':
    case 0x90:
      add_after_mark (self, SINGLE_ITEMS);
      return TRUE;
    default:
      return FALSE;
  }
}

/* Runs any other opcode. Returns FALSE if @op is unknown. */
static gboolean
run_other (AvatarPickle *self, guint8 op)
{
  guint height = self->stack->len;

  switch (op) {
    case '(': /* MARK */
      g_array_append_val (self->marks, height);
      return TRUE;
    case '0': /* POP, POP_MARK */
      if (height > min_height (self))
        g_array_set_size (self->stack, height - 1);
      else
        pop_mark (self);
      return TRUE;
    case '1':
      height = pop_mark (self);
      if (!self->error)
        g_array_set_size (self->stack, height);
      return TRUE;
    case 0x93:
      op_stack_global (self);
      return TRUE;
    case 'Q': /* BINPERSID */
      op_persistent (self);
      return TRUE;
    case 'R': /* REDUCE, NEWOBJ */
    case 0x81:
      op_object (self);
      return TRUE;
    case 'b':
      op_build (self);
      return TRUE;
    case 'q': /* BINPUT, LONG_BINPUT, MEMOIZE */
      memo_put (self, take_le (self, 1));
      return TRUE;
    case 'r':
      memo_put (self, take_le (self, 4));
      return TRUE;
    case 0x94:
      memo_put (self, self->memoised++);
      return TRUE;
    case 'h': /* BINGET, LONG_BINGET */
      memo_get (self, take_le (self, 1));
      return TRUE;
    case 'j':
      memo_get (self, take_le (self, 4));
      return TRUE;
    case 0x80:
      op_proto (self);
      return TRUE;
    case 0x95: /* FRAME: a hint for buffering */
      take (self, 8);
      return TRUE;
    default:
      return FALSE;
  }
}

static gboolean
run (AvatarPickle *self, GError **error)
{
  while (!self->error) {
    const guint8 *op = take (self, 1);

    if (!op || *op == '.')
      break;
    if (!run_value (self, *op) && !run_container (self, *op) && !run_other (self, *op))
      fail (self, "opcode 0x%02x does not occur in files of weights", *op);
  }
  if (!self->error && (self->marks->len > 0 || self->stack->len != 1))
    fail (self, "%u values are left at its end; expected 1", self->stack->len);
  if (!self->error)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&self->error));
  return FALSE;
}

static void
node_clear (gpointer data)
{
  AvatarPickleNode *node = data;

  if (holds_items (node) && node->items)
    g_array_unref (node->items);
}

AvatarPickle *
avatar_pickle_parse (const guint8 *data, gsize size, const char *name, GError **error)
{
  AvatarPickle *self;

  if (size > MAX_SIZE) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: its pickle has %" G_GSIZE_FORMAT " bytes; expected at most %" G_GSIZE_FORMAT, name,
        size, MAX_SIZE);
    return NULL;
  }
  self = g_new0 (AvatarPickle, 1);
  self->name = g_strdup (name);
  self->data = data;
  self->size = size;
  self->nodes = g_array_new (FALSE, TRUE, sizeof (AvatarPickleNode));
  g_array_set_clear_func (self->nodes, node_clear);
  self->stack = g_array_new (FALSE, FALSE, sizeof (guint));
  self->marks = g_array_new (FALSE, FALSE, sizeof (guint));
  self->memo = g_hash_table_new (NULL, NULL);
  self->names = g_ptr_array_new_with_free_func (g_free);
  if (!run (self, error))
    g_clear_pointer (&self, avatar_pickle_free);
  return self;
}

void
avatar_pickle_free (AvatarPickle *self)
{
  if (!self)
    return;
  g_clear_error (&self->error);
  g_ptr_array_unref (self->names);
  g_hash_table_unref (self->memo);
  g_array_unref (self->marks);
  g_array_unref (self->stack);
  g_array_unref (self->nodes);
  g_free (self->name);
  g_free (self);
}

guint
avatar_pickle_root (AvatarPickle *self)
{
  return g_array_index (self->stack, guint, 0);
}

gsize
avatar_pickle_size (AvatarPickle *self)
{
  return self->at;
}

guint
avatar_pickle_n_nodes (AvatarPickle *self)
{
  return self->nodes->len;
}

const AvatarPickleNode *
avatar_pickle_get (AvatarPickle *self, guint node)
{
  return node_at (self, node);
}

guint
avatar_pickle_n_items (const AvatarPickleNode *node)
{
  return holds_items (node) && node->items ? node->items->len : 0;
}

const AvatarPickleNode *
avatar_pickle_item (AvatarPickle *self, const AvatarPickleNode *node, guint i)
{
  return node_at (self, g_array_index (node->items, guint, i));
}

gboolean
avatar_pickle_is (const AvatarPickleNode *node, AvatarPickleType type, const char *text)
{
  return node->type == type && node->length == strlen (text)
      && memcmp (node->text, text, node->length) == 0;
}
