/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only vocabulary that models may use. An operation checks its operands, counts itself, takes
 * its workspace from the arena and calls the back-end; in a plan it stops before the call.
 *
 * The first failure (cancelled, device) is kept in the context; operations after it do nothing.
 * A stage looks once, at the end, with avatar_ops_check(). All tensors are float32 with a last
 * stride of 1 unless said otherwise. "Optional" operands are AVATAR_NO_TENSOR when absent. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/memory/ledger.h"

G_BEGIN_DECLS

typedef struct _AvatarBackend AvatarBackend;

typedef struct
{
  AvatarDevice *device;
  const AvatarBackend *backend;
  AvatarArena *arena;
  gboolean dry;        /* a plan: count, do not compute */
  gint cancelled;      /* atomic */
  double flops, bytes; /* counted since the context was made */
  GError *error;       /* the first failure */
} AvatarOps;

typedef enum
{
  AVATAR_ACT_NONE,
  AVATAR_ACT_SILU,
  AVATAR_ACT_RELU,
  AVATAR_ACT_GELU, /* erf */
  AVATAR_ACT_GELU_TANH,
} AvatarAct;

/* Takes over @arena. @arena dry = a plan. */
AvatarOps *avatar_ops_new (AvatarDevice *device, AvatarArena *arena);
void avatar_ops_free (AvatarOps *ops);
void avatar_ops_cancel (AvatarOps *ops); /* from any thread */
void avatar_ops_uncancel (AvatarOps *ops);
/* TRUE = an operation may compute; FALSE = a plan, cancelled, or failed before. */
gboolean avatar_ops_running (AvatarOps *ops);
/* Hands over the first failure and forgets it. */
gboolean avatar_ops_check (AvatarOps *ops, GError **error);
void avatar_ops_count (AvatarOps *ops, double flops, double bytes);

/* A contiguous float32 tensor from the arena; the shape follows as @rank gint64 arguments. */
AvatarTensor avatar_ops_alloc (AvatarOps *ops, guint rank, ...);
#define avatar_ops_mark(ops) avatar_arena_mark ((ops)->arena)
#define avatar_ops_release(ops, mark) avatar_arena_release ((ops)->arena, (mark))

/* y = act (x w^T + b). x [M, K], w [N, K], b [N] optional, y [M, N]. */
void avatar_op_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act);
/* y += (x w^T + b) * gate * row_scale. gate [N] and row_scale [M] optional. */
void avatar_op_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale);
/* y = (x - mean) / sqrt (var + eps) * scale + shift over the last dimension of [M, N]; with
 * @plus_one the factor is 1 + scale (adaptive modulation). scale, shift [N] optional. */
void avatar_op_layer_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, gboolean plus_one, double eps);
/* In place on x [L, heads, d]: x / rms (x) * w, then rotary embedding of adjacent pairs.
 * w [d]; cos, sin [L, d / 2] optional. */
void avatar_op_rms_norm_rope (AvatarOps *ops, AvatarTensor x, AvatarTensor w, AvatarTensor cos,
    AvatarTensor sin, double eps);
/* o = softmax (q k^T * scale) v, for every head. q, o [Lq, heads, d], k, v [Lk, heads, d].
 * @causal_block: 0 = every query sees every key; else query i sees the keys of blocks
 *   0 .. (i + q_start) / causal_block of causal_block keys each.
 * @valid: optional uint8 [Lk], for Lq = Lk only: (valid[q] and valid[k]) or k = 0. */
void avatar_op_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid);
/* One head, few keys, for every frame: q, o [T, S, d], k, v [T, n, d]. */
void avatar_op_frame_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale);
/* In place. */
void avatar_op_act (AvatarOps *ops, AvatarTensor x, AvatarAct act);
/* y = a * x + b * y, same shape [M, N] (or any contiguous shape). */
void avatar_op_axpby (AvatarOps *ops, AvatarTensor y, double a, AvatarTensor x, double b);
void avatar_op_copy (AvatarOps *ops, AvatarTensor y, AvatarTensor x);
/* y [N] = sum of x [M, N] over rows weighted by weight [M] (optional: all 1) / sum of weights. */
void avatar_op_mean_rows (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
/* y [(T/pt)(H/ph)(W/pw), C pt ph pw] = patches of x [C, T, H, W], as a convolution of stride =
 * kernel sees them; @back: the other way, y [C, T, H, W] from x. */
void avatar_op_patchify (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const guint patch[3],
    gboolean back);
/* y [L', C kernel] of x [L, C]: y[i, c * kernel + j] = x[i * stride + j - pad, c], zero outside;
 * a 1-D convolution is then avatar_op_linear() with its weight [out, C, kernel] as a matrix. */
void avatar_op_unfold (AvatarOps *ops, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
    gint64 pad);
/* Mel front end: y [M, N] = re^2 + im^2 of x [M, 2 N] = [re | im]. */
void avatar_op_power (AvatarOps *ops, AvatarTensor y, AvatarTensor x);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarOps, avatar_ops_free)

G_END_DECLS
