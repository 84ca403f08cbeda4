/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end's own kernels, launched on a stream. Operands as in engine/ops/ops.h; each returns
 * what the launch said. */
#pragma once

#include "engine/ops/conv3d.h"
#include "engine/ops/pixels.h"

#include <cuda_runtime_api.h>

G_BEGIN_DECLS

/* norm.cu */
cudaError_t avatar_kernel_layer_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    AvatarTensor scale, AvatarTensor shift, gboolean plus_one, double eps);
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
/* y = act (y * row_scale * column_scale + b) in place; scales and b optional. */
cudaError_t avatar_kernel_epilogue (cudaStream_t stream, AvatarTensor y, const float *row_scale,
    const float *column_scale, AvatarTensor b, AvatarAct act);
/* y += t * gate * row_scale. t contiguous; gate [N] and row_scale [M] optional. */
cudaError_t avatar_kernel_gated_add (cudaStream_t stream, AvatarTensor y, AvatarTensor t,
    const float *gate, const float *row_scale);
/* What a product with its gate in it needs, vectors [N]: bias = gate * b (of b's dtype; b
 * optional), and scale = gate * w_scale (optional). */
cudaError_t avatar_kernel_gate_vectors (cudaStream_t stream, void *bias, float *scale,
    const float *gate, AvatarTensor b, const float *w_scale, gint64 n);
cudaError_t
avatar_kernel_axpby (cudaStream_t stream, AvatarTensor y, double a, AvatarTensor x, double b);
cudaError_t avatar_kernel_copy (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
cudaError_t
avatar_kernel_mean_rows (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
cudaError_t avatar_kernel_power (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
/* layout.cu */
cudaError_t avatar_kernel_patchify (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const guint patch[3], gboolean back);
cudaError_t avatar_kernel_unfold (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    gint64 kernel, gint64 step, gint64 pad);
/* quantise.cu */
cudaError_t avatar_kernel_quantise (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
cudaError_t avatar_kernel_expand (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
/* y.scale: two floats, of which the first becomes the factor of all of y. */
cudaError_t avatar_kernel_quantise_all (cudaStream_t stream, AvatarTensor y, AvatarTensor x);
/* y = x * scale; y [M, heads, d], whose heads lie together; x likewise, in e4m3, contiguous. */
cudaError_t
avatar_kernel_expand_all (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const float *scale);
/* out[i * stride] = values[i] */
cudaError_t
avatar_kernel_scalars (cudaStream_t stream, float *out, int stride, const float *values, int n);
/* attention.cu */
cudaError_t
avatar_kernel_attention (cudaStream_t stream, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid);
/* y = softmax (x * scale) over rows; x float32, y F16 */
cudaError_t
avatar_kernel_softmax (cudaStream_t stream, AvatarTensor y, AvatarTensor x, double scale);
cudaError_t avatar_kernel_frame_attention (cudaStream_t stream, AvatarTensor o, AvatarTensor q,
    AvatarTensor k, AvatarTensor v, double scale);
/* conv.cu */
/* y [n, H + 2, W + 2, C rounded up to 8] = norm (x [n, H, W, C]), borders repeated; or of one frame
 * x, n times. */
cudaError_t
avatar_kernel_fill (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);
cudaError_t avatar_kernel_apply_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const AvatarNorm *norm);

/**
 * AvatarConvEpilogue: from what cuDNN has made to an output.
 * @raw: [frames, H, W, row] F16; upsampled: [frames, H / 2 + 1, W / 2 + 1, row], a phase's channels
 *   @phase values behind those of the phase before
 * @narrow: raw is [frames + 2, H + 2, W + 2, row], of each tap [out] values, which are to be added
 * @first: phases of time to be passed over, 0 or 1
 * @partials: (nullable): [blocks, 2, channels], sums and sums of squares
 */
typedef struct
{
  const void *raw;
  const float *bias;
  float *partials;
  gint64 row, phase;
  gint32 up_t, up_s, first, narrow;
} AvatarConvEpilogue;

/* y = raw + bias + residual (optional) */
cudaError_t avatar_kernel_conv_epilogue (cudaStream_t stream, AvatarTensor y,
    const AvatarConvEpilogue *e, AvatarTensor residual);
cudaError_t avatar_kernel_channel_sums (cudaStream_t stream, float *partials, AvatarTensor x);
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
