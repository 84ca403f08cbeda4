/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Convolutions of the detector by layer. They are bound by the names of the modules and checked
 * against each other when the weights are loaded. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/formats/tensor-file.h"

G_BEGIN_DECLS

#define AVATAR_YOLO_GRIDS 3
#define AVATAR_YOLO_ANCHORS 3 /* anchors per grid */

#define AVATAR_YOLO_LAYERS 23 /* layers in the yaml without the detection layer */

/* A convolution with its norm folded in. w [out, kernel * kernel * in], b [out] */
typedef struct
{
  AvatarTensor w, b;
  guint kernel;
} AvatarYoloConv;

typedef struct
{
  AvatarYoloConv cv1, cv2;
} AvatarYoloBottleneck;

/* @m: array of @n bottlenecks */
typedef struct
{
  AvatarYoloConv cv1, cv2, cv3;
  AvatarYoloBottleneck *m;
  guint n;
} AvatarYoloC3;

typedef struct
{
  AvatarYoloConv stem_1, stem_2a, stem_2b, stem_3;
} AvatarYoloStem;

typedef struct
{
  AvatarYoloConv cv1, cv2;
} AvatarYoloSpp;

/**
 * AvatarYoloWeights:
 * @arena: (owned): memory of the weights
 * @stem: layer 0
 * @conv, @c3: layers by their index in the yaml; empty if the layer is of another kind
 * @spp: layer 7
 * @detect: the last convolution of each grid
 * @anchors: [grids][anchors][width, height] in pixels
 */
typedef struct
{
  AvatarArena *arena;
  AvatarYoloStem stem;
  AvatarYoloConv conv[AVATAR_YOLO_LAYERS];
  AvatarYoloC3 c3[AVATAR_YOLO_LAYERS];
  AvatarYoloSpp spp;
  AvatarYoloConv detect[AVATAR_YOLO_GRIDS];
  float anchors[AVATAR_YOLO_GRIDS][AVATAR_YOLO_ANCHORS][2];
} AvatarYoloWeights;

/* Reads the weights of @file into memory of @device. Returns FALSE with @error; the caller calls
 * avatar_yolo_weights_clear() in any case. */
gboolean avatar_yolo_weights_init (AvatarYoloWeights *self, AvatarTensorFile *file,
    AvatarDevice *device, GError **error);
void avatar_yolo_weights_clear (AvatarYoloWeights *self);

G_END_DECLS
