/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File formats of pictures, recognised by their first bytes. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_KIND_BYTES 4096 /* bytes from the start of a file that identify it */

typedef enum
{
  AVATAR_KIND_PNG,
  AVATAR_KIND_JPEG,
  AVATAR_KIND_OTHER,
} AvatarFileKind;

/* Returns the kind of a file that starts with @begin, @n bytes. */
AvatarFileKind avatar_file_kind_detect (const guint8 *begin, gsize n);
/* Describes a file that starts with @begin and is neither PNG nor JPEG, with a command that
 * converts
 * @path to PNG. Free with g_free(). */
char *avatar_file_kind_describe (const guint8 *begin, gsize n, const char *path);

G_END_DECLS
