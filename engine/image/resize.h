/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's choice of a video size. */
#pragma once

#include "engine/model/config.h"

G_BEGIN_DECLS

/* Computes the size that upstream chooses for a portrait of @width x @height with its option
 * image-size = @base (docs/dev/spec/denoise.md 4.1). */
void avatar_resize_rule (const AvatarResizeConfig *rule, guint width, guint height, guint base,
    guint *out_width, guint *out_height);

G_END_DECLS
