/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Back-ends that are modules: loaded when their device is asked for, so that a machine without
 * their libraries misses nothing else. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

/* libavatar-@name.so from the folder in AVATAR_MODULE_DIR, beside the object this code is in, or
 * the installed folder. Stays loaded. %NULL with @error, saying where it was looked for. */
const AvatarBackend *avatar_backend_load (const char *name, GError **error);

G_END_DECLS
