/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Errors here are not findings of the fuzzer: they end the program with a message. */
#define _GNU_SOURCE
#include "tests/fuzz/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *folder;
static GPtrArray *made; /* paths in it, as they were made */

static void
need (gboolean done, const char *what)
{
  if (done)
    return;
  g_printerr ("%s: %s\n", what, g_strerror (errno));
  _exit (1);
}

static void
write_all (int fd, const guint8 *data, gsize size, const char *what)
{
  while (size > 0) {
    gssize n = write (fd, data, size);

    need (n > 0, what);
    data += n;
    size -= n;
  }
}

int
avatar_fuzz_file (const guint8 *data, gsize size, char path[64])
{
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);

  need (fd >= 0, "memfd_create");
  write_all (fd, data, size, "memfd");
  g_snprintf (path, 64, "/proc/self/fd/%d", fd);
  return fd;
}

static void
clean (void)
{
  for (guint i = made->len; i-- > 0;)
    g_remove (made->pdata[i]);
  g_remove (folder);
  g_ptr_array_unref (made);
  g_free (folder);
}

const char *
avatar_fuzz_folder (void)
{
  if (!folder) {
    folder = g_dir_make_tmp ("avatar-fuzz-XXXXXX", NULL);
    need (folder != NULL, "a temporary folder");
    made = g_ptr_array_new_with_free_func (g_free);
    atexit (clean);
  }
  return folder;
}

static void
remember (const char *path)
{
  if (!g_ptr_array_find_with_equal_func (made, path, g_str_equal, NULL))
    g_ptr_array_add (made, g_strdup (path));
}

static void
make_folders (char *name)
{
  for (char *slash = strchr (name, '/'); slash; slash = strchr (slash + 1, '/')) {
    g_autofree char *path = NULL;

    *slash = '\0';
    path = g_build_filename (avatar_fuzz_folder (), name, NULL);
    *slash = '/';
    need (g_mkdir (path, 0700) == 0 || errno == EEXIST, path);
    remember (path);
  }
}

void
avatar_fuzz_folder_put (const char *name, const guint8 *data, gsize size)
{
  g_autofree char *path = g_build_filename (avatar_fuzz_folder (), name, NULL);
  int fd = g_open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  if (fd < 0 && errno == ENOENT) {
    g_autofree char *copy = g_strdup (name);

    make_folders (copy);
    fd = g_open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  }
  need (fd >= 0, path);
  write_all (fd, data, size, path);
  close (fd);
  remember (path);
}

void
avatar_fuzz_folder_drop (const char *name)
{
  g_autofree char *path = g_build_filename (avatar_fuzz_folder (), name, NULL);

  need (g_unlink (path) == 0 || errno == ENOENT, path);
}
