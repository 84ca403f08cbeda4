/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inspection of weight files outside of a model folder. They are identified by the names of their
 * tensors. */
#pragma once

#include "engine/model/config.h"
#include "engine/inspect/inspect.h"

G_BEGIN_DECLS

/* @config: sizes that a LoRA must match */
AvatarInspectedComponent *avatar_inspect_loose (const char *path, const AvatarConfig *config);
/* Inspects the weight files in @folder that are not in @seen, a set of absolute paths, and adds
 * them to it. Does nothing if @folder is not a folder. */
void avatar_inspect_folder (AvatarInspection *self, const char *folder, const AvatarConfig *config,
    GHashTable *seen);

G_END_DECLS
