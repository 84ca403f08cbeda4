/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <avatar/version.h>

void
avatar_version (guint *major, guint *minor, guint *micro)
{
  if (major)
    *major = AVATAR_VERSION_MAJOR;
  if (minor)
    *minor = AVATAR_VERSION_MINOR;
  if (micro)
    *micro = AVATAR_VERSION_MICRO;
}
