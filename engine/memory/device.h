/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the engine's own rooms may ask a device for. */
#pragma once

#include "engine/ops/backend.h"

G_BEGIN_DECLS

const AvatarBackend *avatar_device_get_backend (AvatarDevice *device);

G_END_DECLS
