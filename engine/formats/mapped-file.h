/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Mapping of files, and copying from mapped files. SIGBUS kills a process that reads a page
 * after the end of a mapped file, and a file may be truncated at any time. Values of tensors are
 * therefore copied by a system call, which reports an error instead. Two limitations remain:
 *
 * - The directory and the pickle of a PyTorch file, and the table of a GGUF file, are parsed in the
 *   mapping. If the file is truncated during these milliseconds, the process is killed.
 * - Bytes after the end of the file in its last page read as zeros, and an overwritten file
 *   reads as its new contents. Neither can be detected here. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Maps the regular file @path for reading. Pipes are refused, since opening one could block.
 * Returns: (transfer full): its contents, or %NULL with AVATAR_ERROR_NOT_FOUND or
 * AVATAR_ERROR_READ */
GBytes *avatar_mapped_open (const char *path, GError **error);
/* Copies @bytes bytes.
 * @src: address in a mapped file
 * Returns: FALSE if the file ends before @src + @bytes, or its disk fails. */
gboolean avatar_mapped_read (void *dst, const void *src, gsize bytes);
/* Does the same through a pipe, for systems that forbid the faster system call. Exported for
 * tests. */
gboolean avatar_mapped_read_by_pipe (void *dst, const void *src, gsize bytes);

/* Sets AVATAR_ERROR_READ after a failed copy.
 * @file: (nullable): path of the file
 * @object: name of the object that was read, such as "tensor \"a\"" */
void avatar_mapped_set_error (GError **error, const char *file, const char *object);

G_END_DECLS
