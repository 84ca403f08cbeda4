/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One interface to safetensors (alone or in shards), PyTorch and GGUF files. */
#include "engine/formats/tensor-file.h"

#include "engine/formats/gguf.h"
#include "engine/formats/mapped-file.h"
#include "engine/formats/safetensors.h"
#include "engine/formats/safetensors-shards.h"
#include "engine/formats/torch.h"

#include <string.h>

struct _AvatarWeightFile
{
  char *name;
  AvatarSafetensors *safetensors; /* one of the four is set */
  AvatarShards *shards;
  AvatarTorch *torch;
  AvatarGguf *gguf;
  GHashTable *unread; /* name -> reason; both owned by the reader */
};

static void
add_unread (AvatarTensorFile *self, const char *name, const char *why)
{
  g_hash_table_insert (self->unread, (gpointer) name, (gpointer) why);
}

static void
collect_unread (AvatarTensorFile *self)
{
  GHashTable *reasons = self->torch ? avatar_torch_get_reasons (self->torch)
      : self->gguf                  ? avatar_gguf_get_reasons (self->gguf)
                                    : NULL;
  GHashTableIter iter;
  gpointer name, why;
  const char *text;

  self->unread = g_hash_table_new (g_str_hash, g_str_equal);
  if (reasons)
    for (g_hash_table_iter_init (&iter, reasons); g_hash_table_iter_next (&iter, &name, &why);)
      add_unread (self, name, why);
  for (guint i = 0; self->safetensors && i < avatar_safetensors_n_unread (self->safetensors); i++) {
    const char *key = avatar_safetensors_nth_unread (self->safetensors, i, &text);

    add_unread (self, key, text);
  }
  for (guint i = 0; self->shards && i < avatar_shards_n_unread (self->shards); i++) {
    const char *key = avatar_shards_nth_unread (self->shards, i, &text);

    add_unread (self, key, text);
  }
}

AvatarTensorFile *
avatar_tensor_file_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  g_autoptr (AvatarTensorFile) self = g_new0 (AvatarTensorFile, 1);
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  self->name = g_strdup (name);
  if (avatar_torch_is (data, size))
    self->torch = avatar_torch_open_bytes (bytes, name, error);
  else if (avatar_gguf_is (data, size))
    self->gguf = avatar_gguf_open_bytes (bytes, name, error);
  else
    self->safetensors = avatar_safetensors_open_bytes (bytes, name, error);
  if (!self->torch && !self->gguf && !self->safetensors)
    return NULL;
  collect_unread (self);
  return g_steal_pointer (&self);
}

static AvatarTensorFile *
open_shards (const char *path, GError **error)
{
  g_autoptr (AvatarTensorFile) self = g_new0 (AvatarTensorFile, 1);

  self->name = g_strdup (path);
  self->shards = avatar_shards_open (path, error);
  if (!self->shards)
    return NULL;
  collect_unread (self);
  return g_steal_pointer (&self);
}

AvatarTensorFile *
avatar_tensor_file_open (const char *path, GError **error)
{
  g_autoptr (GBytes) bytes = NULL;

  if (g_str_has_suffix (path, ".index.json"))
    return open_shards (path, error);
  bytes = avatar_mapped_open (path, error);
  return bytes ? avatar_tensor_file_open_bytes (bytes, path, error) : NULL;
}

void
avatar_tensor_file_free (AvatarTensorFile *self)
{
  if (!self)
    return;
  g_clear_pointer (&self->unread, g_hash_table_unref);
  avatar_safetensors_free (self->safetensors);
  avatar_shards_free (self->shards);
  avatar_torch_free (self->torch);
  avatar_gguf_free (self->gguf);
  g_free (self->name);
  g_free (self);
}

const char *
avatar_tensor_file_get_name (AvatarTensorFile *self)
{
  return self->name;
}

guint
avatar_tensor_file_n_files (AvatarTensorFile *self)
{
  return self->shards ? avatar_shards_n_files (self->shards) : 1;
}

guint
avatar_tensor_file_n (AvatarTensorFile *self)
{
  if (self->shards)
    return avatar_shards_n (self->shards);
  if (self->gguf)
    return avatar_gguf_n (self->gguf);
  return self->torch ? avatar_torch_n (self->torch) : avatar_safetensors_n (self->safetensors);
}

const char *
avatar_tensor_file_nth (AvatarTensorFile *self, guint i, AvatarTensorSource *out)
{
  if (self->shards)
    return avatar_shards_nth (self->shards, i, out);
  if (self->gguf)
    return avatar_gguf_nth (self->gguf, i, out);
  return self->torch ? avatar_torch_nth (self->torch, i, out)
                     : avatar_safetensors_nth (self->safetensors, i, out);
}

gboolean
avatar_tensor_file_find (AvatarTensorFile *self, const char *name, AvatarTensorSource *out)
{
  for (guint i = 0; i < avatar_tensor_file_n (self); i++)
    if (strcmp (avatar_tensor_file_nth (self, i, NULL), name) == 0) {
      avatar_tensor_file_nth (self, i, out);
      return TRUE;
    }
  return FALSE;
}

const char *
avatar_tensor_file_unusable_reason (AvatarTensorFile *self, const char *name)
{
  return g_hash_table_lookup (self->unread, name);
}

GHashTable *
avatar_tensor_file_get_unread (AvatarTensorFile *self)
{
  return self->unread;
}

JsonObject *
avatar_tensor_file_get_metadata (AvatarTensorFile *self)
{
  return self->safetensors ? avatar_safetensors_get_metadata (self->safetensors) : NULL;
}

const guint8 *
avatar_tensor_file_get_header (AvatarTensorFile *self, gsize *length)
{
  if (self->shards)
    return avatar_shards_get_header (self->shards, length);
  if (self->gguf)
    return avatar_gguf_get_header (self->gguf, length);
  return self->torch ? avatar_torch_get_header (self->torch, length)
                     : avatar_safetensors_get_header (self->safetensors, length);
}
