/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* YOLOv5-face (Qi et al. 2021; github.com/deepcam-cn/yolov5-face, models/yolo.py and common.py): the
 * network of the face detector, of any width and depth. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

#define AVATAR_YOLO_STRIDE 32 /* of the coarsest grid: sides of pictures are multiples of it */
#define AVATAR_YOLO_COLUMNS 16

typedef struct _AvatarYolo AvatarYolo;

/* Widths and depths are those of @file, whose norms may be folded into the convolutions or not. The
 * weights are read into memory of @device, which is a CPU; @file is not needed any more. */
AvatarYolo *avatar_yolo_new (AvatarTensorFile *file, AvatarDevice *device, GError **error);
void avatar_yolo_free (AvatarYolo *self);
/* Rows of what is found in a picture of that size. */
gint64 avatar_yolo_n_rows (gint64 height, gint64 width);
/**
 * avatar_yolo_run:
 * @rgb: [height, width, 3], 0 to 1
 * @out: [rows, 16]: centre x, y, width, height in pixels; objectness; x, y of five landmarks in pixels;
 *   score of the class "face". By grid from the finest, anchor, y, x
 */
gboolean avatar_yolo_run (AvatarYolo *self, const float *rgb, gint64 height, gint64 width,
    float *out, GError **error);
/* The high-water mark of avatar_yolo_run() and its operations. */
void avatar_yolo_plan (AvatarYolo *self, gint64 height, gint64 width, gsize *bytes, double *flops);
/* Bytes of the weights. */
guint64 avatar_yolo_bytes (AvatarYolo *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarYolo, avatar_yolo_free)

G_END_DECLS
