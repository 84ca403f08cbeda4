/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Search of weights for non-finite values. It is not done when a model is opened, because it
 * reads tens of GiB, and non-finite weights are detected in the first step. */
#include "engine/model/nan-search.h"

#include "engine/model/model.h"

#include <math.h>

/* Number of values that are read at a time. */
#define PIECE 65536

typedef enum
{
  FOUND_NOTHING,
  FOUND_BROKEN,
  FOUND_UNREADABLE,
  FOUND_CANCELLED,
} Found;

/* Searches one tensor. @at: (out): index of the first non-finite value. Sets @error only for
 * FOUND_UNREADABLE. */
static Found
search_tensor (const AvatarTensorSource *t, const gint *cancelled, guint64 *at, GError **error)
{
  guint64 n = avatar_tensor_source_n (t);
  g_autofree float *values = g_new (float, PIECE);

  if (t->dtype > AVATAR_F8_E4M3)
    return FOUND_NOTHING; /* integers are finite */
  for (guint64 start = 0; start < n; start += PIECE) {
    guint64 count = MIN (PIECE, n - start);

    if (g_atomic_int_get (cancelled))
      return FOUND_CANCELLED;
    if (!avatar_tensor_source_read (t, start, count, values, error))
      return FOUND_UNREADABLE;
    for (guint64 i = 0; i < count; i++)
      if (!isfinite (values[i])) {
        *at = start + i;
        return FOUND_BROKEN;
      }
  }
  return FOUND_NOTHING;
}

/* Returns FALSE with @error if something was found. */
static gboolean
search_component (AvatarModel *model, AvatarComponentKind component, const gint *cancelled,
    const char *result, GError **error)
{
  GHashTable *tensors = avatar_model_get_component (model, component, NULL);
  g_autoptr (GList) names = tensors ? g_hash_table_get_keys (tensors) : NULL;

  names = g_list_sort (names, (GCompareFunc) g_strcmp0);
  for (GList *l = names; l; l = l->next) {
    const AvatarTensorSource *t = g_hash_table_lookup (tensors, l->data);
    guint64 at = 0;

    switch (search_tensor (t, cancelled, &at, error)) {
      case FOUND_NOTHING:
        continue;
      case FOUND_BROKEN:
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
            "%s: value %" G_GUINT64_FORMAT " of tensor \"%s\" in %s is NaN or infinite; the file "
            "is corrupt: download or convert it again",
            result, at, (const char *) l->data, t->file);
        return FALSE;
      case FOUND_UNREADABLE:
        return FALSE;
      case FOUND_CANCELLED:
        g_set_error_literal (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
        return FALSE;
    }
  }
  return TRUE;
}

void
avatar_model_find_non_finite (AvatarModel *model, const AvatarComponentKind *components,
    const gint *cancelled, const char *result, const char *otherwise, GError **error)
{
  for (; *components != AVATAR_N_COMPONENTS; components++)
    if (!search_component (model, *components, cancelled, result, error))
      return;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA, "%s: all weights are finite, so %s", result,
      otherwise);
}
