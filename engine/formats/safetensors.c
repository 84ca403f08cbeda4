/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A safetensors file has the length of its table as u64, the table as JSON, {name: {dtype, shape,
 * data_offsets}}, and the data. The ranges must cover the data exactly, without overlaps or gaps;
 * this also detects repeated names, which a JSON parser hides. Order and alignment are not checked,
 * since writers differ in them. */
#include "engine/formats/safetensors.h"

#include "engine/formats/file-magic.h"
#include "engine/formats/json.h"
#include "engine/formats/mapped-file.h"
#include "engine/formats/safetensors-tied.h"

#include <string.h>

#define MAX_HEADER (100u << 20)
/* Number of bytes that are read to recognise other kinds of files. */
#define MAGIC_BYTES 64
/* Longest name of a dtype that is shown in messages. */
#define MAX_DTYPE_NAME 32

typedef struct
{
  char *name;
  guint64 start, end; /* offsets in the data */
  AvatarTensorSource source;
  char *unusable; /* (nullable): reason why the tensor cannot be used */
} Entry;

struct _AvatarSafetensors
{
  char *name;
  GBytes *bytes;
  guint8 *header; /* copy of the table, since the file may be truncated */
  gsize header_length;
  GArray *entries;      /* array of Entry, by start; then tied tensors */
  GHashTable *unusable; /* name -> reason, both owned */
  JsonObject *metadata; /* (nullable) */
  guint n_stored;
  GHashTable *index; /* name -> position in entries + 1 */
};

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
  g_free (((Entry *) data)->unusable);
}

static gboolean
fail (AvatarSafetensors *self, GError **error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
fail (AvatarSafetensors *self, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s", self->name, text);
  return FALSE;
}

static gboolean
dtype_from_name (const char *name, AvatarDType *dtype)
{
  static const struct
  {
    const char *name;
    AvatarDType dtype;
  } known[] = { { "F32", AVATAR_F32 }, { "F16", AVATAR_F16 }, { "BF16", AVATAR_BF16 },
    { "F8_E4M3", AVATAR_F8_E4M3 }, { "F8_E5M2", AVATAR_F8_E5M2 }, { "I64", AVATAR_I64 },
    { "I32", AVATAR_I32 }, { "I8", AVATAR_I8 }, { "U8", AVATAR_U8 } };

  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (strcmp (name, known[i].name) == 0) {
      *dtype = known[i].dtype;
      return TRUE;
    }
  return FALSE;
}

/* Gets element @i. Returns FALSE if it is not an integer >= 0. */
static gboolean
array_get (JsonArray *array, guint i, gint64 *value)
{
  JsonNode *node = json_array_get_element (array, i);

  if (!JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_INT64)
    return FALSE;
  *value = json_node_get_int (node);
  return *value >= 0;
}

static JsonArray *
member_array (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
}

static gboolean
parse_shape (AvatarSafetensors *self, const char *name, JsonArray *array, Entry *entry,
    AvatarDType dtype, GError **error)
{
  gint64 shape[AVATAR_MAX_RANK] = { 1 };
  guint rank = json_array_get_length (array);
  guint64 extent = avatar_dtype_size (dtype), bytes;

  if (rank > AVATAR_MAX_RANK) {
    entry->unusable
        = g_strdup_printf ("it has %u dimensions; at most %d are supported", rank, AVATAR_MAX_RANK);
    return TRUE;
  }
  for (guint i = 0; i < rank; i++) {
    if (!array_get (array, i, &shape[i]))
      return fail (self, error, "tensor \"%s\": dimension %u of the shape is not an integer >= 0",
          name, i);
    /* Strides must fit as well, even if a dimension is 0. */
    if (!g_uint64_checked_mul (&extent, extent, MAX (shape[i], 1)) || extent > G_MAXINT64)
      return fail (self, error, "tensor \"%s\": its shape is too large for the address space",
          name);
  }
  entry->source = avatar_tensor_source_of_shape (dtype, MAX (rank, 1), shape);
  bytes = avatar_tensor_source_size (&entry->source);
  if (bytes != entry->end - entry->start)
    return fail (self, error,
        "tensor \"%s\": its shape and dtype need %" G_GUINT64_FORMAT
        " bytes, its data_offsets give %" G_GUINT64_FORMAT,
        name, bytes, entry->end - entry->start);
  return TRUE;
}

/* Returns the reason for an unknown dtype, which is an error only if the tensor is needed. */
static char *
describe_dtype (const char *type)
{
  return g_strdup_printf (
      "its dtype is %s, which is not supported (F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I8 U8 are)",
      strlen (type) <= MAX_DTYPE_NAME ? type : "a long name");
}

static gboolean
parse_entry (AvatarSafetensors *self, const char *name, JsonNode *node, Entry *entry,
    guint64 data_size, GError **error)
{
  JsonObject *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  JsonNode *type = object ? json_object_get_member (object, "dtype") : NULL;
  JsonArray *shape = object ? member_array (object, "shape") : NULL;
  JsonArray *offsets = object ? member_array (object, "data_offsets") : NULL;
  const char *type_name = type && JSON_NODE_HOLDS_VALUE (type) ? json_node_get_string (type) : NULL;
  AvatarDType dtype;
  gint64 start, end;

  if (!type_name || !shape || !offsets)
    return fail (self, error,
        "tensor \"%s\": expected {\"dtype\": string, \"shape\": [...], \"data_offsets\": [b, e]}",
        name);
  if (json_array_get_length (offsets) != 2 || !array_get (offsets, 0, &start)
      || !array_get (offsets, 1, &end) || start > end)
    return fail (self, error,
        "tensor \"%s\": data_offsets must be two integers >= 0 in ascending order", name);
  if ((guint64) end > data_size)
    return fail (self, error,
        "tensor \"%s\" ends at byte %" G_GINT64_FORMAT " of the data, which has %" G_GUINT64_FORMAT
        " bytes: the file is truncated or corrupt; download it again",
        name, end, data_size);
  entry->start = start;
  entry->end = end;
  if (!dtype_from_name (type_name, &dtype)) {
    entry->unusable = describe_dtype (type_name);
    return TRUE;
  }
  return parse_shape (self, name, shape, entry, dtype, error);
}

static gint
compare_entries (gconstpointer a, gconstpointer b)
{
  const Entry *x = a, *y = b;

  if (x->start != y->start)
    return x->start < y->start ? -1 : 1;
  if (x->end != y->end)
    return x->end < y->end ? -1 : 1;
  return strcmp (x->name, y->name);
}

/* Checks that the tensors, in the order of their data, cover all of it without overlaps. */
static gboolean
check_cover (AvatarSafetensors *self, guint64 data_size, GError **error)
{
  guint64 at = 0;

  for (guint i = 0; i < self->entries->len; i++) {
    Entry *entry = &g_array_index (self->entries, Entry, i);

    if (entry->start < at)
      return fail (self, error, "tensor \"%s\" overlaps another one at byte %" G_GUINT64_FORMAT,
          entry->name, entry->start);
    if (entry->start > at)
      return fail (self, error,
          "bytes %" G_GUINT64_FORMAT " to %" G_GUINT64_FORMAT
          " of the data belong to no tensor (perhaps a name occurs twice)",
          at, entry->start);
    at = entry->end;
  }
  if (at != data_size)
    return fail (self, error, "%" G_GUINT64_FORMAT " bytes follow the last tensor; expected none",
        data_size - at);
  return TRUE;
}

/* Adds tensors that were not written because they are tied to others, in the order of their
 * names. */
static void
add_tied (AvatarSafetensors *self)
{
  g_autoptr (GHashTable) tied = avatar_tied_names (self->metadata);
  g_autoptr (GList) names = g_list_sort (g_hash_table_get_keys (tied), (GCompareFunc) strcmp);

  for (GList *l = names; l; l = l->next) {
    guint kept
        = GPOINTER_TO_UINT (g_hash_table_lookup (self->index, g_hash_table_lookup (tied, l->data)));
    Entry entry;

    if (!kept || kept > self->n_stored || g_hash_table_contains (self->index, l->data))
      continue;
    entry = g_array_index (self->entries, Entry, kept - 1);
    entry.name = g_strdup (l->data);
    entry.source.name = entry.name;
    g_array_append_val (self->entries, entry);
    g_hash_table_insert (self->index, entry.name, GUINT_TO_POINTER (self->entries->len));
  }
}

/* Moves unusable tensors from the entries to their table. */
static void
move_unusable (AvatarSafetensors *self)
{
  guint n = 0;

  for (guint i = 0; i < self->entries->len; i++) {
    Entry *entry = &g_array_index (self->entries, Entry, i);
    Entry kept = *entry;

    *entry = (Entry){ 0 };
    if (kept.unusable)
      g_hash_table_insert (self->unusable, kept.name, kept.unusable);
    else
      g_array_index (self->entries, Entry, n++) = kept;
  }
  g_array_set_size (self->entries, n);
}

static void
set_position (AvatarSafetensors *self, Entry *entry, guint64 data_start)
{
  entry->source.name = entry->name;
  entry->source.file = self->name;
  entry->source.bytes = self->bytes;
  entry->source.offset = data_start + entry->start;
}

static gboolean
parse_table (AvatarSafetensors *self, JsonObject *table, guint64 data_start, guint64 data_size,
    GError **error)
{
  g_autoptr (GList) names = json_object_get_members (table);
  JsonNode *metadata;

  for (GList *l = names; l; l = l->next) {
    Entry entry = { 0 };

    if (strcmp (l->data, "__metadata__") == 0)
      continue;
    if (!parse_entry (self, l->data, json_object_get_member (table, l->data), &entry, data_size,
            error))
      return FALSE;
    entry.name = g_strdup (l->data);
    set_position (self, &entry, data_start);
    g_array_append_val (self->entries, entry);
  }
  g_array_sort (self->entries, compare_entries);
  if (!check_cover (self, data_size, error))
    return FALSE;
  move_unusable (self);
  for (guint i = 0; i < self->entries->len; i++)
    g_hash_table_insert (self->index, g_array_index (self->entries, Entry, i).name,
        GUINT_TO_POINTER (i + 1));
  self->n_stored = self->entries->len;
  metadata = json_object_get_member (table, "__metadata__");
  if (metadata && JSON_NODE_HOLDS_OBJECT (metadata)) {
    self->metadata = json_object_ref (json_node_get_object (metadata));
    add_tied (self);
  }
  return TRUE;
}

static gboolean
parse (AvatarSafetensors *self, GError **error)
{
  g_autoptr (JsonObject) table = NULL;
  gsize size;
  const guint8 *data = g_bytes_get_data (self->bytes, &size);
  guint8 start[MAGIC_BYTES];
  const char *advice;
  guint64 length;

  if (!avatar_mapped_read (start, data, MIN (size, sizeof start)))
    return fail (self, error, "the file cannot be read; download it again");
  advice = avatar_file_magic_advice (start, MIN (size, sizeof start));
  if (advice)
    return fail (self, error, "%s", advice);
  if (size >= 4 && memcmp (start, "PK\003\004", 4) == 0)
    return fail (self, error,
        "this is a zip archive (perhaps a PyTorch file); expected safetensors");
  if (size < 8)
    return fail (self, error,
        "the file is shorter than the 8 bytes at the start of a safetensors file; download it again");
  memcpy (&length, start, 8);
  length = GUINT64_FROM_LE (length);
  if (length > MAX_HEADER)
    return fail (self, error,
        "its first 8 bytes state a table of %" G_GUINT64_FORMAT " bytes; expected at most %u: this "
        "is not a safetensors file",
        length, MAX_HEADER);
  if (length > size - 8)
    return fail (self, error,
        "its first 8 bytes state a table of %" G_GUINT64_FORMAT
        " bytes, but the file has only %" G_GSIZE_FORMAT
        " bytes: it is truncated; download it again",
        length, size);
  self->header_length = length;
  self->header = g_malloc (length);
  if (!avatar_mapped_read (self->header, data + 8, length))
    return fail (self, error, "the file is being truncated; download it again");
  table = avatar_json_parse ((const char *) self->header, length, self->name, error);
  if (!table)
    return FALSE;
  return parse_table (self, table, 8 + length, size - 8 - length, error);
}

AvatarSafetensors *
avatar_safetensors_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  AvatarSafetensors *self = g_new0 (AvatarSafetensors, 1);

  self->name = g_strdup (name);
  self->bytes = g_bytes_ref (bytes);
  self->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_array_set_clear_func (self->entries, entry_clear);
  self->unusable = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  self->index = g_hash_table_new (g_str_hash, g_str_equal);
  if (!parse (self, error))
    g_clear_pointer (&self, avatar_safetensors_free);
  return self;
}

AvatarSafetensors *
avatar_safetensors_open (const char *path, GError **error)
{
  g_autoptr (GBytes) bytes = avatar_mapped_open (path, error);

  return bytes ? avatar_safetensors_open_bytes (bytes, path, error) : NULL;
}

void
avatar_safetensors_free (AvatarSafetensors *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->index);
  g_array_unref (self->entries);
  g_hash_table_unref (self->unusable);
  g_clear_pointer (&self->metadata, json_object_unref);
  g_bytes_unref (self->bytes);
  g_free (self->header);
  g_free (self->name);
  g_free (self);
}

gboolean
avatar_safetensors_get (AvatarSafetensors *self, const char *name, AvatarTensorSource *out)
{
  guint i = GPOINTER_TO_UINT (g_hash_table_lookup (self->index, name));

  if (i == 0)
    return FALSE;
  *out = g_array_index (self->entries, Entry, i - 1).source;
  return TRUE;
}

guint
avatar_safetensors_n (AvatarSafetensors *self)
{
  return self->entries->len;
}

guint
avatar_safetensors_n_stored (AvatarSafetensors *self)
{
  return self->n_stored;
}

const char *
avatar_safetensors_nth (AvatarSafetensors *self, guint i, AvatarTensorSource *out)
{
  g_return_val_if_fail (i < self->entries->len, NULL);
  if (out)
    *out = g_array_index (self->entries, Entry, i).source;
  return g_array_index (self->entries, Entry, i).name;
}

GHashTable *
avatar_safetensors_get_unusable (AvatarSafetensors *self)
{
  return self->unusable;
}

JsonObject *
avatar_safetensors_get_metadata (AvatarSafetensors *self)
{
  return self->metadata;
}

const guint8 *
avatar_safetensors_get_header (AvatarSafetensors *self, gsize *length)
{
  *length = self->header_length;
  return self->header;
}
