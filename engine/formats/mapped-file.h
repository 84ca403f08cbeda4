/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading mapped files that may be cut short meanwhile. Whoever touches a page behind the end that
 * a file has by then is killed by SIGBUS, and no look at the size beforehand is early enough. So
 * weights and tables are read by this room only: the kernel copies them, and says so if it cannot.
 * What remains:
 * - The directory and the pickle of a PyTorch file, and the table of a GGUF file, are read where they
 *   are mapped, while it is opened. A file that shrinks in these milliseconds still kills.
 * - The last page that a file has reads as zeros behind its end, and a file that somebody writes
 *   over reads as what is there now. Neither can be told from weights here; neither kills. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* The file, mapped; a pipe or a folder is refused, which could keep whoever opens it waiting. */
GBytes *avatar_mapped_open (const char *path, GError **error);
/* memcpy; FALSE where a mapped file ends before @bytes, or its disk fails. */
gboolean avatar_mapped_read (void *dst, const void *src, gsize bytes);
/* The same by its slower way, for tests. */
gboolean avatar_mapped_read_by_pipe (void *dst, const void *src, gsize bytes);

/* Makes the @bytes at @at of what was reserved. */
typedef gboolean (*AvatarVirtualFunc) (void *dst, guint64 at, gsize bytes, gpointer data);

/* Addresses without memory behind them: whoever reads there by avatar_mapped_read() gets what @func
 * makes; whoever reads otherwise is killed. %NULL: there are no such many addresses. */
void *avatar_mapped_reserve (guint64 bytes, AvatarVirtualFunc func, gpointer data);
void avatar_mapped_unreserve (void *reserved);
/* AVATAR_ERROR_READ for the two. @file: or %NULL */
void avatar_mapped_set_error (GError **error, const char *file, const char *tensor);

G_END_DECLS
