/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files that are mapped into memory, and copying from them. A process that touches a page after the
 * end of a mapped file is killed by SIGBUS, and a file may be cut short at any time. Values of
 * tensors are therefore copied by a system call, which reports an error instead. What remains:
 * - The directory and the pickle of a PyTorch file, and the table of a GGUF file, are parsed where
 *   they are mapped. A file that is cut short during these milliseconds kills the process.
 * - The last page of a file reads as zeros after the file's end, and a file that is overwritten
 *   reads as its new contents. Neither can be detected here. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Maps the regular file @path. Pipes are refused, since opening one could block. */
GBytes *avatar_mapped_open (const char *path, GError **error);
/* Copies @bytes bytes. FALSE if a mapped file ends before @src + @bytes, or its disk fails. */
gboolean avatar_mapped_read (void *dst, const void *src, gsize bytes);
/* The same through a pipe, where the faster system call is forbidden. Exported for tests. */
gboolean avatar_mapped_read_by_pipe (void *dst, const void *src, gsize bytes);

/* Sets AVATAR_ERROR_READ after a failed copy. @file: (nullable): path; @what: what was read. */
void avatar_mapped_set_error (GError **error, const char *file, const char *what);

G_END_DECLS
