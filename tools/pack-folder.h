/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Folder that appears only when it is complete. */
#pragma once

#include <avatar/error.h>

/* @path: final path; @work: temporary path next to it, until the folder is complete */
typedef struct
{
  char *path, *work;
} PackFolder;

/* Treatment of an existing folder. */
typedef enum
{
  PACK_REPLACE_NEVER,
  PACK_REPLACE_PACKED, /* replaces a folder that contains only files that avatar-pack writes */
} PackReplace;

/* Opens the temporary folder. Fails if @path exists, unless @replace allows to replace it. */
gboolean pack_folder_open (PackFolder *self, const char *path, PackReplace replace, GError **error);
/* Copies the regular file @from to @to in the folder and creates the parent folders. For small
 * files such as configurations, and for the face detector. */
gboolean pack_folder_copy (PackFolder *self, const char *from, const char *to, GError **error);
gboolean pack_folder_write (PackFolder *self, const char *file, const char *text, GError **error);
/* Returns: (transfer full): a path in the folder, after creating its parent folder. */
char *pack_folder_path (PackFolder *self, const char *file, GError **error);
/* Renames the folder to its final path, replacing an existing one. Removes it on failure. */
gboolean pack_folder_close (PackFolder *self, GError **error);
/* Removes the unfinished folder. */
void pack_folder_discard (PackFolder *self);
