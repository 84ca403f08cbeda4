/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A file has a magic number, the version 1001, properties of the machine, the object, the keys
 * of the storages, and for each storage an int64 count of elements and the elements. Only the
 * object has the sizes of elements. */
#include "engine/formats/torch-legacy.h"

#include "engine/formats/torch-tensor.h"

#include <string.h>

#define VERSION 1001
/* Maximum size of a pickle that the parser accepts (bytes). */
#define MAX_PICKLE ((gsize) 16 << 20)

/* LONG1 of ten bytes: 0x1950a86a20f9469cfc6c */
static const guint8 magic[] = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

typedef struct
{
  gsize item; /* size of an element (bytes) */
  guint64 count;
  const guint8 *data; /* NULL until its bytes are found */
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
      "%s: this is a PyTorch file from before version 1.6, but %s", self->name, text);
  return FALSE;
}

gboolean
avatar_torch_legacy_is (const guint8 *data, gsize size)
{
  const gsize n = sizeof magic - 1;

  /* PROTO, in protocols 4 and 5 a FRAME of nine bytes, and the number */
  if (size < 2 + n || data[0] != 0x80)
    return FALSE;
  return memcmp (data + 2, magic, n) == 0
      || (size >= 11 + n && data[2] == 0x95 && memcmp (data + 11, magic, n) == 0);
}

/* Parses the next pickle. */
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

/* Reads the pickles before the object. */
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
    return fail (self, error, "its version is not 1001; load it with PyTorch and save it again");
  properties = root_of (machine);
  for (guint i = 0; i + 1 < avatar_pickle_n_items (properties); i += 2)
    if (avatar_pickle_is (avatar_pickle_item (machine, properties, i), AVATAR_PICKLE_STRING,
            "little_endian"))
      return avatar_pickle_item (machine, properties, i + 1)->integer == 1
          || fail (self, error,
              "its numbers are not little-endian; save it again on a little-endian machine");
  return fail (self, error, "its byte order is missing; download it again");
}

/* Lists the storages to which the object refers. */
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
      return fail (self, error,
          "two descriptions of a storage contradict each other; download it again");
    }
    if (!known)
      g_hash_table_insert (self->storages, g_steal_pointer (&key), g_memdup2 (&s, sizeof s));
    g_free (key);
  }
  return TRUE;
}

/* Finds the bytes of the storage @key, which are next in the file. */
static gboolean
read_storage (AvatarTorchLegacy *self, Node *key, GError **error)
{
  g_autofree char *name = NULL;
  guint64 count, bytes;
  Storage *s;

  if (key->type != AVATAR_PICKLE_STRING)
    return fail (self, error, "the key of a storage is not a string; download it again");
  name = g_strndup (key->text, key->length);
  s = g_hash_table_lookup (self->storages, name);
  if (!s)
    return fail (self, error,
        "a storage has an unsupported type; load it with PyTorch and save it again");
  if (self->size - self->at < 8)
    return fail (self, error, "it is truncated; download it again");
  memcpy (&count, self->data + self->at, 8);
  count = GUINT64_FROM_LE (count);
  self->at += 8;
  if (count != s->count || s->data)
    return fail (self, error,
        "a storage does not have the size that its description states; download it again");
  if (!g_uint64_checked_mul (&bytes, count, s->item) || bytes > self->size - self->at)
    return fail (self, error, "it is truncated; download it again");
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
    return fail (self, error, "the list of storages is missing; download it again");
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
