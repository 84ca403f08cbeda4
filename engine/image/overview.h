/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* All of a portrait, small, for the face detector. */
#pragma once

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * avatar_image_overview:
 * @width, @height: of the video, as in avatar_image_fit()
 * @shorter_side: of the result at most, if the video is cropped
 *
 * Returns: (transfer full): the whole portrait in RGB, at the scale of what avatar_image_fit() makes
 * of it; where nothing is cropped, the very same picture
 */
AvatarImage *avatar_image_overview (const AvatarImage *image, AvatarModel *model, guint width,
    guint height, guint shorter_side, GError **error);

G_END_DECLS
