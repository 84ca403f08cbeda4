/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resampling of 8-bit RGB pictures, byte for byte as Pillow's Image.resize(), which prepared the
 * pictures that the model was trained on. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_FILTER_BILINEAR,
  AVATAR_FILTER_LANCZOS,
} AvatarFilter;

/* A part of a picture. Edges may lie between pixels; float, as Pillow's box. */
typedef struct
{
  float left, top, right, bottom;
} AvatarRegion;

/**
 * avatar_resample:
 * @image: an RGB picture
 * @region: the part of it to take, not empty, inside the picture
 *
 * When the picture shrinks, the filter widens with it, so that nothing is aliased.
 *
 * Returns: (transfer full): @region as a picture of @width x @height pixels
 */
AvatarImage *avatar_resample (const AvatarImage *image, AvatarRegion region, AvatarFilter filter,
    guint width, guint height, GError **error);

G_END_DECLS
