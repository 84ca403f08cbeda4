/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of modules on bound weights. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

/* y = act (x w^T + b), or without b where the module has none */
void avatar_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x,
    const AvatarModuleWeights *layer, AvatarAct act);
/* y += gate (x w^T + b); @gate: [columns of y], or AVATAR_NO_TENSOR for 1 */
void avatar_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x,
    const AvatarModuleWeights *layer, AvatarTensor gate);
/* y = layer norm of x with affine parameters */
void avatar_affine_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x,
    const AvatarModuleWeights *norm, double eps);

G_END_DECLS
