/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resizing of 8-bit RGB pictures, byte-identical to OpenCV's INTER_LINEAR: interpolates between
 * two pixels in each direction at any scale. For networks that were trained with it. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/* Scales @image, which is RGB, to @out [height, width, 3]. */
void avatar_resize_linear (guint8 *out, guint width, guint height, const AvatarImage *image);

G_END_DECLS
