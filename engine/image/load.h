/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What files of portraits may be. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/* FALSE with AVATAR_ERROR_DATA: @name is too large, or too long, for a portrait. */
gboolean avatar_image_check_size (guint width, guint height, const char *name, GError **error);

G_END_DECLS
