/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File formats of pictures, recognised by their first bytes. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_KIND_BYTES 4096 /* bytes of a file that identify its format */

typedef enum
{
  AVATAR_KIND_PNG,
  AVATAR_KIND_JPEG,
  AVATAR_KIND_OTHER,
} AvatarKind;

AvatarKind avatar_kind_of (const guint8 *begin, gsize n);
/* Describes a file that begins with @begin and is neither PNG nor JPEG, with a command that
 * converts @path to PNG. */
char *avatar_kind_describe (const guint8 *begin, gsize n, const char *path);

G_END_DECLS
