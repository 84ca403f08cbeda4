/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion of decoded pictures to bytes. */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/decode.h>

G_BEGIN_DECLS

/* Returns the bytes of a frame of @height x @width pixels, both even, without row padding. */
static inline gsize
avatar_pixels_size (AvatarPixelFormat format, gint64 height, gint64 width)
{
  return format == AVATAR_PIXEL_FORMAT_RGB ? 3 * height * width : height * width * 3 / 2;
}

/* Converts the frames x [n, H, W, 3], RGB in -1 .. 1, to y uint8 [n, avatar_pixels_size()] in the
 * format of @pixels. Values out of range are clamped; H and W are even. @bad, int32 [1], is set to
 * 1 if a value is NaN or infinite, and else left unchanged. */
void avatar_op_to_bytes (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
    AvatarTensor bad);

/**
 * AvatarPixelMatrix:
 * @y: the factors of r + 1, g + 1 and b + 1 in the luma value
 * @u: the same in the blue chroma value, without its offset of 128
 * @v: the same in the red chroma value
 * @y_offset: the summand of the luma value
 *
 * The conversion from RGB in -1 .. 1 to 8-bit YUV, before rounding.
 */
typedef struct _AvatarPixelMatrix
{
  float y[3], u[3], v[3], y_offset;
} AvatarPixelMatrix;

G_END_DECLS
