/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layers of CLIP (Radford et al. 2021), of its vision tower and its text encoder. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

typedef struct
{
  AvatarModuleWeights norm1, norm2, q, k, v, out, fc1, fc2;
} AvatarTowerLayer;

/* The attention mask. */
typedef enum
{
  AVATAR_TOWER_ALL_ROWS, /* a row attends to all rows */
  AVATAR_TOWER_CAUSAL,   /* a row attends to itself and the rows before it */
} AvatarTowerMask;

typedef struct
{
  AvatarOps *ops;
  const AvatarTowerConfig *config;
  AvatarTowerMask mask;
} AvatarTower;

/* Adds the weights of layer @i to @list, as weight group @group.
 * @prefix: name of the module with a dot at the end, or "" */
void avatar_tower_add_layer (AvatarWeightList *list, AvatarTowerLayer *layer, guint group,
    const char *prefix, guint i);
/* Runs a layer on @x [rows, hidden] float32 in place. */
void avatar_tower_layer (const AvatarTower *self, const AvatarTowerLayer *layer, AvatarTensor x);
/* Computes y = norm (x), both [rows, hidden] float32. */
void avatar_tower_norm (const AvatarTower *self, const AvatarModuleWeights *norm, AvatarTensor y,
    AvatarTensor x);

G_END_DECLS
