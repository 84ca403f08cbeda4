/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A folder that is there when all of it is, and else not at all. */
#pragma once

#include <avatar/error.h>

/* @path: as it will be called; @work: what it is called until then, beside it */
typedef struct
{
  char *path, *work;
} PackFolder;

/* Fails if something is at @path, unless @force, and that is a folder with nothing in it but what
 * avatar-pack makes. */
gboolean pack_folder_open (PackFolder *self, const char *path, gboolean force, GError **error);
/* Copies the regular file @from to @to in the folder; small ones, as configurations are, and the face
 * detector. Folders on the way are made. */
gboolean pack_folder_copy (PackFolder *self, const char *from, const char *to, GError **error);
gboolean pack_folder_write (PackFolder *self, const char *file, const char *text, GError **error);
/* A path in the folder, whose own folder is made. Free with g_free(). */
char *pack_folder_path (PackFolder *self, const char *file, GError **error);
/* Gives it its name if @done, in the place of what was there, or else removes it. Returns @done, or FALSE
 * with @error. */
gboolean pack_folder_close (PackFolder *self, gboolean done, GError **error);
