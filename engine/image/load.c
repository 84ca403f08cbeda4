/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files of pictures, by gdk-pixbuf. It has loaders for many kinds more, some of which take the memory that
 * a file speaks of before they look whether it is there (4 GiB for a BMP of 198 bytes); so the kind is
 * told here, by the first bytes, and only the loader of that kind sees the file. */
#define _GNU_SOURCE
#include "engine/image/load.h"

#include <errno.h>
#include <fcntl.h>
#include <gdk-pixbuf/gdk-pixbuf.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE 65536
#define MAX_FILE ((goffset) 1 << 28)

typedef struct
{
  const char *path;
  int fd;
  GdkPixbufLoader *loader;
  GError *error; /* found by a callback */
} Load;

/* NULL: none that is read. */
static const char *
kind_of (const guint8 *data, gsize size)
{
  static const struct
  {
    const char *kind, *begins;
  } kinds[] = { { "png", "\x89PNG\r\n\x1a\n" }, { "jpeg", "\xff\xd8\xff" }, { "gif", "GIF8" } };

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++) {
    gsize n = strlen (kinds[i].begins);

    if (size >= n && memcmp (data, kinds[i].begins, n) == 0)
      return kinds[i].kind;
  }
  return NULL;
}

/* Sizes first: a small file may announce a picture that no memory holds. */
static void
on_size (GdkPixbufLoader *loader, int width, int height, Load *self)
{
  if (self->error
      || !avatar_image_check_size (MAX (width, 0), MAX (height, 0), self->path, &self->error))
    gdk_pixbuf_loader_set_size (loader, 0, 0); /* which ends the loading */
}

/* How many bytes of the file follow, up to @n; less than 0: it cannot be read. */
static gssize
read_piece (int fd, guint8 *out, gsize n)
{
  gsize done = 0;

  while (done < n) {
    gssize some = read (fd, out + done, n - done);

    if (some < 0 && errno == EINTR)
      continue;
    if (some < 0)
      return -1;
    if (some == 0)
      break;
    done += some;
  }
  return done;
}

static gboolean
cannot_read (const Load *self, GError **error)
{
  int code = errno;

  g_set_error (error, AVATAR_ERROR, code == ENOENT ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_READ,
      "%s: %s", self->path, code == ENOENT ? "there is no such picture" : g_strerror (code));
  return FALSE;
}

/* Without waiting for whoever writes into a pipe. */
static gboolean
open_file (Load *self, GError **error)
{
  struct stat st;

  self->fd = open (self->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (self->fd < 0 || fstat (self->fd, &st) != 0)
    return cannot_read (self, error);
  if (S_ISREG (st.st_mode) && st.st_size <= MAX_FILE)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: %s; expected a PNG, JPEG or GIF file",
      self->path,
      S_ISREG (st.st_mode) ? "this file has more than 256 MiB" : "this is not a regular file");
  return FALSE;
}

static gboolean
bad_picture (const Load *self, const char *why, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
      "%s: not a picture that can be read: %s; PNG, JPEG and GIF are", self->path, why);
  return FALSE;
}

/* All of the file through its kind's loader. */
static gboolean
load (Load *self, GError **error)
{
  g_autofree guint8 *piece = g_malloc (PIECE);
  gssize n = read_piece (self->fd, piece, PIECE);
  const char *kind = n > 0 ? kind_of (piece, n) : NULL;
  g_autoptr (GError) load_error = NULL;
  gboolean done = TRUE;

  if (n < 0)
    return cannot_read (self, error);
  if (!kind)
    return bad_picture (self, n ? "it begins as no PNG, JPEG or GIF" : "it is empty", error);
  self->loader = gdk_pixbuf_loader_new_with_type (kind, &load_error);
  if (!self->loader)
    return bad_picture (self, load_error->message, error);
  g_signal_connect (self->loader, "size-prepared", G_CALLBACK (on_size), self);
  for (; n > 0 && done; n = done ? read_piece (self->fd, piece, PIECE) : 0)
    done = gdk_pixbuf_loader_write (self->loader, piece, n, &load_error) && !self->error;
  /* must be closed in any case; the first failure counts */
  done = gdk_pixbuf_loader_close (self->loader, load_error ? NULL : &load_error) && done;
  if (self->error) {
    g_propagate_error (error, g_steal_pointer (&self->error));
    return FALSE;
  }
  if (n < 0)
    return cannot_read (self, error);
  return done || bad_picture (self, load_error ? load_error->message : "it is broken", error);
}

static AvatarImage *
take_picture (Load *self, GError **error)
{
  GdkPixbuf *pixbuf = gdk_pixbuf_loader_get_pixbuf (self->loader);
  g_autoptr (GdkPixbuf) upright = NULL;

  if (!pixbuf) {
    bad_picture (self, "there is none in it", error);
    return NULL;
  }
  upright = gdk_pixbuf_apply_embedded_orientation (pixbuf);
  g_clear_object (&self->loader); /* its picture may be large */
  return avatar_image_new (gdk_pixbuf_get_width (upright), gdk_pixbuf_get_height (upright),
      gdk_pixbuf_get_n_channels (upright), gdk_pixbuf_get_rowstride (upright),
      gdk_pixbuf_read_pixels (upright), error);
}

AvatarImage *
avatar_image_load (const char *path, GError **error)
{
  Load self = { .path = path, .fd = -1 };
  AvatarImage *image = NULL;

  if (open_file (&self, error) && load (&self, error))
    image = take_picture (&self, error);
  g_clear_object (&self.loader);
  g_clear_error (&self.error);
  if (self.fd >= 0)
    close (self.fd);
  return image;
}
