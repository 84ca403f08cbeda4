/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GGUF, versions 2 and 3 (docs/dev/spec/vae-text-face-formats.md 5.5): properties, a table of
 * tensors, and their data. Dimensions are stored innermost first. Blocks are expanded, and permuted
 * rows are reordered, when a source is read. */
#include "engine/formats/gguf.h"

#include "engine/formats/gguf-llama.h"

#include <string.h>

/* Limit of the number of properties, and of the number of tensors. */
#define MAX_ENTRIES 65536
#define MAX_NAME 1024
#define MAX_ALIGNMENT 65536
#define MAX_HEADS 1024

enum
{
  TYPE_STRING = 8,
  TYPE_ARRAY = 9,
  N_TYPES = 13,
};

typedef struct
{
  char *name;
  AvatarTensorSource source;
} Entry;

/* Shape of a tensor before the converter flattened it, outermost dimension first. */
typedef struct
{
  guint rank;
  gint64 shape[AVATAR_MAX_RANK];
} Shape;

struct _AvatarGguf
{
  char *name;
  GBytes *bytes;
  const guint8 *data;
  gsize size, at, header_length;
  guint64 alignment;
  char *architecture;
  guint64 heads, kv_heads; /* attention heads of a language model */
  GHashTable *shapes;      /* name -> Shape */
  GArray *entries;         /* array of Entry */
  GHashTable *unusable;    /* name (owned) -> reason (static) */
  gboolean failed;
};

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
}

static gboolean
fail (AvatarGguf *self, GError **error, const char *text)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: this GGUF file %s", self->name, text);
  return FALSE;
}

/* Returns the next @n bytes, or NULL with @failed set if the file ends before. */
static const guint8 *
take (AvatarGguf *self, guint64 n)
{
  const guint8 *p = self->data + self->at;

  if (n > self->size - self->at) {
    self->failed = TRUE;
    return NULL;
  }
  self->at += n;
  return p;
}

static guint64
take_le (AvatarGguf *self, guint bytes)
{
  const guint8 *p = take (self, bytes);
  guint64 value = 0;

  if (p)
    memcpy (&value, p, bytes);
  return GUINT64_FROM_LE (value);
}

/* Returns the next string, or NULL with @failed set if it is not a valid name. */
static char *
take_name (AvatarGguf *self)
{
  guint64 n = take_le (self, 8);
  const guint8 *p = take (self, n);

  if (p && n <= MAX_NAME && !memchr (p, 0, n) && g_utf8_validate ((const char *) p, n, NULL))
    return g_strndup ((const char *) p, n);
  self->failed = TRUE;
  return NULL;
}

/* Returns the size of a value in bytes; 0 for strings, arrays and unknown types. */
static guint
value_size (guint type)
{
  static const guint8 sizes[N_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };

  return type < N_TYPES ? sizes[type] : 0;
}

/* Skips @n values of @type. */
static void
skip_values (AvatarGguf *self, guint type, guint64 n)
{
  guint64 bytes;

  if (value_size (type)) {
    if (g_uint64_checked_mul (&bytes, n, value_size (type)))
      take (self, bytes);
    else
      self->failed = TRUE;
    return;
  }
  self->failed = self->failed || type != TYPE_STRING;
  for (guint64 i = 0; i < n && !self->failed; i++)
    take (self, take_le (self, 8));
}

/* Reads the original shape of @tensor, an array of integers; skips other arrays. */
static void
take_shape (AvatarGguf *self, const char *tensor, guint type, guint64 n)
{
  Shape shape = { .rank = n };

  if (n > AVATAR_MAX_RANK || n == 0 || type < 4 || type == 6 || type == 7 || !value_size (type)
      || type == 12) {
    skip_values (self, type, n);
    return;
  }
  for (guint i = 0; i < n; i++)
    shape.shape[i] = take_le (self, value_size (type));
  g_hash_table_replace (self->shapes, g_strdup (tensor), g_memdup2 (&shape, sizeof shape));
}

static gboolean
is_integer (guint type)
{
  return type < 6 || type == 10 || type == 11;
}

/* Reads the value of a property that is needed. Returns FALSE if @key is not one of these. */
static gboolean
take_needed (AvatarGguf *self, const char *key, guint type)
{
  if (type == 4 && strcmp (key, "general.alignment") == 0) {
    self->alignment = take_le (self, 4);
  } else if (type == TYPE_STRING && strcmp (key, "general.architecture") == 0) {
    g_free (self->architecture);
    self->architecture = take_name (self);
  } else if (is_integer (type) && strcmp (key, "llama.attention.head_count") == 0) {
    self->heads = take_le (self, value_size (type));
  } else if (is_integer (type) && strcmp (key, "llama.attention.head_count_kv") == 0) {
    self->kv_heads = take_le (self, value_size (type));
  } else {
    return FALSE;
  }
  return TRUE;
}

static void
take_property (AvatarGguf *self)
{
  static const char shape_of[] = "comfy.gguf.orig_shape.";
  g_autofree char *key = take_name (self);
  guint type = take_le (self, 4);
  guint64 n = 1;

  if (!key || take_needed (self, key, type))
    return;
  if (type == TYPE_ARRAY) {
    type = take_le (self, 4);
    n = take_le (self, 8);
    if (g_str_has_prefix (key, shape_of)) {
      take_shape (self, key + strlen (shape_of), type, n);
      return;
    }
  }
  skip_values (self, type, n);
}

/* Counts the values of a shape. Returns FALSE if values or strides exceed the address space;
 * strides must fit even if a dimension is 0. */
static gboolean
count (const gint64 *shape, guint rank, guint64 *n)
{
  guint64 extent = sizeof (gint64);

  *n = 1;
  for (guint i = 0; i < rank; i++) {
    if (shape[i] < 0 || !g_uint64_checked_mul (&extent, extent, MAX (shape[i], 1))
        || extent > G_MAXINT64)
      return FALSE;
    *n *= shape[i];
  }
  return TRUE;
}

/* Entry of the table of tensors; @offset from the end of the table. */
typedef struct
{
  guint rank, type;
  gint64 shape[AVATAR_MAX_RANK];
  guint64 n, offset;
} Info;

/* Reads an entry. Returns NULL, or the reason why the tensor cannot be used. */
static const char *
take_info (AvatarGguf *self, Info *info)
{
  const char *reason = NULL;

  info->rank = take_le (self, 4);
  if (info->rank > AVATAR_MAX_RANK || info->rank == 0) {
    self->failed = self->failed || info->rank > 64;
    reason = "it has no dimensions, or more than 5";
  }
  for (guint i = 0; i < info->rank && !self->failed; i++) {
    gint64 side = take_le (self, 8);

    if (!reason)
      info->shape[info->rank - 1 - i] = side;
  }
  if (!reason && !count (info->shape, info->rank, &info->n))
    reason = "its shape is too large for the address space";
  info->type = take_le (self, 4);
  info->offset = take_le (self, 8);
  return reason;
}

/* Restores the shape before the tensor was flattened, if it has as many values. */
static void
unflatten (AvatarGguf *self, const char *name, Info *info)
{
  const Shape *shape = g_hash_table_lookup (self->shapes, name);
  guint64 n;

  if (!shape || !count (shape->shape, shape->rank, &n) || n != info->n)
    return;
  info->rank = shape->rank;
  memcpy (info->shape, shape->shape, sizeof info->shape);
}

/* Sets dtype and block format of @source. Returns NULL, or the reason why the tensor cannot be
 * used. */
static const char *
set_format (const Info *info, AvatarTensorSource *source)
{
  static const struct
  {
    guint type;
    AvatarDType dtype;
  } plain[] = { { 0, AVATAR_F32 }, { 1, AVATAR_F16 }, { 24, AVATAR_I8 }, { 26, AVATAR_I32 },
    { 27, AVATAR_I64 }, { 30, AVATAR_BF16 } };

  for (guint i = 0; i < G_N_ELEMENTS (plain); i++)
    if (plain[i].type == info->type) {
      source->dtype = plain[i].dtype;
      return NULL;
    }
  source->dtype = AVATAR_F32;
  source->block = avatar_gguf_block (info->type);
  if (!source->block)
    return "its quantisation is not supported (F32, F16, BF16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, "
           "Q4_1, Q4_0, Q3_K and Q2_K are)";
  if (info->shape[info->rank - 1] % source->block->values)
    return "its rows are not a whole number of blocks";
  return NULL;
}

/* Adds the next tensor. Its offset is from the end of the table, which is not known yet. */
static void
take_tensor (AvatarGguf *self)
{
  g_autofree char *name = take_name (self);
  AvatarTensorSource format = { 0 };
  Info info = { 0 };
  Entry e = { 0 };
  const char *reason = take_info (self, &info);

  if (self->failed)
    return;
  if (!reason)
    reason = set_format (&info, &format);
  if (reason) {
    g_hash_table_insert (self->unusable, g_steal_pointer (&name), (gpointer) reason);
    return;
  }
  unflatten (self, name, &info);
  e.source = avatar_tensor_source_in_bytes (self->bytes, info.offset, format.dtype, info.rank,
      info.shape);
  e.source.block = format.block;
  e.source.file = self->name;
  e.name = g_steal_pointer (&name);
  g_array_append_val (self->entries, e);
}

/* Returns the release's name of @name, or @name itself. */
static char *
translate_name (AvatarGgufKind kind, const char *name, AvatarGgufOrder *order)
{
  char *translated = avatar_gguf_name (kind, name, order);

  return translated ? translated : g_strdup (name);
}

/* Returns TRUE if the first matrix of an MLP, which has more rows than columns, has the name of the
 * second. */
static gboolean
is_swapped (AvatarGguf *self)
{
  for (guint i = 0; i < self->entries->len; i++) {
    const Entry *e = &g_array_index (self->entries, Entry, i);

    if (strcmp (e->name, "v.blk.0.ffn_up.weight") == 0)
      return e->source.rank == 2 && e->source.shape[0] < e->source.shape[1];
  }
  return FALSE;
}

static AvatarGgufKind
find_kind (AvatarGguf *self)
{
  AvatarGgufKind kind = avatar_gguf_kind (self->architecture);

  return kind == AVATAR_GGUF_VISION && is_swapped (self) ? AVATAR_GGUF_OLD_VISION : kind;
}

/* Stores the sides and heads of a matrix whose rows are permuted. */
static gboolean
set_order (AvatarGguf *self, Entry *e, AvatarGgufOrder order, GError **error)
{
  guint64 heads = order == AVATAR_GGUF_BY_KV_HEAD && self->kv_heads ? self->kv_heads : self->heads;
  AvatarTensorSource *s = &e->source;
  gint64 rows = s->shape[0];

  if (order == AVATAR_GGUF_IN_ORDER || avatar_tensor_source_n (s) == 0)
    return TRUE;
  if (s->rank > 2 || heads == 0 || heads > MAX_HEADS || rows % (2 * heads))
    return fail (self, error,
        "has a matrix of queries or keys whose rows are not a multiple of its number of heads, so "
        "that their order cannot be restored; download it again");
  s->heads = heads;
  s->rows = rows;
  s->cols = avatar_tensor_source_n (s) / rows;
  return TRUE;
}

/* Translates llama.cpp's names and finds permuted rows. */
static gboolean
translate (AvatarGguf *self, GError **error)
{
  GHashTable *unusable = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  AvatarGgufKind kind = find_kind (self);
  gboolean done = TRUE;
  AvatarGgufOrder order;
  GHashTableIter iter;
  gpointer name, reason;

  g_hash_table_iter_init (&iter, self->unusable);
  while (g_hash_table_iter_next (&iter, &name, &reason))
    g_hash_table_insert (unusable, translate_name (kind, name, &order), reason);
  g_hash_table_unref (self->unusable);
  self->unusable = unusable;
  for (guint i = 0; i < self->entries->len && done; i++) {
    Entry *e = &g_array_index (self->entries, Entry, i);
    g_autofree char *name_in_file = e->name;

    e->name = translate_name (kind, name_in_file, &order);
    done = set_order (self, e, order, error);
  }
  return done;
}

/* Sets the offsets of all tensors. A tensor outside the file makes the whole file invalid.
 * @start: offset of the data of all tensors */
static gboolean
place_tensors (AvatarGguf *self, guint64 start, GError **error)
{
  g_autoptr (GHashTable) names = g_hash_table_new (g_str_hash, g_str_equal);

  for (guint i = 0; i < self->entries->len; i++) {
    Entry *e = &g_array_index (self->entries, Entry, i);
    guint64 offset = e->source.offset, bytes = avatar_tensor_source_stored_size (&e->source);

    if (!g_hash_table_add (names, e->name) || g_hash_table_contains (self->unusable, e->name))
      return fail (self, error, "has two tensors with the same name; download it again");
    if (start > self->size || offset > self->size - start || bytes > self->size - start - offset)
      return fail (self, error,
          "is truncated: a tensor ends after the end of the file; download it again");
    e->source.name = e->name;
    e->source.offset = start + offset;
  }
  return TRUE;
}

static gboolean
parse (AvatarGguf *self, GError **error)
{
  guint64 version, n_tensors, n_properties;

  take (self, 4);
  version = take_le (self, 4);
  n_tensors = take_le (self, 8);
  n_properties = take_le (self, 8);
  if (self->failed || (version != 2 && version != 3))
    return fail (self, error, "is truncated, or its version is not 2 or 3; download it again");
  if (n_tensors > MAX_ENTRIES || n_properties > MAX_ENTRIES)
    return fail (self, error, "states more than 65536 tensors or properties; download it again");
  self->alignment = 32;
  for (guint64 i = 0; i < n_properties && !self->failed; i++)
    take_property (self);
  for (guint64 i = 0; i < n_tensors && !self->failed; i++)
    take_tensor (self);
  if (self->failed)
    return fail (self, error, "is broken or truncated within its table; download it again");
  self->header_length = self->at;
  if (self->alignment == 0 || self->alignment > MAX_ALIGNMENT)
    return fail (self, error,
        "states an alignment of 0 or of more than 65536 bytes; download it again");
  return translate (self, error)
      && place_tensors (self, (self->at + self->alignment - 1) / self->alignment * self->alignment,
          error);
}

gboolean
avatar_gguf_is (const guint8 *data, gsize size)
{
  return size >= 4 && memcmp (data, "GGUF", 4) == 0;
}

AvatarGguf *
avatar_gguf_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  AvatarGguf *self = g_new0 (AvatarGguf, 1);

  self->name = g_strdup (name);
  self->bytes = g_bytes_ref (bytes);
  self->data = g_bytes_get_data (bytes, &self->size);
  self->shapes = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  self->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_array_set_clear_func (self->entries, entry_clear);
  self->unusable = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  if (!parse (self, error))
    g_clear_pointer (&self, avatar_gguf_free);
  return self;
}

void
avatar_gguf_free (AvatarGguf *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->unusable);
  g_array_unref (self->entries);
  g_hash_table_unref (self->shapes);
  g_bytes_unref (self->bytes);
  g_free (self->architecture);
  g_free (self->name);
  g_free (self);
}

guint
avatar_gguf_n (AvatarGguf *self)
{
  return self->entries->len;
}

const char *
avatar_gguf_nth (AvatarGguf *self, guint i, AvatarTensorSource *out)
{
  g_return_val_if_fail (i < self->entries->len, NULL);
  if (out)
    *out = g_array_index (self->entries, Entry, i).source;
  return g_array_index (self->entries, Entry, i).name;
}

GHashTable *
avatar_gguf_get_unusable (AvatarGguf *self)
{
  return self->unusable;
}

const guint8 *
avatar_gguf_get_header (AvatarGguf *self, gsize *length)
{
  *length = self->header_length;
  return self->data;
}
