/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LoRA files and strengths in one string. */
#pragma once

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* @text: (nullable): PATH[:STRENGTH][,PATH[:STRENGTH]...], a comma within a path as \,
 * Returns an array of AvatarLoraSetting that owns its paths; %NULL with @error. */
GArray *gst_avatar_loras_parse (const gchar *text, GError **error);

G_END_DECLS
