/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Output files, which are filled in pieces on all cores, and the writer of safetensors. */
#define _GNU_SOURCE /* fallocate() */
#include "engine/formats/tensor-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* Number of values in a piece; a multiple of 4. */
#define PIECE ((gsize) 1 << 20)

static gboolean
fail (AvatarOutput *self, int code, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
      "%s: the file cannot be written: %s; choose a writable folder with enough space", self->path,
      g_strerror (code));
  return FALSE;
}

gboolean
avatar_output_open (AvatarOutput *self, const char *path, GError **error)
{
  self->path = g_strdup (path);
  self->temporary_path = g_strconcat (path, ".part", NULL);
  self->fd = open (self->temporary_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (self->fd >= 0)
    return TRUE;
  fail (self, errno, error);
  avatar_output_close (self, AVATAR_OUTPUT_DISCARD, NULL);
  return FALSE;
}

/* Writes @n bytes at @at. Returns 0 or an errno. */
static int
put (int fd, guint64 at, const guint8 *bytes, gsize n)
{
  while (n > 0) {
    gssize done = pwrite (fd, bytes, n, at);

    if (done < 0 && errno == EINTR)
      continue;
    if (done <= 0)
      return done < 0 ? errno : EIO;
    bytes += done;
    at += done;
    n -= done;
  }
  return 0;
}

gboolean
avatar_output_put (AvatarOutput *self, guint64 at, const void *bytes, gsize n, GError **error)
{
  int code = put (self->fd, at, bytes, n);

  return code == 0 || fail (self, code, error);
}

typedef struct
{
  guint tensor;
  gsize first, n;
  guint32 crc;
} Piece;

/* Divides all tensors into pieces of at most PIECE values. */
static GArray *
list_pieces (GArray *tensors)
{
  GArray *pieces = g_array_new (FALSE, TRUE, sizeof (Piece));

  for (guint i = 0; i < tensors->len; i++) {
    gsize n = avatar_tensor_n (g_array_index (tensors, AvatarNamedTensor, i).tensor);

    for (gsize first = 0; first < n; first += PIECE) {
      Piece piece = { i, first, MIN (PIECE, n - first), 0 };

      g_array_append_val (pieces, piece);
    }
  }
  return pieces;
}

gboolean
avatar_output_fill (AvatarOutput *self, GArray *tensors, const guint64 *offsets, guint32 *crcs,
    AvatarFillFunc fill, gpointer data, GError **error)
{
  g_autoptr (GArray) pieces = list_pieces (tensors);
  int failed = 0;

#pragma omp parallel
  {
    g_autofree guint8 *buffer = g_malloc0 (PIECE * 8);

#pragma omp for schedule(dynamic)
    for (guint i = 0; i < pieces->len; i++) {
      Piece *piece = &g_array_index (pieces, Piece, i);
      const AvatarNamedTensor *t = &g_array_index (tensors, AvatarNamedTensor, piece->tensor);
      gsize size = avatar_dtype_size (t->tensor.dtype);
      int code = g_atomic_int_get (&failed);

      if (code)
        continue;
      if (fill)
        fill (t, piece->first, piece->n, buffer, data);
      if (crcs)
        piece->crc = crc32_z (0, buffer, piece->n * size);
      if (fill)
        code
            = put (self->fd, offsets[piece->tensor] + piece->first * size, buffer, piece->n * size);
      else /* extends the sparse file to its full length */
        code = put (self->fd, offsets[piece->tensor] + (piece->first + piece->n) * size - 1, buffer,
            1);
      if (code)
        g_atomic_int_set (&failed, code);
    }
  }
  for (guint i = 0; crcs && i < pieces->len; i++) {
    const Piece *piece = &g_array_index (pieces, Piece, i);
    const AvatarNamedTensor *t = &g_array_index (tensors, AvatarNamedTensor, piece->tensor);
    guint32 *crc = &crcs[piece->tensor];

    *crc = piece->first
        ? crc32_combine (*crc, piece->crc, piece->n * avatar_dtype_size (t->tensor.dtype))
        : piece->crc;
  }
  return failed == 0 || fail (self, failed, error);
}

gboolean
avatar_output_reserve (AvatarOutput *self, guint64 bytes, GError **error)
{
  int code = 0;

  while (fallocate (self->fd, 0, 0, bytes) != 0 && (code = errno) == EINTR)
    ;
  return code == 0 || code == EINTR || code == EOPNOTSUPP || code == ENOSYS
      || fail (self, code, error);
}

gboolean
avatar_output_close (AvatarOutput *self, AvatarOutputEnd end, GError **error)
{
  gboolean done = end == AVATAR_OUTPUT_KEEP;

  if (self->fd >= 0 && done && self->sync && fsync (self->fd) != 0)
    done = fail (self, errno, error);
  if (self->fd >= 0 && close (self->fd) != 0 && done)
    done = fail (self, errno, error);
  if (done && g_rename (self->temporary_path, self->path) != 0)
    done = fail (self, errno, error);
  if (!done && self->fd >= 0)
    g_unlink (self->temporary_path);
  g_clear_pointer (&self->temporary_path, g_free);
  g_clear_pointer (&self->path, g_free);
  return done;
}

static const char *
safetensors_dtype (AvatarDType dtype)
{
  static const char *const names[]
      = { "F32", "F16", "BF16", "F8_E4M3", "I64", "I32", "I8", "U8", "F8_E5M2" };

  return names[dtype];
}

/* Returns the table of a safetensors file. @offsets: (out): positions of the tensors in the data */
static GString *
make_table (GArray *tensors, guint64 *offsets)
{
  GString *table = g_string_new ("{");
  guint64 at = 0;

  for (guint i = 0; i < tensors->len; i++) {
    const AvatarNamedTensor *t = &g_array_index (tensors, AvatarNamedTensor, i);
    guint64 end = at + avatar_tensor_bytes (t->tensor);

    g_string_append_printf (table, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", i ? "," : "", t->name,
        safetensors_dtype (t->tensor.dtype));
    for (guint j = 0; j < t->tensor.rank; j++)
      g_string_append_printf (table, "%s%" G_GINT64_FORMAT, j ? "," : "", t->tensor.shape[j]);
    g_string_append_printf (table,
        "],\"data_offsets\":[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]}", at, end);
    offsets[i] = at;
    at = end;
  }
  g_string_append_c (table, '}');
  while (table->len % 8)
    g_string_append_c (table, ' ');
  return table;
}

/* Sorts like the reference writer: large elements first, so that all are aligned. */
static gint
by_size (gconstpointer a, gconstpointer b)
{
  const AvatarNamedTensor *x = a, *y = b;
  gint dx = avatar_dtype_size (x->tensor.dtype), dy = avatar_dtype_size (y->tensor.dtype);

  return dx != dy ? dy - dx : strcmp (x->name, y->name);
}

gboolean
avatar_write_safetensors (const char *path, GArray *tensors, AvatarFillFunc fill, gpointer data,
    GError **error)
{
  g_autoptr (GArray) sorted = g_array_copy (tensors);
  g_autofree guint64 *offsets = g_new0 (guint64, sorted->len + 1);
  g_autoptr (GString) table = NULL;
  AvatarOutput out = { 0 };
  guint64 length, end;
  gboolean done;

  g_array_sort (sorted, by_size);
  table = make_table (sorted, offsets);
  end = 8 + table->len;
  for (guint i = 0; i < sorted->len; i++) {
    offsets[i] += 8 + table->len;
    end += avatar_tensor_bytes (g_array_index (sorted, AvatarNamedTensor, i).tensor);
  }
  length = GUINT64_TO_LE (table->len);
  if (!avatar_output_open (&out, path, error))
    return FALSE;
  done = (!fill || avatar_output_reserve (&out, end, error))
      && avatar_output_put (&out, 0, &length, 8, error)
      && avatar_output_put (&out, 8, table->str, table->len, error)
      && avatar_output_fill (&out, sorted, offsets, NULL, fill, data, error);
  return avatar_output_close (&out, done ? AVATAR_OUTPUT_KEEP : AVATAR_OUTPUT_DISCARD, error);
}
