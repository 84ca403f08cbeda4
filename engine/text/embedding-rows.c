/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A few hundred rows of a table of a gigabyte: it is not worth a place in memory. */
#include "engine/text/embedding-rows.h"

#include "engine/formats/mapped-file.h"

/* The factor of an 8-bit table's row. */
static gboolean
read_factor (float *factor, GHashTable *tensors, const char *name, guint row)
{
  g_autofree char *scale_name = g_strconcat (name, "_scale", NULL);
  const AvatarTensor *scale = g_hash_table_lookup (tensors, scale_name);
  guint8 raw[sizeof (float)];
  gsize size, at;

  *factor = 1;
  if (!scale)
    return TRUE;
  size = avatar_dtype_size (scale->dtype);
  at = avatar_tensor_n (*scale) > 1 ? row : 0;
  if (!avatar_mapped_read (raw, (const guint8 *) scale->data + at * size, size))
    return FALSE;
  avatar_dtype_to_f32 (factor, raw, scale->dtype, 1);
  return TRUE;
}

gboolean
avatar_add_row (float *dst, GHashTable *tensors, const char *name, guint row, const char *file,
    GError **error)
{
  const AvatarTensor *table = g_hash_table_lookup (tensors, name);
  gint64 n = table->shape[1];
  gsize size = avatar_dtype_size (table->dtype);
  g_autofree float *values = g_new (float, n);
  g_autofree guint8 *raw = g_malloc (n * size);
  float factor;

  if (!avatar_mapped_read (raw, (const guint8 *) table->data + row * n * size, n * size)
      || !read_factor (&factor, tensors, name, row)) {
    avatar_mapped_set_error (error, file, name);
    return FALSE;
  }
  if (table->dtype == AVATAR_I8)
    for (gint64 i = 0; i < n; i++)
      values[i] = ((const gint8 *) raw)[i];
  else
    avatar_dtype_to_f32 (values, raw, table->dtype, n);
  for (gint64 i = 0; i < n; i++)
    dst[i] += values[i] * factor;
  return TRUE;
}
