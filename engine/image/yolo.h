/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* YOLOv5-face, the network of the face detector, of any width and depth (Qi et al. 2021;
 * github.com/deepcam-cn/yolov5-face, models/yolo.py and common.py). */
#pragma once

#include "engine/device/ledger.h"
#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

#define AVATAR_YOLO_STRIDE 32  /* stride of the coarsest grid; picture sides are multiples of it */
#define AVATAR_YOLO_COLUMNS 16 /* values of an output row */

typedef struct _AvatarYolo AvatarYolo;

/* Makes a network with the widths and depths of @file, in which norms may be folded into the
 * convolutions. Reads the weights into memory of @device, a CPU; @file may be freed afterwards.
 * Returns NULL with AVATAR_ERROR_MISMATCH, AVATAR_ERROR_READ or AVATAR_ERROR_MEMORY. A network is
 * used by one thread at a time. */
AvatarYolo *avatar_yolo_new (AvatarTensorFile *file, AvatarDevice *device, GError **error);
void avatar_yolo_free (AvatarYolo *self);
/* Returns the number of output rows for a picture of that size. */
gint64 avatar_yolo_n_rows (gint64 height, gint64 width);
/**
 * avatar_yolo_run:
 * @rgb: [height, width, 3] from 0 to 1
 * @height, @width: size in pixels, multiples of AVATAR_YOLO_STRIDE
 * @out: [avatar_yolo_n_rows(), 16]: centre x, y, width, height in pixels; objectness; x, y of five
 *   landmarks in pixels; score of the class "face". Ordered by grid from the finest, anchor, y, x
 * @error: return location for a #GError
 *
 * Runs the network.
 *
 * Returns: %TRUE, or %FALSE on error
 */
gboolean avatar_yolo_run (AvatarYolo *self, const float *rgb, gint64 height, gint64 width,
    float *out, GError **error);
/* Measures the memory in bytes and the floating-point operations of avatar_yolo_run(). */
void avatar_yolo_plan (AvatarYolo *self, gint64 height, gint64 width, gsize *bytes, double *flops);
/* Returns the size of the weights in bytes. */
guint64 avatar_yolo_bytes (AvatarYolo *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarYolo, avatar_yolo_free)

G_END_DECLS
