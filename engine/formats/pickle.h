/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of Python's pickles. Calls that Python would make become nodes; nothing is called.
 * Memory is bounded by the size of the pickle. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_PICKLE_NONE,
  AVATAR_PICKLE_BOOL,   /* @integer */
  AVATAR_PICKLE_INT,    /* @integer */
  AVATAR_PICKLE_FLOAT,  /* @number */
  AVATAR_PICKLE_STRING, /* @text, @length */
  AVATAR_PICKLE_LIST,   /* @items; also a set */
  AVATAR_PICKLE_TUPLE,  /* @items */
  AVATAR_PICKLE_DICT,   /* @items: key, value, key, value ... */
  AVATAR_PICKLE_GLOBAL, /* @text: "module.name", @length */
  AVATAR_PICKLE_STORED, /* persistent object with the id @first */
  AVATAR_PICKLE_OBJECT, /* result of calling @first with @second; @items like a dict; @built */
  AVATAR_PICKLE_OTHER,  /* bytes, or an integer of more than 64 bits */
} AvatarPickleType;

/**
 * AvatarPickleNode: one value of a pickle
 * @first, @second: numbers of nodes
 * @built: number of the node with the attributes of an object + 1; 0 = none
 * @length: length of @text (bytes)
 * @text: text in the pickle, without a terminator
 * @items: (nullable): array of guint: numbers of nodes
 *
 * A node may occur in several places, even within itself.
 */
typedef struct
{
  AvatarPickleType type;
  guint first, second, built;
  guint length;
  union
  {
    gint64 integer;
    double number;
    const char *text;
    GArray *items;
  };
} AvatarPickleNode;

typedef struct _AvatarPickle AvatarPickle;

/* @data: [size] must outlive the result; bytes after the pickle are ignored
 * @name: name of the file for errors
 * Returns: (transfer full): the nodes of the pickle, or %NULL with AVATAR_ERROR_FORMAT */
AvatarPickle *
avatar_pickle_parse (const guint8 *data, gsize size, const char *name, GError **error);
void avatar_pickle_free (AvatarPickle *self);
/* Returns: number of the node that the pickle represents. */
guint avatar_pickle_root (AvatarPickle *self);
/* Returns: size of the pickle (bytes). */
gsize avatar_pickle_size (AvatarPickle *self);
guint avatar_pickle_n_nodes (AvatarPickle *self);
/* Returns: (transfer none): the node with the number @node. */
const AvatarPickleNode *avatar_pickle_get (AvatarPickle *self, guint node);
/* Returns: number of items of a list, tuple, dict or object; 0 for other types. */
guint avatar_pickle_n_items (const AvatarPickleNode *node);
/* Returns: (transfer none): item @i. */
const AvatarPickleNode *
avatar_pickle_item (AvatarPickle *self, const AvatarPickleNode *node, guint i);
/* @type: AVATAR_PICKLE_STRING or AVATAR_PICKLE_GLOBAL
 * Returns: TRUE if @node has this type and the text @text. */
gboolean avatar_pickle_is (const AvatarPickleNode *node, AvatarPickleType type, const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarPickle, avatar_pickle_free)

G_END_DECLS
