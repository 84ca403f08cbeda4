/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "engine/base/installed-path.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/* Returns the folder of the object that contains this code, without symbolic links. For the program
 * itself dladdr() has only what it was started as, which may be a name in PATH. */
static char *
own_folder (void)
{
  Dl_info info;
  char *path = NULL;
  g_autofree char *folder = NULL;

  if (dladdr ((void *) (guintptr) avatar_installed_path, &info) && info.dli_fname)
    path = realpath (strchr (info.dli_fname, '/') ? info.dli_fname : "/proc/self/exe", NULL);
  folder = path ? g_path_get_dirname (path) : NULL;
  free (path);
  return g_steal_pointer (&folder);
}

/* Returns the prefix if @folder is PREFIX/@below. */
static char *
strip (const char *folder, const char *below)
{
  g_autofree char *end = g_strconcat ("/", below, NULL);

  return g_str_has_suffix (folder, end) ? g_strndup (folder, strlen (folder) - strlen (end)) : NULL;
}

char *
avatar_installed_path (const char *path)
{
  g_autofree char *folder = own_folder ();
  g_autofree char *prefix = folder ? strip (folder, AVATAR_LIBDIR) : NULL;

  if (!prefix && folder)
    prefix = strip (folder, AVATAR_BINDIR);
  if (g_path_is_absolute (path))
    return g_strdup (path);
  return g_build_filename (prefix ? prefix : AVATAR_PREFIX, path, NULL);
}
