/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The detector's convolutions, found by the names of its modules and checked against each other. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

#define AVATAR_YOLO_GRIDS 3
#define AVATAR_YOLO_ANCHORS 3 /* of each grid */

/* A convolution with its norm folded in. w [out, kernel kernel in], b [out] */
typedef struct
{
  AvatarTensor w, b;
  guint kernel;
} AvatarYoloConv;

/**
 * AvatarYoloWeights:
 * @convs: name of a module from "model." on, as "1.m.0.cv2" -> AvatarYoloConv
 * @anchors: [grids][anchors][width, height] in pixels
 */
typedef struct
{
  AvatarArena *arena;
  GHashTable *convs;
  float anchors[AVATAR_YOLO_GRIDS][AVATAR_YOLO_ANCHORS][2];
} AvatarYoloWeights;

gboolean avatar_yolo_weights_init (AvatarYoloWeights *self, AvatarTensorFile *file,
    AvatarDevice *device, GError **error);
void avatar_yolo_weights_clear (AvatarYoloWeights *self);
/* The convolution of the module @name, or %NULL. */
const AvatarYoloConv *avatar_yolo_weights_find (const AvatarYoloWeights *self, const char *name);

G_END_DECLS
