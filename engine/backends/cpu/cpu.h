/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions of the CPU back-end. engine/device/backend.h and engine/ops/ops.h describe them. */
#pragma once

#include "engine/device/backend.h"
#include "engine/ops/conv3d.h"
#include "engine/ops/pixels.h"
#include "engine/backends/cpu/simd.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_cpu;

/**
 * AvatarCpuGemm:
 * @m: the rows of @a and @c
 * @n: the columns of @c
 * @k: the columns of @a
 * @a: [m, k]
 * @b: [k, n], or [n, k] if @b_transposed
 * @c: [m, n]
 * @lda: the stride of the rows of @a
 * @ldb: the stride of the rows of @b
 * @ldc: the stride of the rows of @c
 * @b_transposed: %TRUE if @b is the transposed matrix
 * @beta: the factor of @c
 *
 * The matrix product c = a b + beta c of row-major float32 matrices.
 */
typedef struct
{
  gint64 m, n, k;
  const float *a, *b;
  float *c;
  gint64 lda, ldb, ldc;
  gboolean b_transposed;
  float beta;
} AvatarCpuGemm;

/* Computes a matrix product with all cores; with a single one if called inside a parallel region.
 * Aborts the process on failure. */
void avatar_cpu_gemm (const AvatarCpuGemm *gemm);
/* x [n] = act (x), in place, on the calling thread. */
void avatar_cpu_act_row (float *x, gint64 n, AvatarAct act);

void avatar_cpu_linear (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act, void *ws);
gsize avatar_cpu_linear_add_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
    AvatarTensor w);
void avatar_cpu_linear_add (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws);
void avatar_cpu_layer_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, AvatarNormScale factor, double eps);
void avatar_cpu_rms_norm_rope (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps);
void avatar_cpu_rms_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    double eps);
void avatar_cpu_rope_half (AvatarQueue *queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
gsize avatar_cpu_attention_workspace (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
    gint64 causal_block, AvatarTensor valid);
void avatar_cpu_attention (AvatarQueue *queue, const AvatarAttention *attention, void *ws,
    const gint *cancelled);
gsize avatar_cpu_sparse_attention_workspace (AvatarBackendDevice *device,
    const AvatarSparseAttention *attention);
gboolean avatar_cpu_supports_sparse_attention (AvatarBackendDevice *device, gint64 d);
void avatar_cpu_key_blocks (AvatarQueue *queue, const AvatarKeyBlocks *blocks, AvatarTensor k,
    AvatarTensor v);
void avatar_cpu_sparse_attention (AvatarQueue *queue, const AvatarSparseAttention *attention,
    void *ws, const gint *cancelled);
void avatar_cpu_frame_attention (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale);
void avatar_cpu_act (AvatarQueue *queue, AvatarTensor x, AvatarAct act);
void avatar_cpu_silu_product (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
void avatar_cpu_axpby (AvatarQueue *queue, AvatarTensor y, double a, AvatarTensor x, double b);
void avatar_cpu_scale_round (AvatarQueue *queue, AvatarTensor x, double factor, AvatarDType dtype);
void avatar_cpu_find_non_finite (AvatarQueue *queue, AvatarTensor flag, AvatarTensor x);
void avatar_cpu_copy (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
void avatar_cpu_mean_rows (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
void avatar_cpu_patchify (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
    AvatarPatchDirection direction);
void avatar_cpu_unfold (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, gint64 kernel,
    gint64 stride, gint64 pad);
void avatar_cpu_power (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
void avatar_cpu_blend (AvatarQueue *queue, AvatarTensor y, AvatarTensor before, guint dim);

gsize avatar_cpu_conv3d_bytes (const AvatarConv3d *conv);
void avatar_cpu_conv3d_pack (const AvatarConv3d *conv, void *packed, const float *weight,
    const float *bias);
void avatar_cpu_conv3d_sizes (AvatarConvStream *stream, gsize sizes[3]);
void avatar_cpu_conv3d_begin (AvatarQueue *queue, AvatarConvStream *stream);
void avatar_cpu_conv3d_seek (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor context);
void avatar_cpu_conv3d_group (AvatarQueue *queue, AvatarConvStream *stream, AvatarTensor y,
    AvatarTensor x, AvatarTensor residual);
void avatar_cpu_conv3d_end (AvatarQueue *queue, AvatarConvStream *stream);
gsize avatar_cpu_channel_sums_workspace (AvatarTensor x);
void
avatar_cpu_channel_sums (AvatarQueue *queue, AvatarChannelSums *sums, AvatarTensor x, void *ws);
void avatar_cpu_group_norm (AvatarQueue *queue, AvatarNorm *norm, const AvatarChannelSums *sums,
    AvatarTensor gamma, AvatarTensor beta, guint groups, double eps);
void
avatar_cpu_apply_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm);
void avatar_cpu_to_bytes (AvatarQueue *queue, AvatarTensor y, AvatarTensor x,
    const AvatarPixels *pixels, const AvatarPixelMatrix *matrix, AvatarTensor bad);

G_END_DECLS
