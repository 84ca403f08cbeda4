/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of pictures, by gdk-pixbuf. It has loaders for many kinds more, some of which take the memory that
 * a file speaks of before they look whether it is there (4 GiB for a BMP of 198 bytes), or trip over
 * sides of 0 (GIF); so the kind is told here, by the first bytes, and others do not reach it. Files are
 * loaded at once, not piece by piece: of a PNG that is cut short the latter would give what there is. */
#define _GNU_SOURCE
#include "engine/image/load.h"

#include <errno.h>
#include <fcntl.h>
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE ((goffset) 1 << 28)
#define KINDS "PNG and JPEG"

static gboolean
is_known (const char *data, gssize size)
{
  static const char *const begins[] = { "\x89PNG\r\n\x1a\n", "\xff\xd8\xff" };

  for (guint i = 0; i < G_N_ELEMENTS (begins); i++) {
    gssize n = strlen (begins[i]);

    if (size >= n && memcmp (data, begins[i], n) == 0)
      return TRUE;
  }
  return FALSE;
}

static gboolean
cannot_read (const char *path, GError **error)
{
  int code = errno;

  g_set_error (error, AVATAR_ERROR, code == ENOENT ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_READ,
      "%s: %s", path, code == ENOENT ? "there is no such picture" : g_strerror (code));
  return FALSE;
}

static gboolean
bad_picture (const char *path, const char *why, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: not a picture that can be read: %s; " KINDS " are", path, why);
  return FALSE;
}

/* What is open as @fd. */
static gboolean
check_open (const char *path, int fd, GError **error)
{
  struct stat st;
  char begin[8];
  gssize n;

  if (fstat (fd, &st) != 0)
    return cannot_read (path, error);
  if (!S_ISREG (st.st_mode))
    return bad_picture (path, "this is not a regular file", error);
  if (st.st_size > MAX_FILE)
    return bad_picture (path, "it has more than 256 MiB", error);
  n = pread (fd, begin, sizeof begin, 0);
  if (n < 0)
    return cannot_read (path, error);
  return is_known (begin, n) || bad_picture (path, "it begins as none", error);
}

/* Without waiting for whoever writes into a pipe. */
static gboolean
check_file (const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  gboolean done;

  if (fd < 0)
    return cannot_read (path, error);
  done = check_open (path, fd, error);
  close (fd);
  return done;
}

AvatarImage *
avatar_image_load (const char *path, GError **error)
{
  g_autoptr (GError) load_error = NULL;
  g_autoptr (GdkPixbuf) pixbuf = NULL, upright = NULL;
  int width, height;

  /* sizes first: a small file may announce a picture that no memory holds */
  if (!check_file (path, error)
      || (gdk_pixbuf_get_file_info (path, &width, &height)
          && !avatar_image_check_size (MAX (width, 0), MAX (height, 0), path, error)))
    return NULL;
  pixbuf = gdk_pixbuf_new_from_file (path, &load_error);
  if (!pixbuf) {
    bad_picture (path, load_error->message, error);
    return NULL;
  }
  upright = gdk_pixbuf_apply_embedded_orientation (pixbuf);
  g_clear_object (&pixbuf); /* it may be large */
  return avatar_image_new (gdk_pixbuf_get_width (upright), gdk_pixbuf_get_height (upright),
      gdk_pixbuf_get_n_channels (upright), gdk_pixbuf_get_rowstride (upright),
      gdk_pixbuf_read_pixels (upright), error);
}
