/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of modules on bound weights. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

/* y = act (x w^T + b), without b if the module has no bias.
 * @y: [rows, out]
 * @x: [rows, in] */
void avatar_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x,
    const AvatarModuleWeights *layer, AvatarAct act);
/* y += gate (x w^T + b).
 * @gate: [out], or AVATAR_NO_TENSOR for 1 */
void avatar_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x,
    const AvatarModuleWeights *layer, AvatarTensor gate);
/* y = layer norm of x, [rows, columns], with scale and bias of @norm, [columns].
 * @eps: addend to the variance */
void avatar_affine_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x,
    const AvatarModuleWeights *norm, double eps);

G_END_DECLS
