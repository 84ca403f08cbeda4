/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/weights/module-ops.h"

void
avatar_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarModuleWeights *layer,
    AvatarAct act)
{
  avatar_op_linear (ops, y, x, avatar_weight_tensor (layer->weight),
      avatar_weight_tensor (layer->bias), act);
}

void
avatar_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarModuleWeights *layer,
    AvatarTensor gate)
{
  avatar_op_linear_add (ops, y, x, avatar_weight_tensor (layer->weight),
      avatar_weight_tensor (layer->bias), gate, AVATAR_NO_TENSOR);
}

void
avatar_affine_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarModuleWeights *norm,
    double eps)
{
  avatar_op_layer_norm (ops, y, x, avatar_weight_tensor (norm->weight),
      avatar_weight_tensor (norm->bias), AVATAR_NORM_SCALE, eps);
}
