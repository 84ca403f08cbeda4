/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors of the released face detector: YOLOv5l-face with the names of its modules
 * (docs/dev/spec/vae-text-face-formats.md 4). Anchors are left out, because random ones are
 * invalid. */
#pragma once

#include "tools/random-text.h"

/* Returns: (transfer full): array of AvatarNamedTensor without data; @names owns the names.
 * @sizes: small ones have an eighth of the released widths and the minimum depth of every stage */
GArray *random_face_list (RandomSizes sizes, GStringChunk *names);
