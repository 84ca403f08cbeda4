/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations that models are written in. An operation asserts the shapes of its operands,
 * counts its work, takes its workspace from the arena and calls the back-end. In a dry run it
 * returns before it calls the back-end, so a dry run measures exactly the memory of a run.
 *
 * Errors: the context keeps the first failure (cancellation or a device error), and later
 * operations do nothing. A stage checks once, after its last operation, with avatar_ops_check().
 * Wrong shapes are programming errors and abort.
 *
 * Threads: a context is used by one thread at a time; avatar_ops_cancel() may be called from any.
 * On a GPU operations are asynchronous: they are enqueued and run in order.
 *
 * Operands: tensors are in device memory, except where "host" is mentioned. "Optional" operands may
 * be AVATAR_NO_TENSOR. The last dimension must have a stride of 1 unless stated otherwise.
 *
 * Dtypes: activations and matrices have the context's dtype (float32 on the CPU, bfloat16 on a
 * GPU). Vectors (biases, norm weights, gates) and outputs may be float32 instead. Operands that are
 * called float32 below must be float32. Matrix operands of avatar_op_linear() may be 8-bit; see
 * avatar_ops_operand(). Sums are accumulated in float32. */
#pragma once

#include "engine/base/operation-types.h"
#include "engine/base/tensor.h"
#include "engine/device/ledger.h"

G_BEGIN_DECLS

typedef struct _AvatarBackend AvatarBackend;
typedef struct _AvatarQueue AvatarQueue; /* a back-end's queue of operations on the device */

/**
 * AvatarOps:
 * @device: the device that computes
 * @backend: its back-end
 * @queue: (nullable): the queue; %NULL in a dry run and on the CPU
 * @arena: (owned): the memory of activations and workspace
 * @dtype: the dtype of activations and matrices
 * @row_chunk: the rows that an operation should process at a time; independent of any budget
 * @dry_run: %TRUE if operations are counted and not computed
 * @cancelled: (atomic): set by avatar_ops_cancel()
 * @flops: floating-point operations counted since the context was made
 * @bytes: bytes of memory traffic counted likewise
 * @error: (nullable): the first failure
 *
 * The context of a stage's operations.
 */
typedef struct
{
  AvatarDevice *device;
  const AvatarBackend *backend;
  AvatarQueue *queue;
  AvatarArena *arena;
  AvatarDType dtype;
  gint64 row_chunk;
  gboolean dry_run;
  gint cancelled;
  double flops, bytes;
  GError *error;
} AvatarOps;

/* Returns a context on @device, or %NULL with @error set. Takes ownership of @arena, even on
 * failure. With the arena of a dry run the context is a dry run and creation cannot fail. */
AvatarOps *avatar_ops_new (AvatarDevice *device, AvatarArena *arena, GError **error);
/* Waits for the enqueued operations and frees the context and its arena. */
void avatar_ops_free (AvatarOps *ops);
/* Cancels the context: a running operation may stop early, later ones do nothing, and
 * avatar_ops_check() returns AVATAR_ERROR_CANCELLED. Thread-safe. */
void avatar_ops_cancel (AvatarOps *ops);
/* Clears the cancellation. */
void avatar_ops_uncancel (AvatarOps *ops);
/* Returns %TRUE if operations compute; %FALSE in a dry run, if cancelled and after a failure. */
gboolean avatar_ops_running (AvatarOps *ops);
/* Returns %FALSE with the first failure, which is then cleared. Does not wait for the device. */
gboolean avatar_ops_check (AvatarOps *ops, GError **error);
/* Waits for the enqueued operations. @ops may be %NULL. */
void avatar_ops_finish (AvatarOps *ops);
/* Blocks while too much enqueued work is pending, so that a cancellation takes effect soon. To be
 * called after every few milliseconds of work. */
void avatar_ops_throttle (AvatarOps *ops);
/* Adds to the counts of @ops. */
void avatar_ops_count (AvatarOps *ops, double flops, double bytes);

/* Allocates a contiguous tensor of the context's dtype from the arena. The shape follows as @rank
 * arguments of type gint64. */
AvatarTensor avatar_ops_alloc (AvatarOps *ops, guint rank, ...);
/* Allocates a contiguous tensor of another dtype. */
AvatarTensor avatar_ops_alloc_as (AvatarOps *ops, AvatarDType dtype, guint rank, ...);
/* Returns @x [M, K] in the dtype that a linear layer with the weight @w computes in: @x itself, or
 * if @w is 8-bit, a copy from the arena that is quantised with one factor per row. */
AvatarTensor avatar_ops_operand (AvatarOps *ops, AvatarTensor x, AvatarTensor w);
/* Allocates such an operand [@m, @k], for avatar_op_layer_norm() to write to. */
AvatarTensor avatar_ops_alloc_operand (AvatarOps *ops, gint64 m, gint64 k, AvatarTensor w);
#define avatar_ops_mark(ops) avatar_arena_mark ((ops)->arena)
#define avatar_ops_release(ops, mark) avatar_arena_release ((ops)->arena, (mark))

/* Converts the float32 values @host to y's dtype and copies them to y, which is contiguous. @host
 * may be reused on return; it is not read in a dry run. */
void avatar_op_upload (AvatarOps *ops, AvatarTensor y, const float *host);
/* Copies avatar_tensor_bytes (y) bytes of @host to y, contiguous and of any dtype. */
void avatar_op_upload_raw (AvatarOps *ops, AvatarTensor y, const void *host);
/* Sets all bytes of y, which is contiguous, to 0. */
void avatar_op_clear (AvatarOps *ops, AvatarTensor y);
/* Copies x, which is contiguous, to @host as float32. Blocks until the values are there. */
void avatar_op_download (AvatarOps *ops, float *host, AvatarTensor x);
/* Copies the bytes of x, contiguous and of any dtype, to @host. Blocks likewise. */
void avatar_op_download_raw (AvatarOps *ops, void *host, AvatarTensor x);

/* y = act (x w^T + b). x [M, K], w [N, K], b [N] optional, y [M, N]. */
void avatar_op_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act);
/* y += (x w^T + b) * gate * row_scale. gate [N] and row_scale [M] float32, optional; the others as
 * in avatar_op_linear(). */
void avatar_op_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale);
/* y = (x - mean) / sqrt (var + eps) * factor + shift over the last dimension of [M, N], where
 * @factor selects scale or 1 + scale. scale, shift [N] optional. y may be an operand of
 * avatar_ops_alloc_operand(). */
void avatar_op_layer_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, AvatarNormScale factor, double eps);
/* y = x / rms (x) * w per head, then rotary embedding of adjacent pairs. x, y [L, heads, d]; w [d];
 * cos, sin [L, d / 2] float32, optional. y is x itself or a tensor of avatar_ops_alloc_normed(). */
void avatar_op_rms_norm_rope (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps);
/* y = x / rms (x) * w over the last dimension of [M, N]; w [N]. */
void
avatar_op_rms_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps);
/* Rotary embedding of the pairs (i, i + d / 2), in place. x [L, heads, d]; cos, sin [L, d / 2]
 * float32. */
void avatar_op_rope_half (AvatarOps *ops, AvatarTensor x, AvatarTensor cos, AvatarTensor sin);
/* Returns %TRUE if q, k and v of avatar_op_attention() may be 8-bit, for heads of width @d. */
gboolean avatar_ops_supports_8bit_attention (AvatarOps *ops, gint64 d);
/* Returns a copy of x [M, N] in e4m3, with one factor for all values, from the arena. */
AvatarTensor avatar_ops_quantise_all (AvatarOps *ops, AvatarTensor x);
/* Allocates an e4m3 tensor [@m, @n] with one factor for all values. The factor is large enough for
 * all that avatar_op_rms_norm_rope() can compute with the weights @w, or @w2 (optional). */
AvatarTensor
avatar_ops_alloc_normed (AvatarOps *ops, gint64 m, gint64 n, AvatarTensor w, AvatarTensor w2);
/* o = softmax (q k^T * scale) v for every head. q, o [Lq, heads, d], k, v [Lk, heads, d]. q, k and
 * v have the context's dtype or are made by avatar_ops_quantise_all(). The heads of k and v may
 * have a stride of 0, so that all heads of q share one (grouped-query attention).
 * @causal_block: the block size of a block-causal mask in keys: query i sees the keys of the blocks
 *   0 .. (i + q_start) / causal_block. 0 = no mask, every query sees every key
 * @q_start: the position of the first query, in keys
 * @valid: optional uint8 [Lk], with Lq = Lk and no causal mask: query q sees key k if
 *   (valid[q] and valid[k]) or k = 0 */
void avatar_op_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid);
/* o = softmax (q k^T * scale) v for every frame: the S queries of a frame attend to the n keys of
 * the same frame, with one head. q, o [T, S, d], k, v [T, n, d], n at most 1024. */
void avatar_op_frame_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale);
/* x = act (x), in place. x [M, N] or [N]. */
void avatar_op_act (AvatarOps *ops, AvatarTensor x, AvatarAct act);
/* y = silu (y) * x, both [M, N]. */
void avatar_op_silu_product (AvatarOps *ops, AvatarTensor y, AvatarTensor x);
/* y = a * x + b * y. Both contiguous with the same number of elements. y is not read if b = 0. */
void avatar_op_axpby (AvatarOps *ops, AvatarTensor y, double a, AvatarTensor x, double b);
/* x = factor * x in float32, then rounded to the nearest value of @dtype: AVATAR_F16, AVATAR_BF16,
 * or AVATAR_F32 for the product alone. x float32, contiguous. */
void avatar_op_scale_round (AvatarOps *ops, AvatarTensor x, double factor, AvatarDType dtype);
/* flag becomes 1 if a value of x is NaN or infinite, and keeps its value otherwise. x float32,
 * contiguous; flag int32 [1]. */
void avatar_op_find_non_finite (AvatarOps *ops, AvatarTensor flag, AvatarTensor x);
/* y = x, both of one shape and any strides. Converts between float32 and the context's dtype. */
void avatar_op_copy (AvatarOps *ops, AvatarTensor y, AvatarTensor x);
/* Linear cross-fade along dimension @dim < 3, in place: y[k] = before[k] (1 - k / n) + y[k] k / n
 * for k = 0 .. n - 1. y, before [.., .., .., C], one shape and dtype, n entries in @dim. */
void avatar_op_blend (AvatarOps *ops, AvatarTensor y, AvatarTensor before, guint dim);
/* y = weighted mean of the rows of x. y [N], x [M, N], weight [M] float32, optional: all 1. */
void avatar_op_mean_rows (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor weight);
/* y [(T/pt)(H/ph)(W/pw), C pt ph pw] = the patches of x [C, T, H, W], one per row, in the order of
 * a convolution whose stride is its kernel. AVATAR_UNPATCHIFY is the inverse: y [C, T, H, W] of the
 * rows x. @patch: pt, ph, pw; the video's sizes are multiples of them */
void avatar_op_patchify (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const guint patch[3],
    AvatarPatchDirection direction);
/* y [L', C kernel] of x [L, C]: y[i, c * kernel + j] = x[i * stride + j - pad, c], 0 outside of x.
 * A 1-D convolution is this and avatar_op_linear() with its weight [out, C, kernel] as a matrix. */
void avatar_op_unfold (AvatarOps *ops, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
    gint64 pad);
/* Power spectrum: y [M, N] = re^2 + im^2 of x [M, 2 N] = [re | im]. */
void avatar_op_power (AvatarOps *ops, AvatarTensor y, AvatarTensor x);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarOps, avatar_ops_free)

G_END_DECLS
