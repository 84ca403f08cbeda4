/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decoded pictures as bytes. */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/decode.h>

G_BEGIN_DECLS

/* Bytes of a frame. */
static inline gsize
avatar_pixels_size (AvatarPixelFormat format, gint64 height, gint64 width)
{
  return format == AVATAR_PIXEL_FORMAT_RGB ? 3 * height * width : height * width * 3 / 2;
}

/* y uint8 [n, avatar_pixels_size ()] = the frames x [n, H, W, 3] in -1..1, which is clamped; H and W
 * are even. @bad: int32 [1], becomes 1 if a value is NaN or infinite, else stays. */
void avatar_op_to_bytes (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
    AvatarTensor bad);

/* A colour of -1..1 as the brightness and the two chroma values before they are rounded: the
 * factors by which r + 1, g + 1 and b + 1 count, and what is added. */
typedef struct _AvatarPixelMatrix
{
  float y[3], u[3], v[3], y_offset;
} AvatarPixelMatrix;

G_END_DECLS
