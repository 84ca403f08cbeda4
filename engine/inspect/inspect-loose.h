/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weight files that are in no known place: told by the names of their tensors. */
#pragma once

#include "engine/model/config.h"
#include "engine/inspect/inspect.h"

G_BEGIN_DECLS

/* @config: sizes that a LoRA must have. */
AvatarInspectedComponent *avatar_inspect_loose (const char *path, const AvatarConfig *config);
/* The same for what looks like weights in @folder itself and is not in @seen, a set of absolute
 * paths to which they are added. Nothing, if it is no folder. */
void avatar_inspect_folder (AvatarInspection *self, const char *folder, const AvatarConfig *config,
    GHashTable *seen);

G_END_DECLS
