/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Inspection of the text encoders of a downloaded folder. */
#pragma once

#include "engine/inspect/inspect.h"
#include "engine/model/layout.h"

G_BEGIN_DECLS

/* Fills @component with the state of LLaVA, or of CLIP if @clip. */
void avatar_inspect_encoder (AvatarInspectedComponent *component, const AvatarLayout *layout,
    const AvatarConfig *config, gboolean clip);

G_END_DECLS
