/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Common helpers of the PNG and JPEG readers. */
#include "engine/image/picture.h"

#include <avatar/error.h>

gboolean
avatar_picture_refuse (const char *path, const char *reason, GError **error)
{
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: not a picture that can be read: %s",
      path, reason);
  return FALSE;
}

void
avatar_picture_clear (AvatarPicture *picture)
{
  g_clear_object (&picture->pixbuf);
  g_clear_pointer (&picture->profile, g_bytes_unref);
}
