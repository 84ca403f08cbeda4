/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Recognition of files that a failed download leaves in place of weights. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* @data: first @size bytes of a file; 262 are sufficient
 * Returns: (transfer none) (nullable): sentence with the kind of the file and a remedy; %NULL if it
 * is not one of these files. */
const char *avatar_file_magic_advice (const guint8 *data, gsize size);
/* Returns: (transfer none) (nullable): kind of the file, such as "web page". */
const char *avatar_file_magic_kind (const guint8 *data, gsize size);

G_END_DECLS
