/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rows of embeddings, which are read one by one where they lie in the file. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* dst [n] += row @row of the tensor @name [rows, n] of @tensors, which must be there. FALSE with
 * AVATAR_ERROR_READ. @file is for the message. */
gboolean avatar_add_row (float *dst, GHashTable *tensors, const char *name, guint row,
    const char *file, GError **error);

G_END_DECLS
