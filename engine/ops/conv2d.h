/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What networks that look at pictures are made of, on the CPU. Pictures are float32 [H, W, C]; they may
 * be some of the channels of a wider one, so that two are joined by writing them side by side. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/* y = act (conv (x) + b), with zeros around x: kernel / 2 at each side. x [H, W, in],
 * y [ceil (H / stride), ceil (W / stride), out], w [out, kernel kernel in], b [out]. Kernels are odd.
 * Cancelled between rows. */
void avatar_op_conv2d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, guint kernel, guint stride, AvatarAct act);
/* y [H', W', C]: the largest of each window of x [H, W, C], that begins @pad before a multiple of
 * @stride and ends with the picture. */
void avatar_op_max_pool (AvatarOps *ops, AvatarTensor y, AvatarTensor x, guint kernel, guint stride,
    guint pad);
/* y [2 H, 2 W, C]: every pixel of x [H, W, C] four times. */
void avatar_op_upsample_2x (AvatarOps *ops, AvatarTensor y, AvatarTensor x);

G_END_DECLS
