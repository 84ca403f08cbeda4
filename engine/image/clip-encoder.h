/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layers of CLIP (Radford et al. 2021), which both of its towers are made of: the one that sees
 * pictures and the one that reads. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weights.h"

G_BEGIN_DECLS

/* @prefix: of the tensors' names, with its dot */
typedef struct
{
  AvatarOps *ops;
  const AvatarTowerConfig *config;
  AvatarWeights *weights;
  const char *prefix;
} AvatarTower;

/* Layer @i in place: x [rows, hidden] float32. @causal: a row sees itself and those before it. */
void avatar_tower_layer (const AvatarTower *self, guint i, AvatarTensor x, gboolean causal);
/* y = norm (x), module "@prefix @name" */
void avatar_tower_norm (const AvatarTower *self, const char *name, AvatarTensor y, AvatarTensor x);

G_END_DECLS
