/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tied tensors, which were left out of a safetensors file because they share the memory of
 * another. */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* Returns a table: name of a tensor that was left out -> name of the tensor in its place. Neither
 * is checked against the file. */
GHashTable *avatar_tied_names (JsonObject *metadata);

G_END_DECLS
