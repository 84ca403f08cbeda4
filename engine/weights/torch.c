/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* torch.save's format (spec denoise.md 1.2, vae-text-face-formats.md 5.2): ROOT/data.pkl says which
 * tensors there are, ROOT/data/KEY are their storages. What cannot be used as it lies there is
 * remembered with the reason, and is an error only for who needs it: checkpoints carry much that
 * nobody asks for. */
#include "engine/weights/torch.h"

#include "engine/weights/pickle.h"
#include "engine/weights/zip.h"

#include <string.h>

#define MAX_NAME 1024
#define MAX_WRAPS 4 /* parameters in parameters */

typedef struct
{
  char *name;
  AvatarTensor tensor;
} Entry;

struct _AvatarTorch
{
  char *name, *root;
  AvatarZip *zip;
  AvatarPickle *pickle;
  const guint8 *header;
  gsize header_length;
  GArray *entries;     /* of Entry */
  GHashTable *reasons; /* name -> why it is not among the entries */
  GPtrArray *numbers;  /* tensors made of plain numbers */
};

typedef const AvatarPickleNode Node;

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
}

static gboolean
fail (AvatarTorch *self, GError **error, const char *text)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s", self->name, text);
  return FALSE;
}

static char *
join (AvatarTorch *self, const char *rest)
{
  return g_strconcat (self->root, rest, NULL);
}

static gboolean
dtype_of (Node *global, AvatarDType *dtype)
{
  static const struct
  {
    const char *name;
    AvatarDType dtype;
  } known[] = {
    { "torch.FloatStorage", AVATAR_F32 },
    { "torch.HalfStorage", AVATAR_F16 },
    { "torch.BFloat16Storage", AVATAR_BF16 },
    { "torch.LongStorage", AVATAR_I64 },
    { "torch.IntStorage", AVATAR_I32 },
    { "torch.CharStorage", AVATAR_I8 },
    { "torch.ByteStorage", AVATAR_U8 },
    { "torch.BoolStorage", AVATAR_U8 },
    { "torch.float32", AVATAR_F32 },
    { "torch.float16", AVATAR_F16 },
    { "torch.bfloat16", AVATAR_BF16 },
    { "torch.float8_e4m3fn", AVATAR_F8_E4M3 },
    { "torch.int64", AVATAR_I64 },
    { "torch.int32", AVATAR_I32 },
    { "torch.int8", AVATAR_I8 },
    { "torch.uint8", AVATAR_U8 },
    { "torch.bool", AVATAR_U8 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (avatar_pickle_is (global, AVATAR_PICKLE_GLOBAL, known[i].name)) {
      *dtype = known[i].dtype;
      return TRUE;
    }
  return FALSE;
}

/* What is known of a tensor before its bounds are. */
typedef struct
{
  Node *stored; /* ('storage', class, key, location, count) */
  Node *offset, *size, *stride;
  Node *dtype; /* of _v3 */
} Call;

/* The call that @node is; FALSE: none that makes a tensor. */
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

/* @n whole numbers >= 0, or FALSE. */
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

/* Size and strides; NULL, or the reason why it cannot be used. */
static const char *
get_shape (AvatarPickle *p, const Call *call, AvatarDType dtype, AvatarTensor *t)
{
  guint rank = avatar_pickle_n_items (call->size);
  gint64 shape[AVATAR_MAX_RANK] = { 1 }, stride[AVATAR_MAX_RANK] = { 1 };
  guint64 extent = avatar_dtype_size (dtype);
  gboolean any = TRUE;

  if (call->size->type != AVATAR_PICKLE_TUPLE || call->stride->type != AVATAR_PICKLE_TUPLE
      || avatar_pickle_n_items (call->stride) != rank)
    return "its size and stride are not of one length";
  if (rank > AVATAR_MAX_RANK)
    return "it has more dimensions than are known";
  if (!get_sizes (p, call->size, rank, shape) || !get_sizes (p, call->stride, rank, stride))
    return "its size and stride are not whole numbers";
  for (guint i = 0; i < rank; i++) {
    /* strides must fit as well, also where a dimension is 0 */
    if (!g_uint64_checked_mul (&extent, extent, MAX (shape[i], 1)) || extent > G_MAXINT64)
      return "its shape is too large for any memory";
    any = any && shape[i] > 0;
  }
  *t = avatar_tensor_of_shape (dtype, NULL, MAX (rank, 1), shape);
  for (guint i = 0; i < rank && any; i++)
    if (shape[i] > 1 && stride[i] != t->stride[i])
      return "it is not contiguous in its storage; save it again with .contiguous()";
  return NULL;
}

/* Dtype and storage; NULL, or the reason why it cannot be used. */
static const char *
get_storage (AvatarTorch *self, const Call *call, AvatarDType *dtype, const guint8 **data,
    gsize *size)
{
  AvatarPickle *p = self->pickle;
  Node *id, *class, *key, *count;
  g_autofree char *entry = NULL;
  gboolean untyped;

  id = call->stored->type == AVATAR_PICKLE_STORED ? avatar_pickle_get (p, call->stored->first)
                                                  : call->stored;
  if (call->stored->type != AVATAR_PICKLE_STORED || id->type != AVATAR_PICKLE_TUPLE
      || avatar_pickle_n_items (id) < 5
      || !avatar_pickle_is (avatar_pickle_item (p, id, 0), AVATAR_PICKLE_STRING, "storage"))
    return "its storage is not described as PyTorch does";
  class = avatar_pickle_item (p, id, 1);
  key = avatar_pickle_item (p, id, 2);
  count = avatar_pickle_item (p, id, 4);
  untyped = avatar_pickle_is (class, AVATAR_PICKLE_GLOBAL, "torch.storage.UntypedStorage");
  if (!dtype_of (call->dtype ? call->dtype : class, dtype))
    return "its dtype is none that is read (float32, float16, bfloat16, float8_e4m3fn, int64, "
           "int32, int8, uint8)";
  if (key->type != AVATAR_PICKLE_STRING || key->length > MAX_NAME
      || memchr (key->text, 0, key->length))
    return "its storage has no proper key";
  entry = g_strdup_printf ("%s/data/%.*s", self->root, (int) key->length, key->text);
  *data = avatar_zip_get (self->zip, entry, size, NULL);
  if (!*data)
    return "its storage is not in the archive, or is compressed";
  /* the count of an untyped storage is in bytes */
  if (count->type != AVATAR_PICKLE_INT || count->integer < 0
      || (guint64) count->integer > *size / (untyped ? 1 : avatar_dtype_size (*dtype)))
    return "its storage is shorter than it says";
  return NULL;
}

/* NULL, or the reason why it cannot be used. */
static const char *
get_tensor (AvatarTorch *self, const Call *call, AvatarTensor *t)
{
  AvatarDType dtype;
  const guint8 *data;
  gsize size;
  const char *why = get_storage (self, call, &dtype, &data, &size);
  guint64 offset, bytes;

  if (!why)
    why = get_shape (self->pickle, call, dtype, t);
  if (why)
    return why;
  bytes = avatar_tensor_bytes (*t);
  if (call->offset->type != AVATAR_PICKLE_INT || call->offset->integer < 0
      || !g_uint64_checked_mul (&offset, call->offset->integer, avatar_dtype_size (dtype))
      || offset > size || bytes > size - offset)
    return "it reaches beyond its storage";
  t->data = (guint8 *) data + offset;
  return NULL;
}

/* Scales are plain numbers in some files. */
static void
get_number (AvatarTorch *self, Node *node, AvatarTensor *t)
{
  float *value = g_new (float, 1);

  *value = node->type == AVATAR_PICKLE_FLOAT ? node->number : node->integer;
  g_ptr_array_add (self->numbers, value);
  *t = avatar_tensor (AVATAR_F32, value, 1, (gint64) 1);
}

/* Takes @name. */
static void
add_value (AvatarTorch *self, char *name, Node *value)
{
  Entry entry = { .name = name };
  const char *why = NULL;
  Call call;

  if (value->type == AVATAR_PICKLE_FLOAT || value->type == AVATAR_PICKLE_INT) {
    get_number (self, value, &entry.tensor);
  } else if (find_call (self->pickle, value, &call)) {
    why = get_tensor (self, &call, &entry.tensor);
  } else {
    g_free (name); /* an object of another kind, which only Python could make */
    return;
  }
  if (why)
    g_hash_table_insert (self->reasons, entry.name, (gpointer) why);
  else
    g_array_append_val (self->entries, entry);
}

static void
add_entry (AvatarTorch *self, Node *key, Node *value)
{
  if (key->type == AVATAR_PICKLE_STRING && key->length <= MAX_NAME
      && g_utf8_validate_len (key->text, key->length, NULL))
    add_value (self, g_strndup (key->text, key->length), value);
}

static gboolean
is_dict (AvatarPickle *p, Node *node)
{
  return node->type == AVATAR_PICKLE_DICT
      || (node->type == AVATAR_PICKLE_OBJECT
          && avatar_pickle_is (avatar_pickle_get (p, node->first), AVATAR_PICKLE_GLOBAL,
              "collections.OrderedDict"));
}

/* The value of @key that is a dict itself. */
static Node *
find_dict (AvatarPickle *p, Node *dict, const char *key)
{
  for (guint i = 0; i + 1 < avatar_pickle_n_items (dict); i += 2)
    if (avatar_pickle_is (avatar_pickle_item (p, dict, i), AVATAR_PICKLE_STRING, key)
        && is_dict (p, avatar_pickle_item (p, dict, i + 1)))
      return avatar_pickle_item (p, dict, i + 1);
  return NULL;
}

static gboolean
read_dict (AvatarTorch *self, GError **error)
{
  static const char *const keys[] = { "module", "state_dict", "ema" };
  Node *dict = avatar_pickle_get (self->pickle, avatar_pickle_root (self->pickle));
  Call call;

  if (find_call (self->pickle, dict, &call)) {
    add_value (self, g_strdup (AVATAR_TORCH_ALONE), dict);
    return TRUE;
  }
  if (!is_dict (self->pickle, dict))
    return fail (self, error,
        "it holds something else than a tensor or a dict of them (perhaps a whole model object); save "
        "its state_dict()");
  for (guint i = 0; i < G_N_ELEMENTS (keys); i++) {
    Node *inner = find_dict (self->pickle, dict, keys[i]);

    if (inner) {
      dict = inner;
      break;
    }
  }
  for (guint i = 0; i + 1 < avatar_pickle_n_items (dict); i += 2)
    add_entry (self, avatar_pickle_item (self->pickle, dict, i),
        avatar_pickle_item (self->pickle, dict, i + 1));
  return TRUE;
}

/* The archive's only folder, by its pickle. */
static gboolean
find_root (AvatarTorch *self, GError **error)
{
  g_autofree char *constants = NULL;

  for (guint i = 0; i < avatar_zip_n (self->zip) && !self->root; i++) {
    const char *name = avatar_zip_nth (self->zip, i), *slash = strchr (name, '/');

    if (slash && strcmp (slash, "/data.pkl") == 0)
      self->root = g_strndup (name, slash - name);
  }
  if (!self->root)
    return fail (self, error, "this is a zip archive, but none that PyTorch has saved");
  constants = join (self, "/constants.pkl");
  if (avatar_zip_has (self->zip, constants))
    return fail (self, error,
        "this is a TorchScript archive; expected a state dict, as torch.save() writes it");
  return TRUE;
}

static gboolean
check_order (AvatarTorch *self, GError **error)
{
  g_autofree char *entry = join (self, "/byteorder");
  const guint8 *order;
  gsize size;

  if (!avatar_zip_has (self->zip, entry))
    return TRUE; /* files from before torch 2.1 do not say */
  order = avatar_zip_get (self->zip, entry, &size, error);
  if (!order)
    return FALSE;
  return (size == 6 && memcmp (order, "little", 6) == 0)
      || fail (self, error, "its numbers are not little-endian; save it again on such a machine");
}

static gboolean
parse (AvatarTorch *self, GBytes *bytes, GError **error)
{
  g_autofree char *entry = NULL;

  self->zip = avatar_zip_open_bytes (bytes, self->name, error);
  if (!self->zip || !find_root (self, error) || !check_order (self, error))
    return FALSE;
  entry = join (self, "/data.pkl");
  self->header = avatar_zip_get (self->zip, entry, &self->header_length, error);
  if (!self->header)
    return FALSE;
  self->pickle = avatar_pickle_parse (self->header, self->header_length, self->name, error);
  if (!self->pickle || !read_dict (self, error))
    return FALSE;
  g_clear_pointer (&self->pickle, avatar_pickle_free);
  return TRUE;
}

AvatarTorch *
avatar_torch_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  AvatarTorch *self = g_new0 (AvatarTorch, 1);

  self->name = g_strdup (name);
  self->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_array_set_clear_func (self->entries, entry_clear);
  self->reasons = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  self->numbers = g_ptr_array_new_with_free_func (g_free);
  if (!parse (self, bytes, error))
    g_clear_pointer (&self, avatar_torch_free);
  return self;
}

void
avatar_torch_free (AvatarTorch *self)
{
  if (!self)
    return;
  g_ptr_array_unref (self->numbers);
  g_hash_table_unref (self->reasons);
  g_array_unref (self->entries);
  avatar_pickle_free (self->pickle);
  avatar_zip_free (self->zip);
  g_free (self->root);
  g_free (self->name);
  g_free (self);
}

guint
avatar_torch_n (AvatarTorch *self)
{
  return self->entries->len;
}

const char *
avatar_torch_nth (AvatarTorch *self, guint i, AvatarTensor *out)
{
  g_return_val_if_fail (i < self->entries->len, NULL);
  if (out)
    *out = g_array_index (self->entries, Entry, i).tensor;
  return g_array_index (self->entries, Entry, i).name;
}

const char *
avatar_torch_why_not (AvatarTorch *self, const char *name)
{
  return g_hash_table_lookup (self->reasons, name);
}

const guint8 *
avatar_torch_get_header (AvatarTorch *self, gsize *length)
{
  *length = self->header_length;
  return self->header;
}
