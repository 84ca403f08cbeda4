/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of embedding tables, read one at a time from the file. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* dst [n] += row @row of the tensor @name [rows, n], which must be in @tensors (name ->
 * AvatarTensorSource). Fails with AVATAR_ERROR_READ. */
gboolean
avatar_add_row (float *dst, GHashTable *tensors, const char *name, guint row, GError **error);

G_END_DECLS
