/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Picture files. The format is checked by the first bytes before gdk-pixbuf sees the file, because
 * its loaders for other formats allocate memory that a header announces (4 GiB for a BMP of 198
 * bytes) or fail at sides of 0 (GIF). */
#define _GNU_SOURCE
#include "engine/image/load.h"

#include "engine/image/file-kind.h"
#include "engine/image/picture.h"
#include "engine/image/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_FILE ((goffset) 1 << 28)

static gboolean
cannot_read (const char *path, GError **error)
{
  int code = errno;

  g_set_error (error, AVATAR_ERROR, code == ENOENT ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_READ,
      "%s: %s", path, code == ENOENT ? "there is no such file" : g_strerror (code));
  return FALSE;
}

/* Reads the picture from @fd. */
static gboolean
read_open (AvatarPicture *picture, const char *path, int fd, GError **error)
{
  g_autofree char *kind = NULL;
  guint8 begin[AVATAR_KIND_BYTES];
  struct stat st;
  gssize n;

  if (fstat (fd, &st) != 0)
    return cannot_read (path, error);
  if (!S_ISREG (st.st_mode))
    return avatar_picture_refuse (path, "this is not a regular file", error);
  if (st.st_size > MAX_FILE)
    return avatar_picture_refuse (path, "it has more than 256 MiB", error);
  n = pread (fd, begin, sizeof begin, 0);
  if (n < 0)
    return cannot_read (path, error);
  switch (avatar_file_kind_detect (begin, n)) {
    case AVATAR_KIND_PNG:
      return avatar_png_read (picture, path, fd, error);
    case AVATAR_KIND_JPEG:
      return avatar_jpeg_read (picture, path, fd, error);
    default:
      kind = avatar_file_kind_describe (begin, n, path);
      return avatar_picture_refuse (path, kind, error);
  }
}

/* Opens without blocking, so that a pipe without a writer is an error. */
static gboolean
read_file (AvatarPicture *picture, const char *path, GError **error)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  gboolean done;

  if (fd < 0)
    return cannot_read (path, error);
  done = read_open (picture, path, fd, error);
  close (fd);
  return done;
}

static GdkPixbuf *
turn_upright (AvatarPicture *picture)
{
  char text[] = { '0' + picture->orientation, 0 };

  gdk_pixbuf_remove_option (picture->pixbuf, "orientation");
  gdk_pixbuf_set_option (picture->pixbuf, "orientation", text);
  return gdk_pixbuf_apply_embedded_orientation (picture->pixbuf);
}

AvatarImage *
avatar_image_load (const char *path, GError **error)
{
  g_auto (AvatarPicture) picture = { 0 };
  g_autoptr (GdkPixbuf) upright = NULL;
  AvatarImage *image;

  if (!read_file (&picture, path, error))
    return NULL;
  if (picture.profile)
    avatar_profile_convert (picture.pixbuf, picture.profile);
  upright = turn_upright (&picture);
  g_clear_object (&picture.pixbuf); /* frees the file's pixels, which may be large */
  if (!upright) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s: not enough memory to turn the picture upright; use a smaller one", path);
    return NULL;
  }
  image = avatar_image_new (gdk_pixbuf_get_width (upright), gdk_pixbuf_get_height (upright),
      gdk_pixbuf_get_n_channels (upright), gdk_pixbuf_get_rowstride (upright),
      gdk_pixbuf_read_pixels (upright), error);
  if (image)
    image->shrunk = picture.shrunk;
  return image;
}
