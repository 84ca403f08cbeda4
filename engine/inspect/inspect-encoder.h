/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A text encoder in a folder that was downloaded. */
#pragma once

#include "engine/inspect/inspect.h"
#include "engine/model/layout.h"

G_BEGIN_DECLS

/* Tells of @component, LLaVA or @clip, of @layout, what it is and what it lacks. */
void avatar_inspect_encoder (AvatarInspectedComponent *component, const AvatarLayout *layout,
    const AvatarConfig *config, gboolean clip);

G_END_DECLS
