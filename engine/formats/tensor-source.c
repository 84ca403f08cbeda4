/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of queries and keys are permuted in files of llama.cpp. llama.cpp rotates neighbouring
 * values of a head, (0, 1), (2, 3), ..., whereas the release and transformers rotate values of
 * its two halves, (0, d / 2), (1, d / 2 + 1), ... llama.cpp's converter (convert_hf_to_gguf.py,
 * LlamaModel.permute()) permutes the rows accordingly. Reading restores their order. */
#include "engine/formats/tensor-source.h"

#include "engine/formats/mapped-file.h"

#include <string.h>

/* Number of blocks that are read at a time. */
#define MAX_BLOCKS 32
/* Number of values that are converted at a time. */
#define PIECE 65536

AvatarTensorSource
avatar_tensor_source_of_shape (AvatarDType dtype, guint rank, const gint64 *shape)
{
  AvatarTensorSource self = { .dtype = dtype, .rank = rank };

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  memcpy (self.shape, shape, rank * sizeof *shape);
  return self;
}

AvatarTensorSource
avatar_tensor_source_in_bytes (GBytes *bytes, guint64 offset, AvatarDType dtype, guint rank,
    const gint64 *shape)
{
  AvatarTensorSource self = avatar_tensor_source_of_shape (dtype, rank, shape);

  self.bytes = bytes;
  self.offset = offset;
  return self;
}

guint64
avatar_tensor_source_n (const AvatarTensorSource *self)
{
  guint64 n = self->rank ? 1 : 0;

  for (guint i = 0; i < self->rank; i++)
    n *= self->shape[i];
  return n;
}

guint64
avatar_tensor_source_size (const AvatarTensorSource *self)
{
  return avatar_tensor_source_n (self) * avatar_dtype_size (self->dtype);
}

guint64
avatar_tensor_source_stored_size (const AvatarTensorSource *self)
{
  const AvatarGgufBlock *block = self->block;

  return block ? avatar_tensor_source_n (self) / block->values * block->bytes
               : avatar_tensor_source_size (self);
}

AvatarTensor
avatar_tensor_source_layout (const AvatarTensorSource *self)
{
  return avatar_tensor_of_shape (self->dtype, NULL, self->rank, self->shape);
}

char *
avatar_tensor_source_describe (const AvatarTensorSource *self)
{
  return avatar_tensor_describe (avatar_tensor_source_layout (self));
}

AvatarTensorSource
avatar_tensor_source_rows (const AvatarTensorSource *self, gint64 start, gint64 n)
{
  AvatarTensorSource rows = *self;

  g_assert (self->rank >= 1 && start >= 0 && n >= 0 && start + n <= self->shape[0]);
  if (self->shape[0] > 0)
    rows.first += avatar_tensor_source_n (self) / self->shape[0] * start;
  rows.shape[0] = n;
  return rows;
}

AvatarTensorSource
avatar_tensor_source_as_matrix (const AvatarTensorSource *self, gint64 rows, gint64 cols)
{
  AvatarTensorSource matrix = *self;

  g_assert (avatar_tensor_source_n (self) == (guint64) (rows * cols));
  matrix.rank = 2;
  matrix.shape[0] = rows;
  matrix.shape[1] = cols;
  return matrix;
}

/* Copies @n bytes at position @at of the stored tensor. Returns FALSE if the file is too short. */
static gboolean
read_bytes (const AvatarTensorSource *self, guint64 at, gsize n, void *out)
{
  gsize size;
  const guint8 *data = g_bytes_get_data (self->bytes, &size);

  return self->offset <= size && at <= size - self->offset && n <= size - self->offset - at
      && avatar_mapped_read (out, data + self->offset + at, n);
}

/* Expands the blocks that contain values @first .. @first + @n. */
static gboolean
read_blocks (const AvatarTensorSource *self, guint64 first, guint64 n, float *out)
{
  const guint values = self->block->values, bytes = self->block->bytes;
  guint8 raw[MAX_BLOCKS * AVATAR_GGUF_MAX_BYTES];
  float block[AVATAR_GGUF_MAX_VALUES];

  while (n > 0) {
    guint64 at = first / values, n_blocks = MIN ((first + n - 1) / values - at + 1, MAX_BLOCKS);

    if (!read_bytes (self, at * bytes, n_blocks * bytes, raw))
      return FALSE;
    for (guint64 i = 0; i < n_blocks; i++) {
      guint64 skip = first % values, m = MIN (n, values - skip);

      self->block->expand (block, raw + i * bytes);
      memcpy (out, block + skip, m * sizeof (float));
      out += m;
      first += m;
      n -= m;
    }
  }
  return TRUE;
}

/* Reads values @first .. @first + @n in the order of the file. */
static gboolean
read_in_order (const AvatarTensorSource *self, guint64 first, guint64 n, void *out)
{
  gsize size = avatar_dtype_size (self->dtype);

  return self->block ? read_blocks (self, first, n, out)
                     : read_bytes (self, first * size, n * size, out);
}

/* Returns the position in the file of row @r of a permuted matrix. */
static guint64
stored_row (const AvatarTensorSource *self, guint64 r)
{
  guint64 d = self->rows / self->heads, inside = r % d;

  return r - inside + inside % (d / 2) * 2 + inside / (d / 2);
}

/* Reads values @first .. @first + @n of a permuted matrix in the order of the release. */
static gboolean
read_permuted (const AvatarTensorSource *self, guint64 first, guint64 n, guint8 *out)
{
  while (n > 0) {
    guint64 skip = first % self->cols, m = MIN (n, self->cols - skip);

    if (!read_in_order (self, stored_row (self, first / self->cols) * self->cols + skip, m, out))
      return FALSE;
    out += m * avatar_dtype_size (self->dtype);
    first += m;
    n -= m;
  }
  return TRUE;
}

static gboolean
check_range (const AvatarTensorSource *self, guint64 first, guint64 n, GError **error)
{
  guint64 all = avatar_tensor_source_n (self);

  if (self->bytes && first <= all && n <= all - first)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
      "%s: %" G_GUINT64_FORMAT " values from value %" G_GUINT64_FORMAT
      " of tensor \"%s\" were requested, but %" G_GUINT64_FORMAT
      " values are stored; this is a bug, please report it",
      self->file ? self->file : "weights", n, first, self->name ? self->name : "",
      self->bytes ? all : 0);
  return FALSE;
}

gboolean
avatar_tensor_source_read_stored (const AvatarTensorSource *self, guint64 first, guint64 n,
    void *out, GError **error)
{
  g_autofree char *object = NULL;

  if (!check_range (self, first, n, error))
    return FALSE;
  first += self->first;
  if (self->heads ? read_permuted (self, first, n, out) : read_in_order (self, first, n, out))
    return TRUE;
  object = g_strdup_printf ("tensor \"%s\"", self->name ? self->name : "");
  avatar_mapped_set_error (error, self->file, object);
  return FALSE;
}

/* Converts @n values of @dtype to float32. The values may begin at any address. */
static void
convert (float *out, const guint8 *raw, AvatarDType dtype, gsize n)
{
  gsize size = avatar_dtype_size (dtype);
  gint64 large;
  gint32 whole;

  switch (dtype) {
    case AVATAR_I64:
      for (gsize i = 0; i < n; i++) {
        memcpy (&large, raw + i * size, size);
        out[i] = GINT64_FROM_LE (large);
      }
      break;
    case AVATAR_I32:
      for (gsize i = 0; i < n; i++) {
        memcpy (&whole, raw + i * size, size);
        out[i] = GINT32_FROM_LE (whole);
      }
      break;
    case AVATAR_I8:
      for (gsize i = 0; i < n; i++)
        out[i] = ((const gint8 *) raw)[i];
      break;
    case AVATAR_U8:
      for (gsize i = 0; i < n; i++)
        out[i] = raw[i];
      break;
    default:
      avatar_dtype_to_f32 (out, raw, dtype, n);
  }
}

gboolean
avatar_tensor_source_read (const AvatarTensorSource *self, guint64 first, guint64 n, float *out,
    GError **error)
{
  g_autofree guint8 *raw = NULL;

  if (self->dtype == AVATAR_F32)
    return avatar_tensor_source_read_stored (self, first, n, out, error);
  if (!check_range (self, first, n, error))
    return FALSE;
  raw = g_malloc (MAX (MIN (n, PIECE), 1) * avatar_dtype_size (self->dtype));
  for (guint64 at = 0; at < n; at += PIECE) {
    gsize m = MIN (PIECE, n - at);

    if (!avatar_tensor_source_read_stored (self, first + at, m, raw, error))
      return FALSE;
    convert (out + at, raw, self->dtype, m);
  }
  return TRUE;
}

float *
avatar_tensor_source_read_all (const AvatarTensorSource *self, GError **error)
{
  guint64 n = avatar_tensor_source_n (self);
  g_autofree float *out = n <= G_MAXSIZE / sizeof (float) ? g_try_new (float, MAX (n, 1)) : NULL;

  if (!out) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s: not enough memory for the %" G_GUINT64_FORMAT
        " values of tensor \"%s\"; use a smaller file, or close other programs",
        self->file ? self->file : "weights", n, self->name ? self->name : "");
    return NULL;
  }
  return avatar_tensor_source_read (self, 0, n, out, error) ? g_steal_pointer (&out) : NULL;
}
