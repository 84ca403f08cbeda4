/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From what the detector's network says of every anchor to faces. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* In pixels; x, y is the upper left corner. */
typedef struct
{
  double x, y, width, height;
  double points[5][2]; /* eyes, nose, corners of the mouth */
  double score;
} AvatarFace;

/**
 * avatar_faces_select:
 * @rows: [n, 16], as of avatar_yolo_run()
 * @confidence: of objectness, and of its product with the class's score, what a face has more than
 * @overlap: intersection over union, above which the one with the lower score is dropped
 *
 * Returns: (transfer full): of AvatarFace, by falling score; at most so many were looked at as
 * AVATAR_FACES_MAX
 */
GArray *avatar_faces_select (const float *rows, gint64 n, float confidence, float overlap);
/* The one that upstream takes; %NULL: there is none. */
const AvatarFace *avatar_faces_largest (GArray *faces);

/* Candidates with the highest scores; others are passed over, so that no weights make it slow. */
#define AVATAR_FACES_MAX 8192

G_END_DECLS
