/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reads rows of embedding tables from the file, one at a time. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Adds row @row of the tensor @name [rows, n] to @dst [n]. The tensor must exist in @tensors, a map
 * from names to AvatarTensorSource. Returns FALSE with AVATAR_ERROR_READ. */
gboolean avatar_embedding_add_row (float *dst, GHashTable *tensors, const char *name, guint row,
    GError **error);

G_END_DECLS
