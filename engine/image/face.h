/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Face mask over latent cells. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * avatar_face_mask:
 * @mask: (out): [height / scale, width / scale], values from 0 to 1
 * @width, @height: size of the picture in pixels, multiples of @scale
 * @box: face in pixels; the whole picture if it is empty or not finite
 * @area: factor on each side of the box
 * @scale: pixels of a latent cell, even
 */
void avatar_face_mask (float *mask, guint width, guint height, AvatarFaceBox box, double area,
    guint scale);
/* Fills @mask from the first channel of @image, reduced like the box: 255 becomes 1. */
void avatar_face_mask_from_image (float *mask, const AvatarImage *image, guint scale);

G_END_DECLS
