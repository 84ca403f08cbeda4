/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A module is an object of a class "__torch__...", whose attributes (tensors, numbers, modules)
 * BUILD sets. Modules may be shared or contain themselves, so depth and number of steps are
 * limited. */
#include "engine/formats/torch-script.h"

#include <string.h>

#define MAX_DEPTH 32
#define MAX_STEPS 65536
#define MAX_PATH 512

typedef const AvatarPickleNode Node;

typedef struct
{
  AvatarPickle *pickle;
  AvatarScriptFunc func;
  gpointer data;
  GString *path;
  guint steps;
} Walk;

/* Returns the attributes of a module, or NULL if @node is not a module. */
static Node *
attributes_of (AvatarPickle *p, Node *node)
{
  static const char prefix[] = "__torch__.";
  Node *class, *built;

  if (node->type != AVATAR_PICKLE_OBJECT || !node->built)
    return NULL;
  class = avatar_pickle_get (p, node->first);
  built = avatar_pickle_get (p, node->built - 1);
  if (class->type != AVATAR_PICKLE_GLOBAL || class->length < strlen (prefix)
      || memcmp (class->text, prefix, strlen (prefix)) != 0)
    return NULL;
  return built->type == AVATAR_PICKLE_DICT ? built : NULL;
}

/* Returns the argument if @node is a call of torch.jit._pickle.build_tensorlist(), or @node
 * itself. */
static Node *
list_of (AvatarPickle *p, Node *node)
{
  Node *args;

  if (node->type != AVATAR_PICKLE_OBJECT
      || !avatar_pickle_is (avatar_pickle_get (p, node->first), AVATAR_PICKLE_GLOBAL,
          "torch.jit._pickle.build_tensorlist"))
    return node;
  args = avatar_pickle_get (p, node->second);
  return args->type == AVATAR_PICKLE_TUPLE && avatar_pickle_n_items (args) == 1
      ? avatar_pickle_item (p, args, 0)
      : node;
}

static const char *walk (Walk *self, Node *node, guint depth);

/* Visits the attribute @name. Returns NULL, or a description of the error. */
static const char *
walk_child (Walk *self, const char *name, guint length, Node *child, guint depth)
{
  gsize before = self->path->len;
  const char *problem;

  if (++self->steps > MAX_STEPS)
    return "its modules have more than 65536 attributes";
  if (before + length + 1 > MAX_PATH || memchr (name, 0, length)
      || !g_utf8_validate_len (name, length, NULL))
    return "an attribute of a module has an invalid name";
  if (before)
    g_string_append_c (self->path, '.');
  g_string_append_len (self->path, name, length);
  problem = walk (self, list_of (self->pickle, child), depth + 1);
  g_string_truncate (self->path, before);
  return problem;
}

/* Visits @node and its attributes. Returns NULL, or a description of the error. */
static const char *
walk (Walk *self, Node *node, guint depth)
{
  Node *dict = attributes_of (self->pickle, node);
  gboolean list = node->type == AVATAR_PICKLE_LIST || node->type == AVATAR_PICKLE_TUPLE;
  const char *problem = NULL;

  if (!dict && !list) {
    self->func (self->path->str, node, self->data);
    return NULL;
  }
  if (depth > MAX_DEPTH)
    return "its modules are nested deeper than 32 levels";
  for (guint i = 0; list && i < avatar_pickle_n_items (node) && !problem; i++) {
    char name[16];

    g_snprintf (name, sizeof name, "%u", i);
    problem
        = walk_child (self, name, strlen (name), avatar_pickle_item (self->pickle, node, i), depth);
  }
  for (guint i = 0; dict && i + 1 < avatar_pickle_n_items (dict) && !problem; i += 2) {
    Node *key = avatar_pickle_item (self->pickle, dict, i);

    if (key->type == AVATAR_PICKLE_STRING)
      problem = walk_child (self, key->text, key->length,
          avatar_pickle_item (self->pickle, dict, i + 1), depth);
  }
  return problem;
}

gboolean
avatar_torch_script_walk (AvatarPickle *pickle, Node *root, const char *prefix,
    AvatarScriptFunc func, gpointer data, const char *file, GError **error)
{
  g_autoptr (GString) path = g_string_new (prefix);
  Walk self = { pickle, func, data, path, 0 };
  const char *problem = "it does not contain a module";

  if (attributes_of (pickle, root) || root->type == AVATAR_PICKLE_TUPLE)
    problem = walk (&self, root, 0);
  if (!problem)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: this is a TorchScript archive, but %s; download it again", file, problem);
  return FALSE;
}
