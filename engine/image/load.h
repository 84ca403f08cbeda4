/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What files of portraits may be. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/* Limit of what is held. A PNG of 64 bytes can announce any size, and has its memory before it turns
 * out to be short; at 3 bytes a pixel the picture, the one turned upright and the engine's copy
 * take 200 MB each. */
#define AVATAR_MAX_PIXELS (1 << 26)

/* FALSE with AVATAR_ERROR_DATA: @name is too large, or too long, for a portrait. @shrunk: pixels
 * that one of those that are held stands for, along each side. */
gboolean
avatar_image_check_size (guint width, guint height, guint shrunk, const char *name, GError **error);

G_END_DECLS
