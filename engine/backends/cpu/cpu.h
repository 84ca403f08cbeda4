/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions of the CPU back-end. engine/device/backend.h and engine/ops/ops.h describe them. */
#pragma once

#include "engine/device/backend.h"
#include "engine/ops/conv3d.h"
#include "engine/ops/pixels.h"
#include "engine/backends/cpu/simd.h"

G_BEGIN_DECLS

extern const AvatarBackend avatar_backend_cpu;

/* c [m, n] = a [m, k] b + beta c, row-major; b is [k, n], or [n, k] if @transposed. Uses all
 * cores; a single one if called inside a parallel region. */
void avatar_cpu_gemm (gboolean transposed, gint64 m, gint64 n, gint64 k, const float *a, gint64 lda,
    const float *b, gint64 ldb, float beta, float *c, gint64 ldc);
/* x [n] = act (x), in place, on the calling thread. */
void avatar_cpu_act_row (float *x, gint64 n, AvatarAct act);

void avatar_cpu_linear (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act, void *ws);
gsize avatar_cpu_linear_add_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
    AvatarTensor w);
void avatar_cpu_linear_add (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws);
void avatar_cpu_layer_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, gboolean plus_one, double eps);
void avatar_cpu_rms_norm_rope (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps);
void avatar_cpu_rms_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    double eps);
void avatar_cpu_rope_half (AvatarQueue *queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
gsize avatar_cpu_attention_workspace (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
    gint64 causal_block, AvatarTensor valid);
void avatar_cpu_attention (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid, void *ws,
    const gint *cancelled);
void avatar_cpu_frame_attention (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale);
void avatar_cpu_act (AvatarQueue *queue, AvatarTensor x, AvatarAct act);
void avatar_cpu_silu_product (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
void avatar_cpu_axpby (AvatarQueue *queue, AvatarTensor y, double a, AvatarTensor x, double b);
void avatar_cpu_copy (AvatarQueue *queue, AvatarTensor y, AvatarTensor x);
void avatar_cpu_mean_rows (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
void avatar_cpu_patchify (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
    gboolean back);
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
