/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names for files that are given as pictures, by their first bytes. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_KIND_BYTES 4096 /* of a file's beginning that tell its kind */

typedef enum
{
  AVATAR_KIND_PNG,
  AVATAR_KIND_JPEG,
  AVATAR_KIND_OTHER,
} AvatarKind;

AvatarKind avatar_kind_of (const guint8 *begin, gsize n);
/* Names what begins with @begin and is neither PNG nor JPEG, with a command that makes a PNG of
 * @path. */
char *avatar_kind_describe (const guint8 *begin, gsize n, const char *path);

G_END_DECLS
