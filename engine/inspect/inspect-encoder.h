/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inspection of the text encoders of a downloaded folder. */
#pragma once

#include "engine/inspect/inspect.h"
#include "engine/model/component.h"
#include "engine/model/layout.h"

G_BEGIN_DECLS

/* Fills @component with the state of @encoder, AVATAR_COMPONENT_LLAVA or AVATAR_COMPONENT_CLIP. */
void avatar_inspect_encoder (AvatarInspectedComponent *component, const AvatarLayout *layout,
    const AvatarConfig *config, AvatarComponentKind encoder);

G_END_DECLS
