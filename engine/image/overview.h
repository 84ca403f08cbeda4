/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The whole portrait at a reduced size, for the face detector. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * avatar_image_overview:
 * @image: the portrait
 * @model: the model
 * @width, @height: size of the video in pixels, as in avatar_image_fit()
 * @shorter_side: maximum of the shorter side of the result if the video is cropped
 * @error: return location for a #GError
 *
 * Scales the whole portrait by the factor of avatar_image_fit(). Without cropping, the result is
 * the picture of avatar_image_fit().
 *
 * Returns: (transfer full) (nullable): the picture in RGB, or %NULL on error
 */
AvatarImage *avatar_image_overview (const AvatarImage *image, AvatarModel *model, guint width,
    guint height, guint shorter_side, GError **error);

G_END_DECLS
