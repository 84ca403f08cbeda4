/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results of the readers of PNG and of JPEG: pixels as they are in the file, and what is to be
 * done to them. */
#pragma once

#include <gdk-pixbuf/gdk-pixbuf.h>

G_BEGIN_DECLS

typedef struct
{
  GdkPixbuf *pixbuf;
  guint orientation; /* of EXIF, 1 to 8 */
  guint shrunk;      /* pixels of the file for one of these, along each side */
  GBytes *profile;   /* ICC; NULL: none */
} AvatarPicture;

/* @fd is open at its beginning. */
gboolean avatar_png_read (AvatarPicture *picture, const char *path, int fd, GError **error);
gboolean avatar_jpeg_read (AvatarPicture *picture, const char *path, int fd, GError **error);

void avatar_picture_clear (AvatarPicture *picture);
/* Sets AVATAR_ERROR_FORMAT: the file cannot be read, and @why. Returns FALSE. */
gboolean avatar_picture_refuse (const char *path, const char *why, GError **error);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarPicture, avatar_picture_clear)

G_END_DECLS
