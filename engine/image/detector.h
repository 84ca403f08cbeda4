/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds faces in a picture as upstream's DetFace does (hymm_sp/data_kits/face_align/detface.py). */
#pragma once

#include "engine/image/nms.h"
#include "engine/image/yolo.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/* Computes the size to which a picture of @width x @height is scaled for the network: the shorter
 * side is 416, and both are rounded up to a multiple of 32. */
void
avatar_detector_get_input_size (guint width, guint height, guint *input_width, guint *input_height);

/**
 * avatar_detector_find:
 * @network: the detector
 * @image: an RGB picture
 * @error: return location for a #GError
 *
 * Returns: (transfer full) (nullable) (element-type AvatarFace): the faces in pixels of @image, by
 * falling score, or %NULL on error
 */
GArray *avatar_detector_find (AvatarYolo *network, const AvatarImage *image, GError **error);

G_END_DECLS
