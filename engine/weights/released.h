/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The released model's sizes, built in: plans can be made before anything was downloaded. */
#pragma once

#include "engine/weights/config.h"

G_BEGIN_DECLS

/* What avatar_model_open() takes for it, where no folder has this name. */
#define AVATAR_RELEASED "released"

AvatarConfig *avatar_config_released (void);
/* The same as the text of a config.json. */
const char *avatar_config_released_json (void);

G_END_DECLS
