/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resizing of 8-bit RGB pictures, byte for byte as OpenCV's INTER_LINEAR: two pixels in each direction,
 * however much the picture shrinks. For networks whose input was made so. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/* @image: RGB. @out: [height, width, 3]. */
void avatar_resize_linear (guint8 *out, guint width, guint height, const AvatarImage *image);

G_END_DECLS
