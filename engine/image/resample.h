/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resampling of 8-bit RGB pictures, byte-identical to Pillow's Image.resize(), with which the
 * training pictures were made. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_FILTER_BILINEAR,
  AVATAR_FILTER_LANCZOS,
} AvatarFilter;

/* Region of a picture. Edges may be between pixels; float as in Pillow. */
typedef struct
{
  float left, top, right, bottom;
} AvatarRegion;

/**
 * avatar_resample:
 * @image: RGB picture
 * @region: non-empty region inside the picture
 * @filter: the filter, which is widened for reduction to avoid aliasing
 * @width, @height: size of the result in pixels
 * @error: return location for a #GError: #AVATAR_ERROR_MEMORY
 *
 * Returns: (transfer full) (nullable): @region scaled to @width x @height pixels, or %NULL on error
 */
AvatarImage *avatar_resample (const AvatarImage *image, AvatarRegion region, AvatarFilter filter,
    guint width, guint height, GError **error);

G_END_DECLS
