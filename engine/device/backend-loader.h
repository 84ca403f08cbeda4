/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Back-ends in loadable modules. A module is loaded when a device of it is opened, so the engine
 * runs on machines without the module's libraries. */
#pragma once

#include "engine/device/backend.h"

G_BEGIN_DECLS

/* Loads libavatar-NAME.so. It is searched for in the folder that the environment variable
 * AVATAR_MODULE_DIR names, or else in the folder gst-avatar below the one that the library is
 * installed in. A module stays loaded. Returns %NULL with @error set, which names the folders.
 * Thread-safe. */
const AvatarBackend *avatar_backend_load (const char *name, GError **error);

G_END_DECLS
