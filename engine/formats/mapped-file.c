/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "engine/formats/mapped-file.h"

#include <avatar/error.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

/* Number of bytes that every pipe accepts without blocking. */
#define PIPE_BYTES 4096

GBytes *
avatar_mapped_open (const char *path, GError **error)
{
  g_autoptr (GError) map_error = NULL;
  g_autoptr (GMappedFile) file = NULL;
  gboolean missing;

  if (g_file_test (path, G_FILE_TEST_EXISTS) && !g_file_test (path, G_FILE_TEST_IS_REGULAR)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
        "%s: this is not a regular file; expected a file of weights", path);
    return NULL;
  }
  file = g_mapped_file_new (path, FALSE, &map_error);
  if (file)
    return g_mapped_file_get_bytes (file);
  missing = g_error_matches (map_error, G_FILE_ERROR, G_FILE_ERROR_NOENT);
  g_set_error (error, AVATAR_ERROR, missing ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_READ, "%s: %s",
      path, missing ? "there is no such file" : map_error->message);
  return NULL;
}

static gboolean
read_all (int fd, guint8 *dst, gsize bytes)
{
  while (bytes > 0) {
    gssize n = read (fd, dst, bytes);

    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return FALSE;
    dst += n;
    bytes -= n;
  }
  return TRUE;
}

/* write() fails with EFAULT at addresses that would raise SIGBUS. */
gboolean
avatar_mapped_read_by_pipe (void *dst, const void *src, gsize bytes)
{
  guint8 *to = dst;
  const guint8 *from = src;
  gboolean done = TRUE;
  int ends[2];

  if (pipe2 (ends, O_CLOEXEC) != 0)
    return FALSE;
  while (bytes > 0 && done) {
    gssize n = write (ends[1], from, MIN (bytes, PIPE_BYTES));

    if (n < 0 && errno == EINTR)
      continue;
    done = n > 0 && read_all (ends[0], to, n);
    if (done) {
      to += n;
      from += n;
      bytes -= n;
    }
  }
  close (ends[0]);
  close (ends[1]);
  return done;
}

gboolean
avatar_mapped_read (void *dst, const void *src, gsize bytes)
{
  struct iovec to = { dst, bytes }, from = { (void *) src, bytes };

  while (to.iov_len > 0) {
    gssize n = process_vm_readv (getpid (), &to, 1, &from, 1, 0);

    /* Containers may forbid this call. */
    if (n < 0 && (errno == ENOSYS || errno == EPERM))
      return avatar_mapped_read_by_pipe (to.iov_base, from.iov_base, to.iov_len);
    if (n <= 0)
      return FALSE;
    to.iov_base = (guint8 *) to.iov_base + n;
    from.iov_base = (guint8 *) from.iov_base + n;
    to.iov_len -= n;
    from.iov_len -= n;
  }
  return TRUE;
}

void
avatar_mapped_set_error (GError **error, const char *file, const char *object)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
      "%s: %s can no longer be read: the file was cut short, or its disk fails; restore the file "
      "and start again",
      file ? file : "weights", object);
}
