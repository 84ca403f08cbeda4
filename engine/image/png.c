/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PNG reader on gdk-pixbuf, which ignores EXIF data; they are read here. Files are loaded at once,
 * because gdk-pixbuf's incremental loader accepts truncated files. */
#include "engine/image/exif.h"
#include "engine/image/load.h"
#include "engine/image/picture.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define MAX_EXIF (1 << 20)

static guint32
big_endian (const guint8 *bytes)
{
  return (guint32) bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

/* Returns the orientation of an eXIf chunk of @n bytes, before which @file is positioned. Some
 * writers include the prefix that EXIF data have in a JPEG. */
static guint
read_exif (FILE *file, guint32 n)
{
  g_autofree guint8 *data = n >= 8 && n <= MAX_EXIF ? g_malloc (n + 4) : NULL;
  guint32 crc = crc32 (0, (const guint8 *) "eXIf", 4);
  guint skip;

  if (!data || fread (data, 1, n + 4, file) != n + 4
      || crc32 (crc, data, n) != big_endian (data + n))
    return 1;
  skip = memcmp (data, "Exif\0\0", 6) == 0 ? 6 : 0;
  return avatar_exif_orientation (data + skip, n - skip);
}

/* Walks through the chunks; eXIf may be before or after the pixels. */
static guint
find_orientation (int fd)
{
  FILE *file = fdopen (dup (fd), "rb");
  guint8 head[8];
  guint orientation = 1;

  if (!file)
    return 1;
  fseeko (file, 8, SEEK_SET);
  while (fread (head, 1, sizeof head, file) == sizeof head && memcmp (head + 4, "IEND", 4) != 0) {
    if (memcmp (head + 4, "eXIf", 4) == 0) {
      orientation = read_exif (file, big_endian (head));
      break;
    }
    if (fseeko (file, (off_t) big_endian (head) + 4, SEEK_CUR) != 0)
      break;
  }
  fclose (file);
  return orientation;
}

static GBytes *
get_profile (GdkPixbuf *pixbuf)
{
  const char *text = gdk_pixbuf_get_option (pixbuf, "icc-profile"); /* base64 */
  guchar *bytes;
  gsize n;

  if (!text)
    return NULL;
  bytes = g_base64_decode (text, &n);
  return g_bytes_new_take (bytes, n);
}

gboolean
avatar_png_read (AvatarPicture *picture, const char *path, int fd, GError **error)
{
  g_autoptr (GError) load_error = NULL;
  int width, height;

  /* checked first, because a small file may announce a picture that fits in no memory */
  if (gdk_pixbuf_get_file_info (path, &width, &height)
      && !avatar_image_check_size (MAX (width, 0), MAX (height, 0), 1, path, error))
    return FALSE;
  picture->pixbuf = gdk_pixbuf_new_from_file (path, &load_error);
  if (!picture->pixbuf)
    return avatar_picture_refuse (path, load_error->message, error);
  picture->orientation = find_orientation (fd);
  picture->profile = get_profile (picture->pixbuf);
  picture->shrunk = 1;
  return TRUE;
}
