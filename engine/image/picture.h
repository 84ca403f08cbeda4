/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Result of the PNG and JPEG readers: pixels as stored, and the corrections still to apply. */
#pragma once

#include <gdk-pixbuf/gdk-pixbuf.h>

G_BEGIN_DECLS

typedef struct
{
  GdkPixbuf *pixbuf;
  guint orientation; /* EXIF orientation, 1 to 8 */
  guint shrunk;      /* factor by which each side was reduced */
  GBytes *profile;   /* ICC; NULL: none */
} AvatarPicture;

/* Reads a picture. Returns FALSE with @error.
 * @path: path of the file, for messages and for gdk-pixbuf
 * @fd: file descriptor, at the start of the file */
gboolean avatar_png_read (AvatarPicture *picture, const char *path, int fd, GError **error);
gboolean avatar_jpeg_read (AvatarPicture *picture, const char *path, int fd, GError **error);

void avatar_picture_clear (AvatarPicture *picture);
/* Sets AVATAR_ERROR_FORMAT with @reason. Returns FALSE. */
gboolean avatar_picture_refuse (const char *path, const char *reason, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarPicture, avatar_picture_clear)

G_END_DECLS
