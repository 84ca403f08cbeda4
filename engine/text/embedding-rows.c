/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table has about a gigabyte, and a prompt needs a few hundred rows. The table is therefore not
 * loaded. */
#include "engine/text/embedding-rows.h"

#include "engine/formats/tensor-source.h"

/* Reads the scale factor of row @row of an 8-bit table; 1 for other tables. */
static gboolean
read_factor (float *factor, GHashTable *tensors, const char *name, guint row, GError **error)
{
  g_autofree char *scale_name = g_strconcat (name, "_scale", NULL);
  const AvatarTensorSource *scale = g_hash_table_lookup (tensors, scale_name);

  *factor = 1;
  return !scale
      || avatar_tensor_source_read (scale, avatar_tensor_source_n (scale) > 1 ? row : 0, 1, factor,
          error);
}

gboolean
avatar_embedding_add_row (float *dst, GHashTable *tensors, const char *name, guint row,
    GError **error)
{
  const AvatarTensorSource *table = g_hash_table_lookup (tensors, name);
  gint64 n = table->shape[1];
  g_autofree float *values = g_new (float, n);
  float factor;

  if (!avatar_tensor_source_read (table, row * n, n, values, error)
      || !read_factor (&factor, tensors, name, row, error))
    return FALSE;
  for (gint64 i = 0; i < n; i++)
    dst[i] += values[i] * factor;
  return TRUE;
}
