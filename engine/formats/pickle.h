/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Python's pickles as data. Calls that Python would make become nodes; nothing is called. Memory is
 * bounded by the size of the pickle. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_PICKLE_NONE,
  AVATAR_PICKLE_BOOL,   /* integer */
  AVATAR_PICKLE_INT,    /* integer */
  AVATAR_PICKLE_FLOAT,  /* number */
  AVATAR_PICKLE_STRING, /* text, length */
  AVATAR_PICKLE_LIST,   /* items; sets as well */
  AVATAR_PICKLE_TUPLE,  /* items */
  AVATAR_PICKLE_DICT,   /* items: key, value, key, value ... */
  AVATAR_PICKLE_GLOBAL, /* text "module.name", length */
  AVATAR_PICKLE_STORED, /* a persistent object, whose id is node @first */
  AVATAR_PICKLE_OBJECT, /* result of calling @first with @second; items like a dict; @built */
  AVATAR_PICKLE_OTHER,  /* bytes, numbers of more than 64 bits */
} AvatarPickleType;

/* Nodes have numbers. A node may occur in several places, even within itself. @built: number of the
 * node with an object's attributes + 1; 0 = none. */
typedef struct
{
  AvatarPickleType type;
  guint first, second, built;
  guint length;
  union
  {
    gint64 integer;
    double number;
    const char *text; /* not terminated by 0 */
    GArray *items;    /* of guint; NULL: none */
  };
} AvatarPickleNode;

typedef struct _AvatarPickle AvatarPickle;

/* @data: must outlive the pickle; bytes after the pickle are ignored. @name: name of the file, for
 * messages */
AvatarPickle *
avatar_pickle_parse (const guint8 *data, gsize size, const char *name, GError **error);
void avatar_pickle_free (AvatarPickle *self);
guint avatar_pickle_root (AvatarPickle *self);
/* Size of the pickle in bytes. */
gsize avatar_pickle_size (AvatarPickle *self);
guint avatar_pickle_n_nodes (AvatarPickle *self);
const AvatarPickleNode *avatar_pickle_get (AvatarPickle *self, guint node);
/* Number of items of a list, tuple, dict or object. */
guint avatar_pickle_n_items (const AvatarPickleNode *node);
const AvatarPickleNode *
avatar_pickle_item (AvatarPickle *self, const AvatarPickleNode *node, guint i);
/* TRUE if @node is a string or a global with the text @text. */
gboolean avatar_pickle_is (const AvatarPickleNode *node, AvatarPickleType type, const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarPickle, avatar_pickle_free)

G_END_DECLS
