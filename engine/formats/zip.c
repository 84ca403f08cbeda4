/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Zip archives of PyTorch (docs/dev/spec/vae-text-face-formats.md 5.2). Sizes are taken from the
 * directory at the end, since local headers may lack them. The position of an entry's bytes depends
 * on the length of its local header, which differs from that in the directory. */
#include "engine/formats/zip.h"

#include <string.h>

#define END_SIZE 22
#define LOCATOR_SIZE 20
#define END64_SIZE 56
#define ENTRY_SIZE 46
#define LOCAL_SIZE 30
#define MAX_NAME 4096

typedef struct
{
  char *name;
  guint64 header, start, size;
  guint flags, method;
} Entry;

struct _AvatarZip
{
  GBytes *bytes;
  const guint8 *data;
  guint64 size;
  char *name;
  GArray *entries;   /* array of Entry */
  GHashTable *index; /* name -> position + 1 */
};

/* Position, size and number of entries of the directory. */
typedef struct
{
  guint64 start, size, n;
} Directory;

static void
entry_clear (gpointer data)
{
  g_free (((Entry *) data)->name);
}

static gboolean
fail (AvatarZip *self, GError **error, const char *format, ...) G_GNUC_PRINTF (3, 4);

static gboolean
fail (AvatarZip *self, GError **error, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s", self->name, text);
  return FALSE;
}

static guint64
get_le (const guint8 *p, guint bytes)
{
  guint64 value = 0;

  memcpy (&value, p, bytes);
  return GUINT64_FROM_LE (value);
}

/* Returns TRUE if a record of @size bytes with this signature is at @at. */
static gboolean
is_at (AvatarZip *self, guint64 at, const char *signature, guint64 size)
{
  return at <= self->size && size <= self->size - at && memcmp (self->data + at, signature, 4) == 0;
}

/* Finds the record at the end, which may be followed by a comment. */
static gboolean
find_end (AvatarZip *self, guint64 *end, GError **error)
{
  guint64 last = self->size > END_SIZE + G_MAXUINT16 ? self->size - END_SIZE - G_MAXUINT16 : 0;

  for (guint64 at = self->size; at-- > last;)
    if (is_at (self, at, "PK\005\006", END_SIZE)
        && at + END_SIZE + get_le (self->data + at + 20, 2) == self->size) {
      *end = at;
      return TRUE;
    }
  return fail (self, error,
      "found no directory at the end of the archive: the file is truncated; download it again");
}

static gboolean
find_directory (AvatarZip *self, Directory *d, GError **error)
{
  const guint8 *p;
  guint64 end = 0, limit;

  if (!find_end (self, &end, error))
    return FALSE;
  p = self->data + end;
  *d = (Directory){ get_le (p + 16, 4), get_le (p + 12, 4), get_le (p + 10, 2) };
  limit = end;
  if (end >= LOCATOR_SIZE && is_at (self, end - LOCATOR_SIZE, "PK\006\007", LOCATOR_SIZE)) {
    limit = get_le (p - LOCATOR_SIZE + 8, 8);
    if (limit > end - LOCATOR_SIZE || !is_at (self, limit, "PK\006\006", END64_SIZE))
      return fail (self, error, "its ZIP64 record is not at the stated position");
    p = self->data + limit;
    *d = (Directory){ get_le (p + 48, 8), get_le (p + 40, 8), get_le (p + 32, 8) };
  }
  if (d->start > limit || d->size > limit - d->start)
    return fail (self, error,
        "it states a directory of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
        ", which is outside the file",
        d->size, d->start);
  if (d->n > d->size / ENTRY_SIZE)
    return fail (self, error,
        "it states %" G_GUINT64_FORMAT " entries in a directory of %" G_GUINT64_FORMAT " bytes",
        d->n, d->size);
  return TRUE;
}

/* Reads the extra field of values that do not fit into 32 bits, which has this order. */
static gboolean
read_zip64 (const guint8 *p, guint64 n, guint64 *size, guint64 *packed, guint64 *header)
{
  guint64 *values[] = { size, packed, header };

  while (n >= 4) {
    guint64 id = get_le (p, 2), length = get_le (p + 2, 2);

    if (length > n - 4)
      return FALSE;
    p += 4;
    n -= 4 + length;
    for (guint i = 0; id == 1 && i < G_N_ELEMENTS (values); i++)
      if (*values[i] == G_MAXUINT32) {
        if (length < 8)
          return FALSE;
        *values[i] = get_le (p, 8);
        p += 8;
        length -= 8;
      }
    p += length;
  }
  return TRUE;
}

/* Finds the first byte of an entry, which must end before @limit. */
static gboolean
read_local (AvatarZip *self, Entry *e, guint64 limit, GError **error)
{
  if (e->header > limit || limit - e->header < LOCAL_SIZE
      || !is_at (self, e->header, "PK\003\004", LOCAL_SIZE))
    return fail (self, error, "entry \"%s\" is not at the position in the directory", e->name);
  e->start = e->header + LOCAL_SIZE + get_le (self->data + e->header + 26, 2)
      + get_le (self->data + e->header + 28, 2);
  if (e->start > limit || e->size > limit - e->start)
    return fail (self, error,
        "entry \"%s\" of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
        " ends after the archive's end",
        e->name, e->size, e->start);
  return TRUE;
}

/* Reads the entry at *@at of the directory; moves *@at to the next one. */
static gboolean
read_entry (AvatarZip *self, const Directory *d, guint64 *at, Entry *e, GError **error)
{
  const guint8 *p = self->data + *at;
  guint64 left = d->start + d->size - *at, n_name, n_extra, n_comment, packed;

  if (left < ENTRY_SIZE || memcmp (p, "PK\001\002", 4) != 0)
    return fail (self, error, "the directory is broken at byte %" G_GUINT64_FORMAT, *at);
  n_name = get_le (p + 28, 2);
  n_extra = get_le (p + 30, 2);
  n_comment = get_le (p + 32, 2);
  if (n_name + n_extra + n_comment > left - ENTRY_SIZE || n_name > MAX_NAME)
    return fail (self, error, "the directory is broken at byte %" G_GUINT64_FORMAT, *at);
  e->flags = get_le (p + 8, 2);
  e->method = get_le (p + 10, 2);
  packed = get_le (p + 20, 4);
  e->size = get_le (p + 24, 4);
  e->header = get_le (p + 42, 4);
  if (memchr (p + ENTRY_SIZE, 0, n_name)
      || !g_utf8_validate ((const char *) p + ENTRY_SIZE, n_name, NULL))
    return fail (self, error, "the name of an entry at byte %" G_GUINT64_FORMAT " is not text",
        *at);
  e->name = g_strndup ((const char *) p + ENTRY_SIZE, n_name);
  if (!read_zip64 (p + ENTRY_SIZE + n_name, n_extra, &e->size, &packed, &e->header))
    return fail (self, error, "entry \"%s\" has a broken ZIP64 field", e->name);
  if (e->method != 0)
    e->size = packed; /* the entry is not readable, but must be inside the archive */
  else if (packed != e->size)
    return fail (self, error,
        "entry \"%s\" is stored, but has two sizes: %" G_GUINT64_FORMAT " and %" G_GUINT64_FORMAT,
        e->name, packed, e->size);
  *at += ENTRY_SIZE + n_name + n_extra + n_comment;
  return read_local (self, e, d->start, error);
}

static gint
compare_positions (gconstpointer a, gconstpointer b)
{
  const Entry *x = *(const Entry *const *) a, *y = *(const Entry *const *) b;

  return x->header < y->header ? -1 : x->header > y->header;
}

/* Refuses entries that share bytes, which no writer produces. */
static gboolean
check_overlap (AvatarZip *self, GError **error)
{
  g_autoptr (GPtrArray) sorted = g_ptr_array_sized_new (self->entries->len);

  for (guint i = 0; i < self->entries->len; i++)
    g_ptr_array_add (sorted, &g_array_index (self->entries, Entry, i));
  g_ptr_array_sort (sorted, compare_positions);
  for (guint i = 1; i < sorted->len; i++) {
    const Entry *before = sorted->pdata[i - 1], *e = sorted->pdata[i];

    if (before->start + before->size > e->header)
      return fail (self, error, "entries \"%s\" and \"%s\" overlap", before->name, e->name);
  }
  return TRUE;
}

static gboolean
parse (AvatarZip *self, GError **error)
{
  Directory d;
  guint64 at;

  if (!find_directory (self, &d, error))
    return FALSE;
  at = d.start;
  for (guint64 i = 0; i < d.n; i++) {
    Entry e = { 0 };

    if (!read_entry (self, &d, &at, &e, error)) {
      entry_clear (&e);
      return FALSE;
    }
    g_array_append_val (self->entries, e);
    if (!g_hash_table_insert (self->index, e.name, GUINT_TO_POINTER (i + 1)))
      return fail (self, error, "entry \"%s\" occurs twice", e.name);
  }
  return check_overlap (self, error);
}

AvatarZip *
avatar_zip_open_bytes (GBytes *bytes, const char *name, GError **error)
{
  AvatarZip *self = g_new0 (AvatarZip, 1);
  gsize size;

  self->name = g_strdup (name);
  self->bytes = g_bytes_ref (bytes);
  self->data = g_bytes_get_data (bytes, &size);
  self->size = size;
  self->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  g_array_set_clear_func (self->entries, entry_clear);
  self->index = g_hash_table_new (g_str_hash, g_str_equal);
  if (!parse (self, error))
    g_clear_pointer (&self, avatar_zip_free);
  return self;
}

void
avatar_zip_free (AvatarZip *self)
{
  if (!self)
    return;
  g_hash_table_unref (self->index);
  g_array_unref (self->entries);
  g_bytes_unref (self->bytes);
  g_free (self->name);
  g_free (self);
}

guint
avatar_zip_n (AvatarZip *self)
{
  return self->entries->len;
}

const char *
avatar_zip_nth (AvatarZip *self, guint i)
{
  return g_array_index (self->entries, Entry, i).name;
}

gboolean
avatar_zip_has (AvatarZip *self, const char *entry)
{
  return g_hash_table_contains (self->index, entry);
}

const guint8 *
avatar_zip_get (AvatarZip *self, const char *entry, gsize *size, GError **error)
{
  guint i = GPOINTER_TO_UINT (g_hash_table_lookup (self->index, entry));
  const Entry *e;

  if (i == 0) {
    fail (self, error, "the archive has no entry \"%s\"", entry);
    return NULL;
  }
  e = &g_array_index (self->entries, Entry, i - 1);
  if (e->method != 0 || e->flags & 1) {
    fail (self, error, "entry \"%s\" is %s; expected a stored one, as PyTorch writes", entry,
        e->flags & 1 ? "encrypted" : "compressed");
    return NULL;
  }
  *size = e->size;
  return self->data + e->start;
}
