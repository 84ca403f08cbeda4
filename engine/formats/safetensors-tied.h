/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors that were left out of a safetensors file because another one is the same memory. */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* What is left out -> what stands for it, both as @metadata has them: the file need not hold the
 * latter, and the former may be there all the same. */
GHashTable *avatar_tied_names (JsonObject *metadata);

G_END_DECLS
