/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Selection of faces from the detector's output for all anchors. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Face in pixels; x, y is the upper left corner. */
typedef struct
{
  double x, y, width, height;
  double points[5][2]; /* eyes, nose, corners of the mouth */
  double score;
} AvatarFace;

/**
 * avatar_faces_select:
 * @rows: output of avatar_yolo_run(), [@n, 16]
 * @n: number of rows
 * @confidence: minimum objectness, and minimum product of objectness and class score, exclusive
 * @overlap: intersection over union above which the face with the lower score is removed
 *
 * Only the AVATAR_FACES_MAX candidates with the highest scores are compared.
 *
 * Returns: (transfer full): array of AvatarFace, by falling score
 */
GArray *avatar_faces_select (const float *rows, gint64 n, float confidence, float overlap);
/* Returns: (transfer none) (nullable): the face with the largest area, which upstream uses */
const AvatarFace *avatar_faces_largest (GArray *faces);

/* Maximum number of candidates, which bounds the time for any weights. */
#define AVATAR_FACES_MAX 8192

G_END_DECLS
