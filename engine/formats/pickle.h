/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Python's pickles as data. What a pickle would have Python call or build becomes a node that says
 * so; nothing is called. Memory is bounded by the pickle's size. */
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
  AVATAR_PICKLE_STORED, /* something kept outside, known by @first */
  AVATAR_PICKLE_OBJECT, /* @first called with @second; items as of a dict; @built */
  AVATAR_PICKLE_OTHER,  /* bytes, numbers of more than 64 bits */
} AvatarPickleType;

/* Nodes are known by number; the same node may be in many places, also inside itself. @built: 1 + the
 * node of an object's attributes, 0: it was given none. */
typedef struct
{
  AvatarPickleType type;
  guint first, second, built;
  guint length;
  union
  {
    gint64 integer;
    double number;
    const char *text; /* not terminated */
    GArray *items;    /* of guint; NULL: none */
  };
} AvatarPickleNode;

typedef struct _AvatarPickle AvatarPickle;

/* @data must outlive it, and may go on behind the pickle. @name is for messages. */
AvatarPickle *
avatar_pickle_parse (const guint8 *data, gsize size, const char *name, GError **error);
void avatar_pickle_free (AvatarPickle *self);
guint avatar_pickle_root (AvatarPickle *self);
/* Bytes of the data that are the pickle's. */
gsize avatar_pickle_size (AvatarPickle *self);
guint avatar_pickle_n_nodes (AvatarPickle *self);
const AvatarPickleNode *avatar_pickle_get (AvatarPickle *self, guint node);
/* Of lists, tuples, dicts and objects. */
guint avatar_pickle_n_items (const AvatarPickleNode *node);
const AvatarPickleNode *
avatar_pickle_item (AvatarPickle *self, const AvatarPickleNode *node, guint i);
/* Whether it is a string, or a global, of these characters. */
gboolean avatar_pickle_is (const AvatarPickleNode *node, AvatarPickleType type, const char *text);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarPickle, avatar_pickle_free)

G_END_DECLS
