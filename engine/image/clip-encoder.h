/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layers of CLIP (Radford et al. 2021), shared by its vision tower and its text tower. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

typedef struct
{
  AvatarModuleWeights norm1, norm2, q, k, v, out, fc1, fc2;
} AvatarTowerLayer;

/* Rows that a row attends to. */
typedef enum
{
  AVATAR_TOWER_ALL_ROWS,
  AVATAR_TOWER_CAUSAL, /* itself and those before it */
} AvatarTowerMask;

typedef struct
{
  AvatarOps *ops;
  const AvatarTowerConfig *config;
  AvatarTowerMask mask;
} AvatarTower;

/* Adds layer @i of the module @prefix, with its dot, to the list. */
void avatar_tower_add_layer (AvatarWeightList *list, AvatarTowerLayer *layer, guint group,
    const char *prefix, guint i);
/* x [rows, hidden] float32, in place */
void avatar_tower_layer (const AvatarTower *self, const AvatarTowerLayer *layer, AvatarTensor x);
/* y = norm (x) */
void avatar_tower_norm (const AvatarTower *self, const AvatarModuleWeights *norm, AvatarTensor y,
    AvatarTensor x);

G_END_DECLS
