/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writer of the format of torch.save() (docs/dev/spec/denoise.md 1.2): a zip archive of stored
 * entries, with storages aligned to 64 bytes, and a pickle that maps tensors to storages. */
#include "engine/formats/torch-writer.h"

#include <string.h>
#include <zlib.h>

#define ALIGN 64

static void
put_le (GByteArray *out, guint64 value, guint bytes)
{
  value = GUINT64_TO_LE (value);
  g_byte_array_append (out, (const guint8 *) &value, bytes);
}

static void
put_text (GByteArray *out, const char *text)
{
  g_byte_array_append (out, (const guint8 *) text, strlen (text));
}

/* The opcode is BINUNICODE. */
void
avatar_torch_put_string (GByteArray *out, const char *text)
{
  put_text (out, "X");
  put_le (out, strlen (text), 4);
  put_text (out, text);
}

/* Appends BININT1, BININT or LONG1. */
static void
pickle_int (GByteArray *out, gint64 value)
{
  if (value < 256) {
    put_text (out, "K");
    put_le (out, value, 1);
  } else if (value <= G_MAXINT32) {
    put_text (out, "J");
    put_le (out, value, 4);
  } else {
    put_text (out, "\x8a\x08");
    put_le (out, value, 8);
  }
}

static void
pickle_ints (GByteArray *out, const gint64 *values, guint n)
{
  put_text (out, "(");
  for (guint i = 0; i < n; i++)
    pickle_int (out, values[i]);
  put_text (out, "t");
}

static const char *
storage_class (AvatarDType dtype)
{
  static const char *const names[]
      = { "ctorch\nFloatStorage\n", "ctorch\nHalfStorage\n", "ctorch\nBFloat16Storage\n",
          "ctorch.storage\nUntypedStorage\n", "ctorch\nLongStorage\n", "ctorch\nIntStorage\n",
          "ctorch\nCharStorage\n", "ctorch\nByteStorage\n", "ctorch.storage\nUntypedStorage\n" };

  return names[dtype];
}

/* Appends _rebuild_tensor_v2 (storage, offset, size, stride, requires_grad, hooks), or _v3,
 * which also has the dtype, for dtypes without a class of storages. */
void
avatar_torch_put_tensor (GByteArray *out, AvatarTensor t, guint key)
{
  gboolean v3 = t.dtype == AVATAR_F8_E4M3 || t.dtype == AVATAR_F8_E5M2;
  g_autofree char *name = g_strdup_printf ("%u", key);

  put_text (out,
      v3 ? "ctorch._utils\n_rebuild_tensor_v3\n" : "ctorch._utils\n_rebuild_tensor_v2\n");
  put_text (out, "((");
  avatar_torch_put_string (out, "storage");
  put_text (out, storage_class (t.dtype));
  avatar_torch_put_string (out, name);
  avatar_torch_put_string (out, "cpu");
  pickle_int (out, avatar_tensor_n (t)); /* an untyped storage counts bytes: the same number */
  put_text (out, "tQ");
  pickle_int (out, 0);
  pickle_ints (out, t.shape, t.rank);
  pickle_ints (out, t.stride, t.rank);
  put_text (out,
      "\x89"
      "ccollections\nOrderedDict\n)R");
  if (v3)
    put_text (out, t.dtype == AVATAR_F8_E4M3 ? "ctorch\nfloat8_e4m3fn\n" : "ctorch\nfloat8_e5m2\n");
  put_text (out, "tR");
}

static GByteArray *
make_pickle (const char *key, GArray *tensors)
{
  GByteArray *out = g_byte_array_new ();

  put_text (out, "\x80\x02");
  if (key) {
    put_text (out, "}");
    avatar_torch_put_string (out, key);
  }
  put_text (out, "ccollections\nOrderedDict\n)R(");
  for (guint i = 0; i < tensors->len; i++) {
    const AvatarNamedTensor *t = &g_array_index (tensors, AvatarNamedTensor, i);

    avatar_torch_put_string (out, t->name);
    avatar_torch_put_tensor (out, t->tensor, i);
  }
  put_text (out, "u");
  put_text (out, key ? "s." : ".");
  return out;
}

/* An entry of the archive. */
typedef struct
{
  char *name;
  const void *bytes; /* NULL for a tensor */
  guint64 size, header, start;
  guint32 crc;
} Entry;

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
}

typedef enum
{
  ZIP32,
  ZIP64, /* sizes are in an extra field */
} Format;

/* Appends the fields that are the same in a local header and in the directory. */
static void
put_common (GByteArray *out, const Entry *e, Format format)
{
  put_le (out, format == ZIP64 ? 45 : 20, 2); /* version needed */
  put_le (out, 0, 2);                         /* flags */
  put_le (out, 0, 2);                         /* stored */
  put_le (out, 0, 2);                         /* time and date: 1980-01-01 */
  put_le (out, 33, 2);
  put_le (out, e->crc, 4);
  put_le (out, format == ZIP64 ? G_MAXUINT32 : e->size, 4);
  put_le (out, format == ZIP64 ? G_MAXUINT32 : e->size, 4);
  put_le (out, strlen (e->name), 2);
}

static gboolean
is_large (const Entry *e)
{
  return e->size >= G_MAXUINT32 || e->header >= G_MAXUINT32;
}

/* Returns a local header. A field "FB" aligns the data, as in files of PyTorch. */
static GByteArray *
local_header (const Entry *e)
{
  GByteArray *out = g_byte_array_new ();
  gboolean large = e->size >= G_MAXUINT32;
  guint64 plain = e->header + 30 + strlen (e->name) + (large ? 20 : 0) + 4;
  guint padding = (ALIGN - plain % ALIGN) % ALIGN;

  put_text (out, "PK\003\004");
  put_common (out, e, large ? ZIP64 : ZIP32);
  put_le (out, (large ? 20 : 0) + 4 + padding, 2);
  put_text (out, e->name);
  if (large) {
    put_le (out, 1, 2);
    put_le (out, 16, 2);
    put_le (out, e->size, 8);
    put_le (out, e->size, 8);
  }
  put_text (out, "FB");
  put_le (out, padding, 2);
  for (guint i = 0; i < padding; i++)
    put_text (out, "Z");
  return out;
}

static void
put_directory_entry (GByteArray *out, const Entry *e)
{
  gboolean large = is_large (e);

  put_text (out, "PK\001\002");
  put_le (out, 0, 2); /* made by */
  put_common (out, e, large ? ZIP64 : ZIP32);
  put_le (out, large ? 28 : 0, 2);
  put_le (out, 0, 2); /* comment */
  put_le (out, 0, 2); /* disk */
  put_le (out, 0, 2); /* attributes */
  put_le (out, 0, 4);
  put_le (out, large ? G_MAXUINT32 : e->header, 4);
  put_text (out, e->name);
  if (large) {
    put_le (out, 1, 2);
    put_le (out, 24, 2);
    put_le (out, e->size, 8);
    put_le (out, e->size, 8);
    put_le (out, e->header, 8);
  }
}

/* Returns the directory, at position @at, and the records at the end. Records of ZIP64 are written
 * only if they are needed. */
static GByteArray *
directory (GArray *entries, guint64 at)
{
  GByteArray *out = g_byte_array_new ();
  gboolean large;
  guint64 size;

  for (guint i = 0; i < entries->len; i++)
    put_directory_entry (out, &g_array_index (entries, Entry, i));
  size = out->len;
  large = at >= G_MAXUINT32 || entries->len >= G_MAXUINT16;
  if (large) {
    put_text (out, "PK\006\006");
    put_le (out, 44, 8);
    put_le (out, 45, 2);
    put_le (out, 45, 2);
    put_le (out, 0, 8); /* disks */
    put_le (out, entries->len, 8);
    put_le (out, entries->len, 8);
    put_le (out, size, 8);
    put_le (out, at, 8);
    put_text (out, "PK\006\007");
    put_le (out, 0, 4);
    put_le (out, at + size, 8);
    put_le (out, 1, 4);
  }
  put_text (out, "PK\005\006");
  put_le (out, 0, 4); /* disks */
  put_le (out, large ? G_MAXUINT16 : entries->len, 2);
  put_le (out, large ? G_MAXUINT16 : entries->len, 2);
  put_le (out, size, 4);
  put_le (out, large ? G_MAXUINT32 : at, 4);
  put_le (out, 0, 2);
  return out;
}

static void
add_entry (GArray *entries, char *name, const void *bytes, guint64 size)
{
  Entry e = { .name = name, .bytes = bytes, .size = size };

  if (bytes)
    e.crc = crc32_z (0, bytes, size);
  g_array_append_val (entries, e);
}

/* Sets the positions of all entries. Returns the position of the directory. */
static guint64
set_positions (GArray *entries)
{
  guint64 at = 0;

  for (guint i = 0; i < entries->len; i++) {
    Entry *e = &g_array_index (entries, Entry, i);
    g_autoptr (GByteArray) header = NULL;

    e->header = at;
    header = local_header (e);
    e->start = at + header->len;
    at = e->start + e->size;
  }
  return at;
}

static gboolean
put_entries (AvatarOutput *out, GArray *entries, guint64 end, GError **error)
{
  g_autoptr (GByteArray) last = NULL;

  for (guint i = 0; i < entries->len; i++) {
    const Entry *e = &g_array_index (entries, Entry, i);
    g_autoptr (GByteArray) header = local_header (e);

    if (!avatar_output_put (out, e->header, header->data, header->len, error)
        || (e->bytes && !avatar_output_put (out, e->start, e->bytes, e->size, error)))
      return FALSE;
  }
  last = directory (entries, end);
  return avatar_output_put (out, end, last->data, last->len, error);
}

gboolean
avatar_write_torch_archive (const char *path, GByteArray *pickle, const AvatarTorchExtra *extras,
    guint n_extras, GArray *tensors, AvatarFillFunc fill, gpointer data, GError **error)
{
  g_autoptr (GArray) entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_autofree char *base = g_path_get_basename (path);
  g_autofree guint64 *offsets = g_new0 (guint64, tensors->len + 1);
  g_autofree guint32 *crcs = g_new0 (guint32, tensors->len + 1);
  char *dot = strrchr (base, '.');
  AvatarOutput out = { 0 };
  guint64 end;
  gboolean done;

  if (dot && dot != base)
    *dot = '\0'; /* the folder in the archive has the name of the file */
  g_array_set_clear_func (entries, entry_clear);
  for (guint i = 0; i < tensors->len; i++)
    add_entry (entries, g_strdup_printf ("%s/data/%u", base, i), NULL,
        avatar_tensor_bytes (g_array_index (tensors, AvatarNamedTensor, i).tensor));
  add_entry (entries, g_strconcat (base, "/data.pkl", NULL), pickle->data, pickle->len);
  for (guint i = 0; i < n_extras; i++)
    add_entry (entries, g_strconcat (base, extras[i].name, NULL), extras[i].bytes, extras[i].size);
  add_entry (entries, g_strconcat (base, "/byteorder", NULL), "little", 6);
  add_entry (entries, g_strconcat (base, "/version", NULL), "3\n", 2);
  end = set_positions (entries);
  for (guint i = 0; i < tensors->len; i++)
    offsets[i] = g_array_index (entries, Entry, i).start;
  if (!avatar_output_open (&out, path, error))
    return FALSE;
  done = (!fill || avatar_output_reserve (&out, end, error))
      && avatar_output_fill (&out, tensors, offsets, crcs, fill, data, error);
  for (guint i = 0; i < tensors->len; i++)
    g_array_index (entries, Entry, i).crc = crcs[i];
  done = done && put_entries (&out, entries, end, error);
  return avatar_output_close (&out, done ? AVATAR_OUTPUT_KEEP : AVATAR_OUTPUT_DISCARD, error);
}

gboolean
avatar_write_torch (const char *path, const char *key, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error)
{
  g_autoptr (GByteArray) pickle = make_pickle (key, tensors);

  return avatar_write_torch_archive (path, pickle, NULL, 0, tensors, fill, data, error);
}
