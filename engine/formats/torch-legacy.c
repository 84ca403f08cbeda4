/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order is: magic number, version 1001, the machine's properties, the object, the storages' keys, and
 * for each of these an int64 count of elements with the elements. How large an element is can only be
 * told from the object. */
#include "engine/formats/torch-legacy.h"

#include "engine/formats/torch-tensor.h"

#include <string.h>

#define VERSION 1001
#define MAX_PICKLE ((gsize) 16 << 20) /* no more is looked at; the parser would refuse it */

/* LONG1 of ten bytes: 0x1950a86a20f9469cfc6c */
static const guint8 magic[] = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

typedef struct
{
  gsize item;
  guint64 count;
  const guint8 *data; /* NULL: not met with yet */
} Storage;

struct _AvatarTorchLegacy
{
  const char *name;
  const guint8 *data;
  gsize size, at;
  AvatarPickle *object;
  gsize header_size;
  GHashTable *storages; /* key -> Storage */
};

typedef const AvatarPickleNode Node;

static gboolean
fail (AvatarTorchLegacy *self, GError **error, const char *text)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: this is a PyTorch file of the old kind, but %s", self->name, text);
  return FALSE;
}

gboolean
avatar_torch_legacy_is (const guint8 *data, gsize size)
{
  const gsize n = sizeof magic - 1;

  /* PROTO, in protocol 4 and 5 a FRAME of nine bytes, and the number */
  if (size < 2 + n || data[0] != 0x80)
    return FALSE;
  return memcmp (data + 2, magic, n) == 0
      || (size >= 11 + n && data[2] == 0x95 && memcmp (data + 11, magic, n) == 0);
}

/* The pickle that comes next. */
static AvatarPickle *
next_pickle (AvatarTorchLegacy *self, GError **error)
{
  AvatarPickle *pickle = avatar_pickle_parse (self->data + self->at,
      MIN (self->size - self->at, MAX_PICKLE), self->name, error);

  if (pickle)
    self->at += avatar_pickle_size (pickle);
  return pickle;
}

static Node *
root_of (AvatarPickle *pickle)
{
  return avatar_pickle_get (pickle, avatar_pickle_root (pickle));
}

static gboolean
read_front (AvatarTorchLegacy *self, GError **error)
{
  g_autoptr (AvatarPickle) number = next_pickle (self, error);
  g_autoptr (AvatarPickle) version = number ? next_pickle (self, error) : NULL;
  g_autoptr (AvatarPickle) machine = version ? next_pickle (self, error) : NULL;
  Node *properties;

  if (!machine)
    return FALSE;
  if (root_of (version)->type != AVATAR_PICKLE_INT || root_of (version)->integer != VERSION)
    return fail (self, error,
        "of a version that is not known; load it with PyTorch and save it again");
  properties = root_of (machine);
  for (guint i = 0; i + 1 < avatar_pickle_n_items (properties); i += 2)
    if (avatar_pickle_is (avatar_pickle_item (machine, properties, i), AVATAR_PICKLE_STRING,
            "little_endian"))
      return avatar_pickle_item (machine, properties, i + 1)->integer == 1
          || fail (self, error,
              "its numbers are not little-endian; save it again on such a machine");
  return fail (self, error, "it does not say in which order the bytes of its numbers are");
}

/* The storages that the object speaks of. */
static gboolean
list_storages (AvatarTorchLegacy *self, GError **error)
{
  for (guint i = 0; i < avatar_pickle_n_nodes (self->object); i++) {
    Storage s = { 0 }, *known;
    char *key = NULL;

    if (!avatar_torch_parse_storage (self->object, avatar_pickle_get (self->object, i), &key,
            &s.item, &s.count))
      continue;
    known = g_hash_table_lookup (self->storages, key);
    if (known && (known->item != s.item || known->count != s.count)) {
      g_free (key);
      return fail (self, error, "one of its storages is described in two ways; fetch it again");
    }
    if (!known)
      g_hash_table_insert (self->storages, g_steal_pointer (&key), g_memdup2 (&s, sizeof s));
    g_free (key);
  }
  return TRUE;
}

/* The bytes of the storage @key, which come next. */
static gboolean
read_storage (AvatarTorchLegacy *self, Node *key, GError **error)
{
  g_autofree char *name = NULL;
  guint64 count, bytes;
  Storage *s;

  if (key->type != AVATAR_PICKLE_STRING)
    return fail (self, error, "a storage's key is no string; fetch it again");
  name = g_strndup (key->text, key->length);
  s = g_hash_table_lookup (self->storages, name);
  if (!s)
    return fail (self, error,
        "it has a storage of a kind that is not read; load it with PyTorch and save it again");
  if (self->size - self->at < 8)
    return fail (self, error, "it is truncated; fetch it again");
  memcpy (&count, self->data + self->at, 8);
  count = GUINT64_FROM_LE (count);
  self->at += 8;
  if (count != s->count || s->data)
    return fail (self, error, "a storage is not of the size that it should have; fetch it again");
  if (!g_uint64_checked_mul (&bytes, count, s->item) || bytes > self->size - self->at)
    return fail (self, error, "it is truncated; fetch it again");
  s->data = self->data + self->at;
  self->at += bytes;
  return TRUE;
}

static gboolean
parse (AvatarTorchLegacy *self, GError **error)
{
  g_autoptr (AvatarPickle) keys = NULL;
  Node *list;

  if (!read_front (self, error))
    return FALSE;
  self->object = next_pickle (self, error);
  keys = self->object ? next_pickle (self, error) : NULL;
  if (!keys || !list_storages (self, error))
    return FALSE;
  self->header_size = self->at;
  list = root_of (keys);
  if (list->type != AVATAR_PICKLE_LIST)
    return fail (self, error, "it has no list of storages; fetch it again");
  for (guint i = 0; i < avatar_pickle_n_items (list); i++)
    if (!read_storage (self, avatar_pickle_item (keys, list, i), error))
      return FALSE;
  return TRUE;
}

AvatarTorchLegacy *
avatar_torch_legacy_open (const guint8 *data, gsize size, const char *name, GError **error)
{
  g_autoptr (AvatarTorchLegacy) self = g_new0 (AvatarTorchLegacy, 1);

  self->name = name;
  self->data = data;
  self->size = size;
  self->storages = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  return parse (self, error) ? g_steal_pointer (&self) : NULL;
}

void
avatar_torch_legacy_free (AvatarTorchLegacy *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->storages);
  avatar_pickle_free (self->object);
  g_free (self);
}

AvatarPickle *
avatar_torch_legacy_get_pickle (AvatarTorchLegacy *self)
{
  return self->object;
}

gsize
avatar_torch_legacy_header_size (AvatarTorchLegacy *self)
{
  return self->header_size;
}

const guint8 *
avatar_torch_legacy_find (const char *key, gsize *size, gpointer data)
{
  AvatarTorchLegacy *self = data;
  const Storage *s = g_hash_table_lookup (self->storages, key);

  if (!s)
    return NULL;
  *size = s->data ? s->count * s->item : 0;
  return s->data;
}
