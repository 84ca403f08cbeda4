/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Launchers of the back-end's own kernels. Operands are those of the operation of the same name in
 * engine/ops/ops.h, unless described here. A launcher enqueues its kernels on @stream and returns
 * the status of the launch; cudaErrorInvalidValue if it does not support the operands. */
#pragma once

#include "engine/device/backend.h"
#include "engine/ops/conv3d.h"
#include "engine/ops/pixels.h"

#include <cuda_runtime_api.h>

G_BEGIN_DECLS

/* norm.cu */
cudaError_t avatar_kernel_layer_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    AvatarTensor scale, AvatarTensor shift, AvatarNormScale factor, double eps);
cudaError_t avatar_kernel_rms_norm_rope (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    AvatarTensor w, AvatarTensor cos, AvatarTensor sin, double eps);
cudaError_t
avatar_kernel_norm_factor (cudaStream_t stream, float *factor, AvatarTensor w, AvatarTensor w2);
/* rotary.cu */
cudaError_t avatar_kernel_rms_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    AvatarTensor w, double eps);
cudaError_t
avatar_kernel_rope_half (cudaStream_t stream, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
cudaError_t avatar_kernel_silu_product (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
/* elementwise.cu */
/* y = act (y * row_scale * column_scale + b), in place. y [M, N] or [N]; row_scale [M],
 * column_scale [N] and b [N] optional. */
cudaError_t avatar_kernel_epilogue (cudaStream_t stream, AvatarTensor y, const float *row_scale,
    const float *column_scale, AvatarTensor b, AvatarAct act);
/* y += t * gate * row_scale. y, t [M, N], t contiguous; gate [N] and row_scale [M] optional. */
cudaError_t avatar_kernel_gated_add (cudaStream_t stream, AvatarTensor y, AvatarTensor t,
    const float *gate, const float *row_scale);
/* bias = gate * b, in b's dtype, and scale = gate * w_scale, for a product that applies its gate in
 * the epilogue. All are [@n]; b and w_scale are optional. */
cudaError_t avatar_kernel_gate_vectors (cudaStream_t stream, void *bias, float *scale,
    const float *gate, AvatarTensor b, const float *w_scale, gint64 n);
cudaError_t
avatar_kernel_axpby (cudaStream_t stream, AvatarTensor y, double a, AvatarTensor x, double b);
/* x = factor * x, rounded to @dtype. x float32, contiguous. */
cudaError_t
avatar_kernel_scale_round (cudaStream_t stream, AvatarTensor x, double factor, AvatarDType dtype);
/* flag = 1 if a value of x is NaN or infinite. x float32, contiguous. */
cudaError_t avatar_kernel_find_non_finite (cudaStream_t stream, AvatarTensor flag, AvatarTensor x);
cudaError_t avatar_kernel_copy (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
cudaError_t
avatar_kernel_mean_rows (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
cudaError_t avatar_kernel_power (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
/* layout.cu */
cudaError_t avatar_kernel_patchify (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const guint patch[3], AvatarPatchDirection direction);
cudaError_t avatar_kernel_unfold (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    gint64 kernel, gint64 step, gint64 pad);
/* quantise.cu; engine/device/backend.h describes these functions. */
cudaError_t avatar_kernel_quantise (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
cudaError_t avatar_kernel_expand (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
cudaError_t avatar_kernel_quantise_all (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
/* y = x * scale[0]. x [M, heads, d] e4m3, contiguous; y [M, heads, d], contiguous within a row. */
cudaError_t
avatar_kernel_expand_all (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const float *scale);
/* out[i * stride] = values[i] for i < @n; @values is in host memory. */
cudaError_t
avatar_kernel_scalars (cudaStream_t stream, float *out, int stride, const float *values, int n);
/* attention.cu */
cudaError_t avatar_kernel_attention (cudaStream_t stream, const AvatarAttention *attention);
/* y = softmax (x * scale) over each row. x [M, N] float32, y [M, N] F16. */
cudaError_t
avatar_kernel_softmax (cudaStream_t stream, AvatarTensor y, AvatarTensor x, double scale);
cudaError_t avatar_kernel_frame_attention (cudaStream_t stream, AvatarTensor o, AvatarTensor q,
    AvatarTensor k, AvatarTensor v, double scale);
/* sparse.cu, sparse-hopper.cu */
/* Kernels of sparse attention. */
typedef enum
{
  AVATAR_SPARSE_MMA,   /* any device of compute capability 8.0 or later */
  AVATAR_SPARSE_WGMMA, /* 9.0 */
} AvatarSparseKernel;

/* Returns %TRUE if the kernels for compute capability 9.0 were built: -Dcuda-arch must name 90a. */
gboolean avatar_kernel_has_sparse_hopper (void);
cudaError_t avatar_kernel_key_blocks (cudaStream_t stream, const AvatarKeyBlocks *blocks,
    AvatarTensor k, AvatarTensor v);
/* @ws: avatar_cuda_sparse_workspace() bytes; starts with the words of exact blocks */
cudaError_t avatar_kernel_sparse_attention (cudaStream_t stream, const AvatarSparseAttention *a,
    void *ws, AvatarSparseKernel kernel);
/* The last part of the same: attention with the words of exact blocks @bits, on 9.0. */
cudaError_t avatar_kernel_sparse_hopper (cudaStream_t stream, const AvatarSparseAttention *a,
    const guint64 *bits);
/* conv.cu */
/* y [n, H + 2, W + 2, C rounded up to 8] = norm (x [n, H, W, C]), with replicated borders. If x is
 * a single frame [1, H, W, C], it is written n times. @norm may be NULL. */
cudaError_t
avatar_kernel_fill (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);
cudaError_t avatar_kernel_apply_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const AvatarNorm *norm);

/**
 * AvatarConvEpilogue:
 * @raw: cuDNN's output, F16 [frames, H, W, row]; if the convolution upsamples,
 *   [frames, H / 2 + 1, W / 2 + 1, row], where a row has the channels of all phases; if @narrow,
 *   [frames + 2, H + 2, W + 2, row], where a row is [taps, out]
 * @bias: (nullable): float32 [channels]
 * @partials: (nullable): the partial sums of the output, [blocks, 2, channels]: sums and sums of
 *   squares
 * @row: the values per pixel of @raw
 * @phase: the distance between the channels of two phases in a row
 * @up_t: the upsampling factor in time
 * @up_s: the upsampling factor in height and width
 * @first: the phases in time to skip at the start, 0 or 1
 * @narrow: 1 if the contributions of the taps must be added up, else 0
 *
 * The parameters of the epilogue of a convolution.
 */
typedef struct
{
  const void *raw;
  const float *bias;
  float *partials;
  gint64 row, phase;
  gint32 up_t, up_s, first, narrow;
} AvatarConvEpilogue;

/* y = raw + bias + residual. @residual is optional. */
cudaError_t avatar_kernel_conv_epilogue (cudaStream_t stream, AvatarTensor y,
    const AvatarConvEpilogue *e, AvatarTensor residual);
/* Writes the partial sums [blocks, 2, C] of x [.., C]. */
cudaError_t avatar_kernel_channel_sums (cudaStream_t stream, float *partials, AvatarTensor x);
/* Adds the @n partial sums to @sums, in order. */
cudaError_t avatar_kernel_sum_partials (cudaStream_t stream, AvatarChannelSums *sums,
    const float *partials, gint64 n);
cudaError_t avatar_kernel_group_norm (cudaStream_t stream, AvatarNorm *norm,
    const AvatarChannelSums *sums, AvatarTensor gamma, AvatarTensor beta, guint groups, double eps);
/* pixels.cu */
cudaError_t
avatar_kernel_blend (cudaStream_t stream, AvatarTensor y, AvatarTensor before, guint dim);
cudaError_t avatar_kernel_to_bytes (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const AvatarPixels *pixels, const AvatarPixelMatrix *matrix, AvatarTensor bad);

G_END_DECLS
