/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Faces in a picture, as upstream's DetFace finds them (hymm_sp/data_kits/face_align/detface.py). */
#pragma once

#include "engine/image/nms.h"
#include "engine/image/yolo.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/* The size at which the network sees a picture: the shorter side 416, both rounded up to a multiple of
 * 32. */
void avatar_detector_size (guint width, guint height, guint *seen_width, guint *seen_height);

/**
 * avatar_detector_find:
 * @image: RGB
 *
 * Returns: (transfer full): of AvatarFace, in pixels of @image, by falling score; or %NULL
 */
GArray *avatar_detector_find (AvatarYolo *network, const AvatarImage *image, GError **error);

G_END_DECLS
