/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of 2-D convolution networks, on the CPU only. Pictures are float32 [H, W, C]. They may
 * be views of some channels of a wider picture: two pictures are concatenated by writing both into
 * one. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/* y = act (conv (x) + b), x padded with kernel / 2 zeros on each side. x [H, W, in],
 * y [ceil (H / stride), ceil (W / stride), out], w [out, kernel kernel in], b [out] optional.
 * @kernel is odd. */
void avatar_op_conv2d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, guint kernel, guint stride, AvatarAct act);
/* y [H', W', C] = the maximum of each window of x [H, W, C], per channel. Windows of @kernel x
 * @kernel pixels begin @pad pixels before each multiple of @stride and are cut at the border. */
void avatar_op_max_pool (AvatarOps *ops, AvatarTensor y, AvatarTensor x, guint kernel, guint stride,
    guint pad);
/* Nearest-neighbour upsampling: y [2 H, 2 W, C] of x [H, W, C]. */
void avatar_op_upsample_2x (AvatarOps *ops, AvatarTensor y, AvatarTensor x);

G_END_DECLS
