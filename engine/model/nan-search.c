/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Searches weights for non-finite values. Not done when a model is opened, because that would read
 * tens of GiB before the first frame for an error that shows in the first step. */
#include "engine/model/nan-search.h"

#include "engine/formats/mapped-file.h"
#include "engine/model/model.h"

#include <math.h>
#include <string.h>

#define PIECE 65536 /* values */

typedef enum
{
  FOUND_NOTHING,
  FOUND_BROKEN,
  FOUND_UNREADABLE,
  FOUND_CANCELLED,
} Found;

/* @at: (out): index of the non-finite value */
static Found
search_tensor (const AvatarTensor *t, const gint *cancelled, guint64 *at)
{
  gsize size = avatar_dtype_size (t->dtype), n = avatar_tensor_n (*t);
  g_autofree guint8 *raw = g_malloc (PIECE * size);
  g_autofree float *values = g_new (float, PIECE);

  if (t->dtype > AVATAR_F8_E4M3)
    return FOUND_NOTHING; /* integers are finite */
  for (gsize start = 0; start < n; start += PIECE) {
    gsize count = MIN (PIECE, n - start);

    if (g_atomic_int_get (cancelled))
      return FOUND_CANCELLED;
    if (!avatar_mapped_read (raw, (const guint8 *) t->data + start * size, count * size))
      return FOUND_UNREADABLE;
    avatar_dtype_to_f32 (values, raw, t->dtype, count);
    for (gsize i = 0; i < count; i++)
      if (!isfinite (values[i])) {
        *at = start + i;
        return FOUND_BROKEN;
      }
  }
  return FOUND_NOTHING;
}

/* Returns FALSE with @error if something was found. */
static gboolean
search_part (AvatarModel *model, const char *part, const gint *cancelled, const char *what,
    GError **error)
{
  const char *file;
  GHashTable *tensors = avatar_model_get_component (model, part, &file);
  g_autoptr (GList) names = tensors ? g_hash_table_get_keys (tensors) : NULL;

  names = g_list_sort (names, (GCompareFunc) g_strcmp0);
  for (GList *l = names; l; l = l->next) {
    guint64 at = 0;

    switch (search_tensor (g_hash_table_lookup (tensors, l->data), cancelled, &at)) {
      case FOUND_NOTHING:
        continue;
      case FOUND_BROKEN:
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
            "%s: value %" G_GUINT64_FORMAT " of tensor \"%s\" in %s is NaN or infinite; the file "
            "is corrupt: fetch or convert it again",
            what, at, (const char *) l->data, file);
        return FALSE;
      case FOUND_UNREADABLE:
        avatar_mapped_set_error (error, file, l->data);
        return FALSE;
      case FOUND_CANCELLED:
        g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
        return FALSE;
    }
  }
  return TRUE;
}

void
avatar_model_find_non_finite (AvatarModel *model, const char *const *parts, const gint *cancelled,
    const char *what, const char *otherwise, GError **error)
{
  for (; *parts; parts++)
    if (!search_part (model, *parts, cancelled, what, error))
      return;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA, "%s: all weights are finite, so %s", what,
      otherwise);
}
