/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The released face detector as a list of tensors: YOLOv5l-face under the names of its modules
 * (docs/dev/spec/vae-text-face-formats.md 4). Its anchors are not among them: no random ones would
 * do. */
#pragma once

#include <glib.h>

/* An array of AvatarNamedTensor without data; @names keeps the names. @small: an eighth of the released
 * widths, and every stage as shallow as it can be. */
GArray *random_face_list (gboolean small, GStringChunk *names);
