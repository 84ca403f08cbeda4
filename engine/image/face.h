/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The face box as a mask over latent cells. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * avatar_face_mask:
 * @mask: (out): [height / scale, width / scale] floats, 0 to 1
 * @width, @height: of the picture, multiples of @scale
 * @box: the face; without width or height, or not finite: the whole picture
 * @area: factor on each side of the box
 * @scale: pixels of a latent cell, even
 */
void avatar_face_mask (float *mask, guint width, guint height, AvatarFaceBox box, double area,
    guint scale);

G_END_DECLS
