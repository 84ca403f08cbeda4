/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An index has the form {"metadata": {...}, "weight_map": {tensor: file}}. Index and shards are
 * downloaded one by one, so they may belong to different models. Every disagreement between them is
 * an error. */
#include "engine/formats/safetensors-shards.h"

#include "engine/formats/file-magic.h"
#include "engine/formats/json.h"
#include "engine/formats/mapped-file.h"

#include <string.h>

#define MAX_INDEX (16u << 20)
#define MAX_SHARDS 1024
#define MAX_FILE_NAME 255

typedef struct
{
  const char *name; /* owned by the shard */
  AvatarTensorSource source;
} Entry;

struct _AvatarShards
{
  char *name;
  AvatarShardIndex *index;
  GPtrArray *shards;    /* array of AvatarSafetensors */
  GArray *entries;      /* array of Entry */
  GHashTable *unusable; /* name -> reason, both owned by the shard */
  GByteArray *header;   /* digests of the shards' tables */
};

/* ---------------------------------------------------------------------------------------- index */

/* Returns TRUE for the plain name of a file in the same folder. Symbolic links are followed, since
 * the caches of download tools consist of them. */
static gboolean
is_file_name (const char *file)
{
  return file[0] && file[0] != '.' && strlen (file) <= MAX_FILE_NAME && !strpbrk (file, "/\\");
}

/* Returns the index of @file + 1, or 0 if there are too many files. @known: file -> index + 1 */
static guint
find_file (AvatarShardIndex *self, GHashTable *known, const char *file)
{
  guint position = GPOINTER_TO_UINT (g_hash_table_lookup (known, file));
  char *copy;

  if (position || self->files->len == MAX_SHARDS)
    return position;
  copy = g_strdup (file);
  g_ptr_array_add (self->files, copy);
  g_hash_table_insert (known, copy, GUINT_TO_POINTER (self->files->len));
  return self->files->len;
}

static gboolean
add_place (AvatarShardIndex *self, GHashTable *known, const char *tensor, JsonNode *node,
    const char *name, GError **error)
{
  const char *file = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;
  guint position;

  if (!file || !is_file_name (file)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: the file of tensor \"%s\" is \"%s\"; expected the name of a file in the folder of the "
        "index; download the index again",
        name, tensor, file ? file : "(not a string)");
    return FALSE;
  }
  position = find_file (self, known, file);
  if (!position) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: found more than %d shards; this is not the index of a model", name, MAX_SHARDS);
    return FALSE;
  }
  g_hash_table_insert (self->places, g_strdup (tensor), GUINT_TO_POINTER (position));
  return TRUE;
}

AvatarShardIndex *
avatar_shard_index_parse (const char *text, gsize length, const char *name, GError **error)
{
  g_autoptr (AvatarShardIndex) self = NULL;
  g_autoptr (GHashTable) known = g_hash_table_new (g_str_hash, g_str_equal);
  g_autoptr (JsonObject) root = NULL;
  g_autoptr (GList) tensors = NULL;
  const char *advice = avatar_file_magic_advice ((const guint8 *) text, length);
  JsonNode *map;

  if (advice || length > MAX_INDEX) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s", name,
        advice
            ? advice
            : "found more than 16 MiB, which is too large for an index; download the file again");
    return NULL;
  }
  root = avatar_json_parse (text, length, name, error);
  if (!root)
    return NULL;
  map = json_object_get_member (root, "weight_map");
  if (!map || !JSON_NODE_HOLDS_OBJECT (map)
      || json_object_get_size (json_node_get_object (map)) == 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: found no \"weight_map\"; expected {\"weight_map\": {tensor: file, ...}}", name);
    return NULL;
  }
  self = g_new0 (AvatarShardIndex, 1);
  self->files = g_ptr_array_new_with_free_func (g_free);
  self->places = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  tensors = json_object_get_members (json_node_get_object (map));
  for (GList *l = tensors; l; l = l->next)
    if (!add_place (self, known, l->data,
            json_object_get_member (json_node_get_object (map), l->data), name, error))
      return NULL;
  return g_steal_pointer (&self);
}

void
avatar_shard_index_free (AvatarShardIndex *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->places);
  g_ptr_array_unref (self->files);
  g_free (self);
}

/* --------------------------------------------------------------------------------------- shards */

static void
add_digest (AvatarShards *self, AvatarSafetensors *shard)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize length, n = 32;
  const guint8 *header = avatar_safetensors_get_header (shard, &length);
  guint8 digest[32];

  g_checksum_update (sum, header, length);
  g_checksum_get_digest (sum, digest, &n);
  g_byte_array_append (self->header, digest, n);
}

/* Sets the error for a tensor of @file that the index assigns to @place - 1, or does not
 * contain. */
static gboolean
misplaced (AvatarShards *self, const char *tensor, const char *file, guint place, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
      "%s: tensor \"%s\" is in %s, but the index %s%s; index and shards do not belong together: "
      "download all of them again, from one source",
      self->name, tensor, file, place ? "places it in " : "does not mention it",
      place ? (const char *) self->index->files->pdata[place - 1] : "");
  return FALSE;
}

static guint
place_of (AvatarShards *self, const char *tensor)
{
  return GPOINTER_TO_UINT (g_hash_table_lookup (self->index->places, tensor));
}

/* Adds the unusable tensors of shard @i, which must be in the index as well. */
static gboolean
add_unusable (AvatarShards *self, guint i, GError **error)
{
  GHashTableIter iter;
  gpointer name, reason;

  g_hash_table_iter_init (&iter, avatar_safetensors_get_unusable (self->shards->pdata[i]));
  while (g_hash_table_iter_next (&iter, &name, &reason)) {
    if (place_of (self, name) != i + 1)
      return misplaced (self, name, self->index->files->pdata[i], place_of (self, name), error);
    g_hash_table_insert (self->unusable, name, reason);
  }
  return TRUE;
}

/* Adds all tensors of shard @i, for which the index must have this shard. Tied tensors may be
 * missing from the index. */
static gboolean
add_shard (AvatarShards *self, guint i, GError **error)
{
  AvatarSafetensors *shard = self->shards->pdata[i];

  for (guint j = 0; j < avatar_safetensors_n (shard); j++) {
    Entry entry;
    guint place;

    entry.name = avatar_safetensors_nth (shard, j, &entry.source);
    place = place_of (self, entry.name);
    if (place != i + 1 && j >= avatar_safetensors_n_stored (shard))
      continue;
    if (place != i + 1)
      return misplaced (self, entry.name, self->index->files->pdata[i], place, error);
    g_array_append_val (self->entries, entry);
  }
  add_digest (self, shard);
  return add_unusable (self, i, error);
}

/* Checks that the shards have all tensors of the index. All tensors of the shards are in the index,
 * so it is sufficient to compare the numbers. */
static gboolean
check_complete (AvatarShards *self, GError **error)
{
  g_autoptr (GHashTable) found = NULL;
  GHashTableIter iter;
  gpointer tensor, place;

  if (self->entries->len + g_hash_table_size (self->unusable)
      == g_hash_table_size (self->index->places))
    return TRUE;
  found = g_hash_table_new (g_str_hash, g_str_equal);
  for (guint i = 0; i < self->entries->len; i++)
    g_hash_table_add (found, (gpointer) g_array_index (self->entries, Entry, i).name);
  g_hash_table_iter_init (&iter, self->index->places);
  while (g_hash_table_iter_next (&iter, &tensor, &place))
    if (!g_hash_table_contains (found, tensor) && !g_hash_table_contains (self->unusable, tensor))
      break;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: tensor \"%s\" is not in %s, where the index places it; index and shards do not belong "
      "together: download all of them again, from one source",
      self->name, (char *) tensor,
      (const char *) self->index->files->pdata[GPOINTER_TO_UINT (place) - 1]);
  return FALSE;
}

AvatarShards *
avatar_shards_new (AvatarShardIndex *index, GPtrArray *shards, const char *name, GError **error)
{
  g_autoptr (AvatarShards) self = g_new0 (AvatarShards, 1);

  self->name = g_strdup (name);
  self->index = index;
  self->shards = shards;
  self->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  self->unusable = g_hash_table_new (g_str_hash, g_str_equal);
  self->header = g_byte_array_new ();
  for (guint i = 0; i < shards->len; i++)
    if (!add_shard (self, i, error))
      return NULL;
  return check_complete (self, error) ? g_steal_pointer (&self) : NULL;
}

static AvatarSafetensors *
open_shard (const char *folder, const char *file, const char *index, GError **error)
{
  g_autofree char *path = g_build_filename (folder, file, NULL);

  /* Opening a pipe could block. */
  if (g_file_test (path, G_FILE_TEST_IS_REGULAR))
    return avatar_safetensors_open (path, error);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
      "%s: %s, but %s refers to it; download this shard as well", path,
      g_file_test (path, G_FILE_TEST_EXISTS) ? "this is not a regular file"
                                             : "there is no such file",
      index);
  return NULL;
}

AvatarShards *
avatar_shards_open (const char *path, GError **error)
{
  g_autoptr (GBytes) bytes = avatar_mapped_open (path, error);
  g_autoptr (AvatarShardIndex) index = NULL;
  g_autoptr (GPtrArray) shards
      = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_safetensors_free);
  g_autofree char *folder = g_path_get_dirname (path);

  if (bytes)
    index = avatar_shard_index_parse (g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes),
        path, error);
  if (!index)
    return NULL;
  for (guint i = 0; i < index->files->len; i++) {
    AvatarSafetensors *shard = open_shard (folder, index->files->pdata[i], path, error);

    if (!shard)
      return NULL;
    g_ptr_array_add (shards, shard);
  }
  return avatar_shards_new (g_steal_pointer (&index), g_steal_pointer (&shards), path, error);
}

void
avatar_shards_free (AvatarShards *self)
{
  if (!self)
    return;
  g_byte_array_unref (self->header);
  g_array_unref (self->entries);
  g_hash_table_unref (self->unusable);
  g_ptr_array_unref (self->shards);
  avatar_shard_index_free (self->index);
  g_free (self->name);
  g_free (self);
}

guint
avatar_shards_n_files (AvatarShards *self)
{
  return self->shards->len;
}

guint
avatar_shards_n (AvatarShards *self)
{
  return self->entries->len;
}

const char *
avatar_shards_nth (AvatarShards *self, guint i, AvatarTensorSource *out)
{
  g_return_val_if_fail (i < self->entries->len, NULL);
  if (out)
    *out = g_array_index (self->entries, Entry, i).source;
  return g_array_index (self->entries, Entry, i).name;
}

GHashTable *
avatar_shards_get_unusable (AvatarShards *self)
{
  return self->unusable;
}

const guint8 *
avatar_shards_get_header (AvatarShards *self, gsize *length)
{
  *length = self->header->len;
  return self->header->data;
}
