/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of the property lora: LoRA files and strengths in one string. */
#pragma once

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* @text: (nullable): PATH[:STRENGTH][,PATH[:STRENGTH]...], a comma within a path written as \,
 * STRENGTH is a number, one for each step (0/1/1/1), or one for a range of noise levels (1@0.98-0).
 * Returns an array of AvatarLoraSetting that owns the paths, or %NULL with @error set. */
GArray *gst_avatar_loras_parse (const gchar *text, GError **error);

G_END_DECLS
