/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The back-end's own kernels, launched on a stream. Operands as in engine/ops/ops.h; each returns
 * what the launch said. */
#pragma once

#include "engine/ops/ops.h"

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
cudaError_t avatar_kernel_frame_attention (cudaStream_t stream, AvatarTensor o, AvatarTensor q,
    AvatarTensor k, AvatarTensor v, double scale);

G_END_DECLS
