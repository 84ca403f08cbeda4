/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inputs for readers that take paths: a file in memory, or files in a folder of this process. */
#pragma once

#include <glib.h>

/* Stores @data in a file without a name. @path: (out): a path that opens it until the result, a
 * file descriptor, is closed. */
int avatar_fuzz_file (const guint8 *data, gsize size, char path[64]);

/* The folder, which is made when it is first asked for and goes with the process. */
const char *avatar_fuzz_folder (void);
/* Writes @name in it, and the folders above; where @name is there it is replaced. */
void avatar_fuzz_folder_put (const char *name, const guint8 *data, gsize size);
void avatar_fuzz_folder_drop (const char *name);
