/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parses calls of torch._utils._rebuild_*() and their arguments
 * (docs/dev/spec/vae-text-face-formats.md 5.2). Nothing is called. Shapes, strides and offsets are
 * checked against the size of the storages. */
#include "engine/formats/torch-tensor.h"

#include "engine/formats/mapped-file.h"

#include <string.h>

#define MAX_KEY 1024
/* Maximum depth of nested calls of _rebuild_parameter(). */
#define MAX_WRAPS 4
/* Limit of the total size of copies (bytes). */
#define MAX_COPIES ((guint64) 1 << 30)
/* Limit of the bytes that are read for each byte that is copied. Views may interleave in a
 * storage, so that more is read than copied. */
#define READ_FACTOR 8

typedef const AvatarPickleNode Node;

/* Dtype in the file. @is_float64: stored as float64, which is converted to @dtype */
typedef struct
{
  AvatarDType dtype;
  gboolean is_float64;
} Stored;

/* Gets the dtype of a class of storages, or of a dtype. Returns FALSE if it is not supported. */
static gboolean
parse_dtype (Node *global, Stored *out)
{
  static const struct
  {
    const char *name;
    Stored stored;
  } known[] = {
    { "torch.FloatStorage", { AVATAR_F32, FALSE } },
    { "torch.DoubleStorage", { AVATAR_F32, TRUE } },
    { "torch.HalfStorage", { AVATAR_F16, FALSE } },
    { "torch.BFloat16Storage", { AVATAR_BF16, FALSE } },
    { "torch.LongStorage", { AVATAR_I64, FALSE } },
    { "torch.IntStorage", { AVATAR_I32, FALSE } },
    { "torch.CharStorage", { AVATAR_I8, FALSE } },
    { "torch.ByteStorage", { AVATAR_U8, FALSE } },
    { "torch.BoolStorage", { AVATAR_U8, FALSE } },
    { "torch.float32", { AVATAR_F32, FALSE } },
    { "torch.float64", { AVATAR_F32, TRUE } },
    { "torch.float16", { AVATAR_F16, FALSE } },
    { "torch.bfloat16", { AVATAR_BF16, FALSE } },
    { "torch.float8_e4m3fn", { AVATAR_F8_E4M3, FALSE } },
    { "torch.float8_e5m2", { AVATAR_F8_E5M2, FALSE } },
    { "torch.int64", { AVATAR_I64, FALSE } },
    { "torch.int32", { AVATAR_I32, FALSE } },
    { "torch.int8", { AVATAR_I8, FALSE } },
    { "torch.uint8", { AVATAR_U8, FALSE } },
    { "torch.bool", { AVATAR_U8, FALSE } },
  };

  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (avatar_pickle_is (global, AVATAR_PICKLE_GLOBAL, known[i].name)) {
      *out = known[i].stored;
      return TRUE;
    }
  return FALSE;
}

static gsize
item_size (Stored stored)
{
  return stored.is_float64 ? 8 : avatar_dtype_size (stored.dtype);
}

/* Returns the size of an element of a storage of @class, also for unsupported dtypes; 0 if
 * @class is unknown. */
static gsize
item_size_of (Node *class)
{
  static const struct
  {
    const char *name;
    gsize size;
  } others[] = {
    { "torch.storage.UntypedStorage", 1 }, /* its count is in bytes */
    { "torch.ShortStorage", 2 },
    { "torch.ComplexFloatStorage", 8 },
    { "torch.ComplexDoubleStorage", 16 },
    { "torch.QUInt8Storage", 1 },
    { "torch.QInt8Storage", 1 },
    { "torch.QInt32Storage", 4 },
  };
  Stored stored;

  if (parse_dtype (class, &stored))
    return item_size (stored);
  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    if (avatar_pickle_is (class, AVATAR_PICKLE_GLOBAL, others[i].name))
      return others[i].size;
  return 0;
}

void
avatar_torch_reader_init (AvatarTorchReader *self, GBytes *bytes)
{
  self->bytes = bytes;
  self->copies = g_ptr_array_new_with_free_func ((GDestroyNotify) g_bytes_unref);
  self->copy_bytes_left = MIN (g_bytes_get_size (bytes), MAX_COPIES);
  self->read_bytes_left = READ_FACTOR * self->copy_bytes_left;
}

void
avatar_torch_reader_clear (AvatarTorchReader *self)
{
  g_clear_pointer (&self->copies, g_ptr_array_unref);
}

/* Arguments of a call that creates a tensor. */
typedef struct
{
  Node *stored; /* ('storage', class, key, location, count) */
  Node *offset, *size, *stride;
  Node *dtype; /* (nullable): only of _rebuild_tensor_v3() */
} Call;

/* Parses the call @node. Returns FALSE if it does not create a tensor. */
static gboolean
find_call (AvatarPickle *p, Node *node, Call *call)
{
  static const char *const names[] = { "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_tensor_v3", "torch._utils._rebuild_tensor" };

  for (guint wraps = 0; wraps < MAX_WRAPS && node->type == AVATAR_PICKLE_OBJECT; wraps++) {
    Node *callee = avatar_pickle_get (p, node->first), *args = avatar_pickle_get (p, node->second);
    guint n = args->type == AVATAR_PICKLE_TUPLE ? avatar_pickle_n_items (args) : 0;

    for (guint i = 0; i < G_N_ELEMENTS (names) && n >= 4; i++)
      if (avatar_pickle_is (callee, AVATAR_PICKLE_GLOBAL, names[i])) {
        *call = (Call){ avatar_pickle_item (p, args, 0), avatar_pickle_item (p, args, 1),
          avatar_pickle_item (p, args, 2), avatar_pickle_item (p, args, 3), NULL };
        if (i == 1 && n >= 7)
          call->dtype = avatar_pickle_item (p, args, 6);
        return i != 1 || call->dtype;
      }
    if (!avatar_pickle_is (callee, AVATAR_PICKLE_GLOBAL, "torch._utils._rebuild_parameter")
        || n < 1)
      return FALSE;
    node = avatar_pickle_item (p, args, 0);
  }
  return FALSE;
}

/* Gets the @n items of @tuple. Returns FALSE if one is not an integer >= 0. */
static gboolean
get_sizes (AvatarPickle *p, Node *tuple, guint n, gint64 *out)
{
  for (guint i = 0; i < n; i++) {
    Node *value = avatar_pickle_item (p, tuple, i);

    if (value->type != AVATAR_PICKLE_INT || value->integer < 0)
      return FALSE;
    out[i] = value->integer;
  }
  return TRUE;
}

/* Gets shape and strides. Returns NULL, or the reason why the tensor cannot be used. */
static const char *
get_shape (AvatarPickle *p, const Call *call, Stored stored, AvatarTensorSource *t, gint64 *stride)
{
  guint rank = avatar_pickle_n_items (call->size);
  gint64 shape[AVATAR_MAX_RANK] = { 1 };
  guint64 extent = item_size (stored);

  if (call->size->type != AVATAR_PICKLE_TUPLE || call->stride->type != AVATAR_PICKLE_TUPLE
      || avatar_pickle_n_items (call->stride) != rank)
    return "its size and stride have different lengths";
  if (rank > AVATAR_MAX_RANK)
    return "it has more than 5 dimensions";
  if (!get_sizes (p, call->size, rank, shape) || !get_sizes (p, call->stride, rank, stride))
    return "its size or stride has an item that is not an integer >= 0";
  for (guint i = 0; i < rank; i++)
    /* Strides must fit as well, even if a dimension is 0. */
    if (!g_uint64_checked_mul (&extent, extent, MAX (shape[i], 1)) || extent > G_MAXINT64)
      return "its shape is too large for the address space";
  *t = avatar_tensor_source_of_shape (stored.dtype, MAX (rank, 1), shape);
  return NULL;
}

gboolean
avatar_torch_parse_storage (AvatarPickle *p, Node *stored, char **key, gsize *item, guint64 *count)
{
  Node *id, *name, *n;

  if (stored->type != AVATAR_PICKLE_STORED)
    return FALSE;
  id = avatar_pickle_get (p, stored->first);
  if (id->type != AVATAR_PICKLE_TUPLE || avatar_pickle_n_items (id) < 5
      || !avatar_pickle_is (avatar_pickle_item (p, id, 0), AVATAR_PICKLE_STRING, "storage"))
    return FALSE;
  *item = item_size_of (avatar_pickle_item (p, id, 1));
  name = avatar_pickle_item (p, id, 2);
  n = avatar_pickle_item (p, id, 4);
  if (*item == 0)
    return FALSE;
  if (name->type != AVATAR_PICKLE_STRING || name->length > MAX_KEY
      || memchr (name->text, 0, name->length) || n->type != AVATAR_PICKLE_INT || n->integer < 0)
    return FALSE;
  /* Old files may have views of storages, which are not supported. */
  if (avatar_pickle_n_items (id) > 5 && avatar_pickle_item (p, id, 5)->type != AVATAR_PICKLE_NONE)
    return FALSE;
  *key = g_strndup (name->text, name->length);
  *count = n->integer;
  return TRUE;
}

/* Gets the dtype of a call. Returns FALSE if it is not supported. */
static gboolean
get_dtype (AvatarPickle *p, const Call *call, Stored *out)
{
  Node *id = call->stored->type == AVATAR_PICKLE_STORED ? avatar_pickle_get (p, call->stored->first)
                                                        : NULL;

  if (call->dtype)
    return parse_dtype (call->dtype, out);
  return id && id->type == AVATAR_PICKLE_TUPLE && avatar_pickle_n_items (id) > 1
      && parse_dtype (avatar_pickle_item (p, id, 1), out);
}

/* Finds the bytes of the storage. Returns NULL, or the reason why it cannot be used. */
static const char *
get_storage (AvatarTorchReader *self, const Call *call, const guint8 **data, gsize *size)
{
  g_autofree char *key = NULL;
  gsize item = 1;
  guint64 count = 0;

  if (!avatar_torch_parse_storage (self->pickle, call->stored, &key, &item, &count))
    return "its storage has an unknown description";
  *data = self->find (key, size, self->data);
  if (!*data)
    return "its storage is not in the archive, or is compressed";
  if (count > *size / item)
    return "its storage is shorter than its description states";
  return NULL;
}

/* Counts the elements from the first to the last one of a tensor. Returns FALSE on overflow. */
static gboolean
get_span (const AvatarTensorSource *t, const gint64 *stride, guint64 *span)
{
  *span = 1;
  for (guint i = 0; i < t->rank; i++) {
    guint64 reach;

    if (!g_uint64_checked_mul (&reach, MAX (t->shape[i] - 1, 0), stride[i])
        || !g_uint64_checked_add (span, *span, reach))
      return FALSE;
  }
  return TRUE;
}

static gboolean
is_contiguous (const AvatarTensorSource *t, const gint64 *stride)
{
  gint64 expected = 1;

  for (guint i = t->rank; i-- > 0; expected *= t->shape[i])
    if (t->shape[i] > 1 && stride[i] != expected)
      return FALSE;
  return TRUE;
}

/* Copies a strided tensor from @in row by row. float64 becomes float32. */
static void
gather (const AvatarTensorSource *t, const gint64 *stride, Stored stored, guint8 *out,
    const guint8 *in)
{
  gint64 last = t->rank - 1, n = t->shape[last], rows = avatar_tensor_source_n (t) / n;
  gsize item = item_size (stored), size = avatar_dtype_size (stored.dtype);

  for (gint64 row = 0; row < rows; row++) {
    const guint8 *p = in;
    gint64 rest = row;

    for (gint64 d = last; d-- > 0; rest /= t->shape[d])
      p += rest % t->shape[d] * stride[d] * item;
    for (gint64 i = 0; i < n; i++, out += size, p += stride[last] * item) {
      double wide;
      float narrow;

      if (!stored.is_float64) {
        memcpy (out, p, size);
        continue;
      }
      memcpy (&wide, p, 8);
      narrow = wide;
      memcpy (out, &narrow, 4);
    }
  }
}

/* Takes ownership of @copy, [size] bytes, the values of @t. */
static void
add_copy (AvatarTorchReader *self, AvatarTensorSource *t, void *copy, gsize size)
{
  t->bytes = g_bytes_new_take (copy, size);
  g_ptr_array_add (self->copies, t->bytes);
}

/* Copies a tensor to memory. Returns NULL, or the reason why that is not possible.
 * @in: first of @span elements */
static const char *
copy_tensor (AvatarTorchReader *self, AvatarTensorSource *t, const gint64 *stride, Stored stored,
    const guint8 *in, guint64 span)
{
  guint64 bytes = avatar_tensor_source_size (t), n_raw = bytes ? span * item_size (stored) : 0;
  g_autofree guint8 *raw = NULL;
  guint8 *out;

  if (bytes > self->copy_bytes_left || n_raw > MIN (self->read_bytes_left, MAX_COPIES))
    return "it is float64 or not contiguous, and too large to be copied; save it again with .float() or "
           ".contiguous()";
  raw = g_try_malloc (MAX (n_raw, 1));
  out = g_try_malloc (MAX (bytes, 1));
  if (!raw || !out || !avatar_mapped_read (raw, in, n_raw)) {
    g_free (out);
    return "there is no memory for a copy of it, or the file was truncated; close other programs, or "
           "download the file again";
  }
  self->copy_bytes_left -= bytes;
  self->read_bytes_left -= n_raw;
  if (bytes)
    gather (t, stride, stored, out, raw);
  add_copy (self, t, out, bytes);
  return NULL;
}

/* Gets the source of a tensor. Returns NULL, or the reason why it cannot be used. */
static const char *
get_tensor (AvatarTorchReader *self, const Call *call, AvatarTensorSource *t)
{
  gint64 stride[AVATAR_MAX_RANK] = { 1 };
  const guint8 *data = NULL;
  gsize size = 0;
  Stored stored = { AVATAR_F32, FALSE };
  guint64 offset, span, n;
  const char *reason;

  if (!get_dtype (self->pickle, call, &stored))
    return "its dtype is not supported (float64, float32, float16, bfloat16, float8_e4m3fn, "
           "float8_e5m2, int64, int32, int8 and uint8 are)";
  reason = get_storage (self, call, &data, &size);
  if (!reason)
    reason = get_shape (self->pickle, call, stored, t, stride);
  if (reason)
    return reason;
  n = avatar_tensor_source_n (t);
  size /= item_size (stored); /* now in elements */
  if (!get_span (t, stride, &span))
    return "it reaches beyond its storage";
  if (n > span)
    return "it repeats values of its storage (expand()); save it again with "
           ".contiguous()";
  if (call->offset->type != AVATAR_PICKLE_INT || call->offset->integer < 0)
    return "it reaches beyond its storage";
  offset = call->offset->integer;
  if (offset > size || (n > 0 && span > size - offset))
    return "it reaches beyond its storage";
  data += offset * item_size (stored);
  if (stored.is_float64 || (n > 0 && !is_contiguous (t, stride)))
    return copy_tensor (self, t, stride, stored, data, span);
  t->bytes = self->bytes;
  t->offset = data - (const guint8 *) g_bytes_get_data (self->bytes, NULL);
  return NULL;
}

gboolean
avatar_torch_reader_get (AvatarTorchReader *self, Node *node, AvatarTensorSource *out,
    const char **reason)
{
  Call call;

  if (!find_call (self->pickle, node, &call))
    return FALSE;
  *reason = get_tensor (self, &call, out);
  return TRUE;
}

gboolean
avatar_torch_reader_get_number (AvatarTorchReader *self, Node *node, AvatarTensorSource *out)
{
  const gint64 one = 1;
  float *value;

  if (node->type != AVATAR_PICKLE_FLOAT && node->type != AVATAR_PICKLE_INT)
    return FALSE;
  value = g_new (float, 1);
  *value = node->type == AVATAR_PICKLE_FLOAT ? node->number : node->integer;
  *out = avatar_tensor_source_of_shape (AVATAR_F32, 1, &one);
  add_copy (self, out, value, sizeof *value);
  return TRUE;
}
