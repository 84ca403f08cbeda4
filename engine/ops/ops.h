/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The only vocabulary that models may use. An operation checks its operands, counts itself, takes
 * its workspace from the arena and calls the back-end; in a plan it stops before the call.
 *
 * The first failure (cancelled, device) is kept in the context; operations after it do nothing.
 * A stage looks once, at the end, with avatar_ops_check(). "Optional" operands are
 * AVATAR_NO_TENSOR when absent. A last stride of 1 is wanted unless said otherwise.
 *
 * Dtypes: activations and matrices are of the context's dtype (float32 on the CPU, bfloat16 on a
 * GPU); vectors (biases, norms, gates) and outputs may be float32 as well, and "float32" below
 * means just that. Matrix operands of avatar_op_linear() may be 8-bit: see avatar_ops_operand().
 * Sums are in float32 everywhere. Tensors lie in the device's memory: only upload and download
 * reach the host's. */
#pragma once

#include "engine/base/activation.h"
#include "engine/base/tensor.h"
#include "engine/device/ledger.h"

G_BEGIN_DECLS

typedef struct _AvatarBackend AvatarBackend;
typedef struct _AvatarQueue AvatarQueue; /* the back-end's: an order of work on the device */

typedef struct
{
  AvatarDevice *device;
  const AvatarBackend *backend;
  AvatarQueue *queue; /* NULL in a plan and on the CPU */
  AvatarArena *arena;
  AvatarDType dtype;   /* of activations and matrices */
  gint64 row_chunk;    /* rows at a time; does not depend on any budget */
  gboolean dry_run;    /* a plan: count, do not compute */
  gint cancelled;      /* atomic */
  double flops, bytes; /* counted since the context was made */
  GError *error;       /* the first failure */
} AvatarOps;

/* Takes over @arena, also when it fails. @arena dry = a plan, which never fails. */
AvatarOps *avatar_ops_new (AvatarDevice *device, AvatarArena *arena, GError **error);
void avatar_ops_free (AvatarOps *ops);
void avatar_ops_cancel (AvatarOps *ops); /* from any thread */
void avatar_ops_uncancel (AvatarOps *ops);
/* TRUE = an operation may compute; FALSE = a plan, cancelled, or failed before. */
gboolean avatar_ops_running (AvatarOps *ops);
/* Hands over the first failure and forgets it. Does not wait for the device. */
gboolean avatar_ops_check (AvatarOps *ops, GError **error);
/* Waits until the device has done all that it was given; @ops may be %NULL. */
void avatar_ops_finish (AvatarOps *ops);
/* Called every few milliseconds of work: keeps the host from running so far ahead of the device
 * that a cancel would be answered late. */
void avatar_ops_throttle (AvatarOps *ops);
void avatar_ops_count (AvatarOps *ops, double flops, double bytes);

/* A contiguous tensor of the context's dtype from the arena; the shape follows as @rank gint64
 * arguments. */
AvatarTensor avatar_ops_alloc (AvatarOps *ops, guint rank, ...);
AvatarTensor avatar_ops_alloc_as (AvatarOps *ops, AvatarDType dtype, guint rank, ...);
/* @x [M, K] in the dtype that a linear layer with the weight @w computes in: @x itself, or, if @w
 * is 8-bit, a copy from the arena that is quantised row by row. */
AvatarTensor avatar_ops_operand (AvatarOps *ops, AvatarTensor x, AvatarTensor w);
/* Room for such a tensor [@m, @k]: what avatar_op_layer_norm() may write without a detour. */
AvatarTensor avatar_ops_alloc_operand (AvatarOps *ops, gint64 m, gint64 k, AvatarTensor w);
#define avatar_ops_mark(ops) avatar_arena_mark ((ops)->arena)
#define avatar_ops_release(ops, mark) avatar_arena_release ((ops)->arena, (mark))

/* y = the host's float32 values, converted; y contiguous. @host is free again on return, and not
 * read in a plan. */
void avatar_op_upload (AvatarOps *ops, AvatarTensor y, const float *host);
/* y contiguous, of any dtype: avatar_tensor_bytes (y) bytes as they are. */
void avatar_op_upload_raw (AvatarOps *ops, AvatarTensor y, const void *host);
/* y = 0 in all its bits; y contiguous. */
void avatar_op_clear (AvatarOps *ops, AvatarTensor y);
/* The other way; waits until x is there. x contiguous. */
void avatar_op_download (AvatarOps *ops, float *host, AvatarTensor x);
void avatar_op_download_raw (AvatarOps *ops, void *host, AvatarTensor x);

/* y = act (x w^T + b). x [M, K], w [N, K], b [N] optional, y [M, N]. */
void avatar_op_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act);
/* y += (x w^T + b) * gate * row_scale. gate [N] and row_scale [M] float32, optional. */
void avatar_op_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale);
/* y = (x - mean) / sqrt (var + eps) * scale + shift over the last dimension of [M, N]; with
 * @plus_one the factor is 1 + scale (adaptive modulation). scale, shift [N] optional. y may be of
 * avatar_ops_alloc_operand(). */
void avatar_op_layer_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, gboolean plus_one, double eps);
/* y = x / rms (x) * w, then rotary embedding of adjacent pairs, for x [L, heads, d].
 * w [d]; cos, sin [L, d / 2] float32, optional. y is x, or of avatar_ops_alloc_normed(). */
void avatar_op_rms_norm_rope (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps);
/* y = x / rms (x) * w over the last dimension of [M, N]; w [N]. */
void
avatar_op_rms_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps);
/* In place: rotary embedding of the pairs (i, i + d / 2), for x [L, heads, d]; cos, sin [L, d / 2]
 * float32. */
void avatar_op_rope_half (AvatarOps *ops, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
/* May q, k and v of attention be 8-bit, for heads of @d? */
gboolean avatar_ops_supports_8bit_attention (AvatarOps *ops, gint64 d);
/* x [M, N] in e4m3 with one factor for all, from the arena. */
AvatarTensor avatar_ops_quantise_all (AvatarOps *ops, AvatarTensor x);
/* Room for [@m, @n] in e4m3 with one factor for all that does for whatever
 * avatar_op_rms_norm_rope() makes with the weights w, or w2 (optional). */
AvatarTensor
avatar_ops_alloc_normed (AvatarOps *ops, gint64 m, gint64 n, AvatarTensor w, AvatarTensor w2);
/* o = softmax (q k^T * scale) v, for every head. q, o [Lq, heads, d], k, v [Lk, heads, d]; q, k, v
 * of the context's dtype or of avatar_ops_quantise_all(). Heads of k and v may lie at a stride of 0:
 * one for all queries' heads (grouped keys and values).
 * @causal_block: 0 = every query sees every key; else query i sees the keys of blocks
 *   0 .. (i + q_start) / causal_block of causal_block keys each, as far as there are such.
 * @valid: optional uint8 [Lk], for Lq = Lk only: (valid[q] and valid[k]) or k = 0. */
void avatar_op_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid);
/* One head, few keys, for every frame: q, o [T, S, d], k, v [T, n, d]. */
void avatar_op_frame_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale);
/* In place. */
void avatar_op_act (AvatarOps *ops, AvatarTensor x, AvatarAct act);
/* y = silu (y) * x, both [M, N]. */
void avatar_op_silu_product (AvatarOps *ops, AvatarTensor y, AvatarTensor x);
/* y = a * x + b * y, same shape [M, N] (or any contiguous shape). */
void avatar_op_axpby (AvatarOps *ops, AvatarTensor y, double a, AvatarTensor x, double b);
/* Converts, if the dtypes (float32 or the context's) differ. */
void avatar_op_copy (AvatarOps *ops, AvatarTensor y, AvatarTensor x);
/* In place, along dimension @dim < 3 of y [.., .., .., C], n entries there: from what @before
 * (same shape) has to y itself, y[k] = before[k] (1 - k / n) + y[k] k / n. */
void avatar_op_blend (AvatarOps *ops, AvatarTensor y, AvatarTensor before, guint dim);
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
