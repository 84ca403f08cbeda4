/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test helper: opens devices. */
#pragma once

#include <avatar/device.h>

static inline AvatarDevice *
open_device (const char *name)
{
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open (name, &error);

  g_assert_no_error (error);
  return device;
}
