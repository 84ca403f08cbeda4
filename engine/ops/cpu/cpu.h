/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions of the CPU back-end; contracts are in ops.h. */
#pragma once

#include "engine/ops/backend.h"
#include "engine/ops/cpu/simd.h"

G_BEGIN_DECLS

/* c [m, n] = a [m, k] b + beta c, row-major; b is [k, n], or [n, k] if @transposed. Uses all
 * cores, or one when called inside a parallel region. */
void avatar_cpu_gemm (gboolean transposed, gint64 m, gint64 n, gint64 k, const float *a, gint64 lda,
    const float *b, gint64 ldb, float beta, float *c, gint64 ldc);
void avatar_cpu_act_row (float *x, gint64 n, AvatarAct act);

void
avatar_cpu_linear (AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b, AvatarAct act);
gsize avatar_cpu_linear_add_workspace (gint64 m, gint64 n);
void avatar_cpu_linear_add (AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
    AvatarTensor gate, AvatarTensor row_scale, void *ws);
void avatar_cpu_layer_norm (AvatarTensor y, AvatarTensor x, AvatarTensor scale, AvatarTensor shift,
    gboolean plus_one, double eps);
void avatar_cpu_rms_norm_rope (AvatarTensor x, AvatarTensor w, AvatarTensor cos, AvatarTensor sin,
    double eps);
gsize avatar_cpu_attention_workspace (gint64 lq, gint64 lk, gint64 heads, gint64 d);
void
avatar_cpu_attention (AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v, double scale,
    gint64 causal_block, gint64 q_start, AvatarTensor valid, void *ws, const gint *cancelled);
void avatar_cpu_frame_attention (AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v,
    double scale);
void avatar_cpu_act (AvatarTensor x, AvatarAct act);
void avatar_cpu_axpby (AvatarTensor y, double a, AvatarTensor x, double b);
void avatar_cpu_copy (AvatarTensor y, AvatarTensor x);
void avatar_cpu_mean_rows (AvatarTensor y, AvatarTensor x, AvatarTensor weight);
void avatar_cpu_patchify (AvatarTensor y, AvatarTensor x, const guint patch[3], gboolean back);
void avatar_cpu_unfold (AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride, gint64 pad);
void avatar_cpu_power (AvatarTensor y, AvatarTensor x);

G_END_DECLS
