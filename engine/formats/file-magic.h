/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What people have in place of a weight file when a download went wrong. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* What @data is and what to do, if it is something else than weights; %NULL if it is not known. */
const char *avatar_foreign_name (const guint8 *data, gsize size);
/* The same in a word or two, e.g. "web page". */
const char *avatar_foreign_kind (const guint8 *data, gsize size);

G_END_DECLS
