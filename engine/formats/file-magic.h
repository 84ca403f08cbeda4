/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that a failed download leaves in place of weights. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Returns a sentence that names the kind of @data and a remedy; %NULL if the kind is not known. */
const char *avatar_foreign_name (const guint8 *data, gsize size);
/* Returns the kind alone, such as "web page". */
const char *avatar_foreign_kind (const guint8 *data, gsize size);

G_END_DECLS
