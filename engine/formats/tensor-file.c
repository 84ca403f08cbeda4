/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/formats/tensor-file.h"

#include "engine/formats/gguf.h"
#include "engine/formats/mapped-file.h"
#include "engine/formats/safetensors-shards.h"
#include "engine/formats/safetensors.h"
#include "engine/formats/torch.h"

#include <string.h>

typedef gboolean (*ProbeFunc) (const guint8 *data, gsize size);
typedef gpointer (*OpenFunc) (GBytes *bytes, const char *name, GError **error);
typedef guint (*CountFunc) (gpointer reader);
typedef const char *(*NthFunc) (gpointer reader, guint i, AvatarTensorSource *out);
typedef GHashTable *(*UnusableFunc) (gpointer reader);
typedef const guint8 *(*HeaderFunc) (gpointer reader, gsize *length);
typedef JsonObject *(*MetadataFunc) (gpointer reader);

/**
 * AvatarTensorFileFormat: functions of the reader of one format
 * @probe: returns TRUE if the bytes begin a file of the format
 * @open: creates a reader; %NULL with an error if the file is invalid
 * @n: returns the number of usable tensors
 * @nth: returns the name of a tensor, and its source if that is requested
 * @get_unusable: returns a table of name -> reason, owned by the reader
 * @get_header: returns the bytes that describe the tensors
 * @free: frees the reader
 * @get_metadata: (nullable): returns "__metadata__", or %NULL
 */
typedef struct
{
  ProbeFunc probe;
  OpenFunc open;
  CountFunc n;
  NthFunc nth;
  UnusableFunc get_unusable;
  HeaderFunc get_header;
  GDestroyNotify free;
  MetadataFunc get_metadata;
} AvatarTensorFileFormat;

/* Initialiser of the members from @n to @free. All readers name these functions alike. */
#define READER(prefix)                                                          \
  .n = (CountFunc) avatar_##prefix##_n, .nth = (NthFunc) avatar_##prefix##_nth, \
  .get_unusable = (UnusableFunc) avatar_##prefix##_get_unusable,                \
  .get_header = (HeaderFunc) avatar_##prefix##_get_header,                      \
  .free = (GDestroyNotify) avatar_##prefix##_free

/* Accepts every file: it is tried last, and its reader explains what else the file may be. */
static gboolean
probe_any (const guint8 *data, gsize size)
{
  return TRUE;
}

/* Formats in the order in which they are probed. */
static const AvatarTensorFileFormat formats[] = {
  { .probe = avatar_torch_is, .open = (OpenFunc) avatar_torch_open_bytes, READER (torch) },
  { .probe = avatar_gguf_is, .open = (OpenFunc) avatar_gguf_open_bytes, READER (gguf) },
  { .probe = probe_any,
      .open = (OpenFunc) avatar_safetensors_open_bytes,
      READER (safetensors),
      .get_metadata = (MetadataFunc) avatar_safetensors_get_metadata },
};

/* Several safetensors files. They are opened by the path of their index. */
static const AvatarTensorFileFormat shards_format = { READER (shards) };

struct _AvatarTensorFile
{
  char *name;
  const AvatarTensorFileFormat *format;
  gpointer reader;
};

static AvatarTensorFile *
new_file (const char *name, const AvatarTensorFileFormat *format, gpointer reader)
{
  AvatarTensorFile *self;

  if (!reader)
    return NULL;
  self = g_new0 (AvatarTensorFile, 1);
  self->name = g_strdup (name);
  self->format = format;
  self->reader = reader;
  return self;
}

AvatarTensorFile *
avatar_tensor_file_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  const AvatarTensorFileFormat *format = formats;
  gsize size;
  const guint8 *data = g_bytes_get_data (bytes, &size);

  while (!format->probe (data, size))
    format++;
  return new_file (name, format, format->open (bytes, name, error));
}

AvatarTensorFile *
avatar_tensor_file_open (const char *path, GError **error)
{
  g_autoptr (GBytes) bytes = NULL;

  if (g_str_has_suffix (path, ".index.json"))
    return new_file (path, &shards_format, avatar_shards_open (path, error));
  bytes = avatar_mapped_open (path, error);
  return bytes ? avatar_tensor_file_open_bytes (bytes, path, error) : NULL;
}

void
avatar_tensor_file_free (AvatarTensorFile *self)
{
  if (!self)
    return;
  self->format->free (self->reader);
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
  return self->format == &shards_format ? avatar_shards_n_files (self->reader) : 1;
}

guint
avatar_tensor_file_n (AvatarTensorFile *self)
{
  return self->format->n (self->reader);
}

const char *
avatar_tensor_file_nth (AvatarTensorFile *self, guint i, AvatarTensorSource *out)
{
  return self->format->nth (self->reader, i, out);
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
  return g_hash_table_lookup (avatar_tensor_file_get_unusable (self), name);
}

GHashTable *
avatar_tensor_file_get_unusable (AvatarTensorFile *self)
{
  return self->format->get_unusable (self->reader);
}

JsonObject *
avatar_tensor_file_get_metadata (AvatarTensorFile *self)
{
  return self->format->get_metadata ? self->format->get_metadata (self->reader) : NULL;
}

const guint8 *
avatar_tensor_file_get_header (AvatarTensorFile *self, gsize *length)
{
  return self->format->get_header (self->reader, length);
}
