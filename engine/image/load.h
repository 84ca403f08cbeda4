/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits for portrait files. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/* Maximum number of pixels in memory. A PNG of 64 bytes can announce any size, and its memory is
 * allocated before the data turn out to be short. At 3 bytes a pixel the picture, its upright copy
 * and the engine's copy take 200 MB each. */
#define AVATAR_MAX_PIXELS (1 << 26)

/* Returns FALSE with AVATAR_ERROR_DATA if a portrait is too large or too elongated.
 * @shrunk: factor by which the decoder has reduced each side
 * @name: name of the portrait for messages */
gboolean
avatar_image_check_size (guint width, guint height, guint shrunk, const char *name, GError **error);

G_END_DECLS
