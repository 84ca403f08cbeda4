/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tied tensors, which are not in a safetensors file because they share the memory of others. */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* @metadata: value of "__metadata__"
 * Returns: (transfer full): table of name of a tied tensor -> name of the tensor in the file. The
 * names are not checked against the file. */
GHashTable *avatar_tied_names (JsonObject *metadata);

G_END_DECLS
