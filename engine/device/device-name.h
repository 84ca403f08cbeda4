/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Names of device groups: "cuda:0+cuda:1", short "cuda:0+1", and "cuda:all". */
#pragma once

#include "engine/device/device.h"

G_BEGIN_DECLS

/* Returns TRUE if @name is the name of a group. It may be wrong. */
gboolean avatar_device_name_is_group (const char *name);
/* Returns: (transfer full): the names of the members of the group @name, one or more, or %NULL with
 * AVATAR_ERROR_DEVICE. A member of digits alone has the prefix of the member before it. @find:
 * function of avatar_device_open_with(); it loads the back-end that counts the GPUs of
 * "cuda:all" */
char **avatar_device_name_split (const char *name, AvatarBackendFindFunc find, GError **error);

G_END_DECLS
