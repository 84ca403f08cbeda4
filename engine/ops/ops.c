/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The common part of all operations: asserts on operands, counts, workspace, and the call of the
 * back-end. */
#include "engine/ops/ops.h"

#include "engine/device/device.h"

#include <stdarg.h>
#include <string.h>

AvatarOps *
avatar_ops_new (AvatarDevice *device, AvatarArena *arena, GError **error)
{
  AvatarOps *self = g_new0 (AvatarOps, 1);

  self->device = avatar_device_ref (device);
  self->backend = avatar_device_get_backend (device);
  self->dtype = self->backend->activation;
  self->row_chunk = self->backend->row_chunk;
  self->arena = arena;
  self->dry_run = avatar_arena_is_dry_run (arena);
  if (!self->dry_run && self->backend->discrete) {
    self->queue = self->backend->queue_new (avatar_device_get_handle (device), error);
    if (!self->queue)
      g_clear_pointer (&self, avatar_ops_free);
  }
  return self;
}

void
avatar_ops_free (AvatarOps *self)
{
  if (!self)
    return;
  if (self->queue)
    self->backend->queue_free (self->queue);
  avatar_arena_free (self->arena);
  g_clear_error (&self->error);
  avatar_device_unref (self->device);
  g_free (self);
}

void
avatar_ops_cancel (AvatarOps *self)
{
  g_atomic_int_set (&self->cancelled, 1);
}

void
avatar_ops_uncancel (AvatarOps *self)
{
  g_atomic_int_set (&self->cancelled, 0);
}

gboolean
avatar_ops_running (AvatarOps *self)
{
  if (self->dry_run || self->error)
    return FALSE;
  if (g_atomic_int_get (&self->cancelled)) {
    self->error = g_error_new_literal (AVATAR_ERROR, AVATAR_ERROR_CANCELLED, "cancelled");
    return FALSE;
  }
  return TRUE;
}

gboolean
avatar_ops_check (AvatarOps *self, GError **error)
{
  if (avatar_ops_running (self) && self->queue)
    self->backend->queue_check (self->queue, &self->error);
  if (!self->error)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&self->error));
  return FALSE;
}

void
avatar_ops_count (AvatarOps *self, double flops, double bytes)
{
  self->flops += flops;
  self->bytes += bytes;
}

void
avatar_ops_finish (AvatarOps *self)
{
  if (self && self->queue)
    self->backend->queue_sync (self->queue, NULL);
}

void
avatar_ops_throttle (AvatarOps *self)
{
  if (self->queue && avatar_ops_running (self))
    self->backend->queue_throttle (self->queue);
}

static AvatarTensor
alloc_va (AvatarOps *self, AvatarDType dtype, guint rank, va_list args)
{
  gint64 shape[AVATAR_MAX_RANK];
  AvatarTensor t;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  for (guint i = 0; i < rank; i++)
    shape[i] = va_arg (args, gint64);
  t = avatar_tensor_of_shape (dtype, NULL, rank, shape);
  t.data = avatar_arena_push (self->arena, avatar_tensor_bytes (t));
  return t;
}

AvatarTensor
avatar_ops_alloc (AvatarOps *self, guint rank, ...)
{
  AvatarTensor t;
  va_list args;

  va_start (args, rank);
  t = alloc_va (self, self->dtype, rank, args);
  va_end (args);
  return t;
}

AvatarTensor
avatar_ops_alloc_as (AvatarOps *self, AvatarDType dtype, guint rank, ...)
{
  AvatarTensor t;
  va_list args;

  va_start (args, rank);
  t = alloc_va (self, dtype, rank, args);
  va_end (args);
  return t;
}

AvatarTensor
avatar_ops_alloc_operand (AvatarOps *self, gint64 m, gint64 k, AvatarTensor w)
{
  gboolean is_8bit = avatar_dtype_size (w.dtype) == 1;
  AvatarTensor y = avatar_ops_alloc_as (self, is_8bit ? w.dtype : self->dtype, 2, m, k);

  if (is_8bit)
    y.scale = avatar_arena_push (self->arena, m * sizeof (float));
  return y;
}

AvatarTensor
avatar_ops_operand (AvatarOps *self, AvatarTensor x, AvatarTensor w)
{
  AvatarTensor y;

  if (avatar_dtype_size (w.dtype) != 1 || x.dtype == w.dtype)
    return x;
  y = avatar_ops_alloc_operand (self, x.shape[0], x.shape[1], w);
  avatar_ops_count (self, 2. * avatar_tensor_n (x),
      avatar_tensor_bytes (x) + avatar_tensor_bytes (y));
  if (avatar_ops_running (self))
    self->backend->quantise (self->queue, y, x);
  return y;
}

gboolean
avatar_ops_supports_8bit_attention (AvatarOps *self, gint64 d)
{
  return self->backend->supports_8bit_attention
      && self->backend->supports_8bit_attention (avatar_device_get_handle (self->device), d);
}

AvatarTensor
avatar_ops_quantise_all (AvatarOps *self, AvatarTensor x)
{
  AvatarTensor y = avatar_ops_alloc_as (self, AVATAR_F8_E4M3, 2, x.shape[0], x.shape[1]);

  y.scale = avatar_arena_push (self->arena, 2 * sizeof (float));
  y.one_scale = TRUE;
  avatar_ops_count (self, 2. * avatar_tensor_n (x),
      2 * avatar_tensor_bytes (x) + avatar_tensor_bytes (y));
  if (avatar_ops_running (self))
    self->backend->quantise_all (self->queue, y, x);
  return y;
}

AvatarTensor
avatar_ops_alloc_normed (AvatarOps *self, gint64 m, gint64 n, AvatarTensor w, AvatarTensor w2)
{
  AvatarTensor y = avatar_ops_alloc_as (self, AVATAR_F8_E4M3, 2, m, n);

  y.scale = avatar_arena_push (self->arena, sizeof (float));
  y.one_scale = TRUE;
  if (avatar_ops_running (self))
    self->backend->norm_factor (self->queue, y.scale, w, w2);
  return y;
}

static gboolean
is_transferable (AvatarTensor t)
{
  return avatar_tensor_is_contiguous (t) && !t.scale;
}

void
avatar_op_upload_raw (AvatarOps *ops, AvatarTensor y, const void *host)
{
  gsize bytes = avatar_tensor_bytes (y);

  g_assert (is_transferable (y));
  avatar_ops_count (ops, 0, bytes);
  if (!avatar_ops_running (ops))
    return;
  if (ops->backend->discrete)
    ops->backend->upload (ops->queue, y.data, host, bytes, AVATAR_HOST_PAGEABLE);
  else
    memcpy (y.data, host, bytes);
}

void
avatar_op_upload (AvatarOps *ops, AvatarTensor y, const float *host)
{
  g_autofree void *converted = NULL;

  if (y.dtype != AVATAR_F32 && avatar_ops_running (ops)) {
    converted = g_malloc (avatar_tensor_bytes (y));
    avatar_dtype_from_f32 (converted, y.dtype, host, avatar_tensor_n (y));
  }
  avatar_op_upload_raw (ops, y, converted ? converted : host);
}

void
avatar_op_clear (AvatarOps *ops, AvatarTensor y)
{
  g_autofree void *zeros = avatar_ops_running (ops) ? g_malloc0 (avatar_tensor_bytes (y)) : NULL;

  avatar_op_upload_raw (ops, y, zeros);
}

void
avatar_op_download_raw (AvatarOps *ops, void *host, AvatarTensor x)
{
  gsize bytes = avatar_tensor_bytes (x);

  g_assert (is_transferable (x));
  avatar_ops_count (ops, 0, bytes);
  if (!avatar_ops_running (ops))
    return;
  if (ops->backend->discrete)
    ops->backend->download (ops->queue, host, x.data, bytes, AVATAR_HOST_PAGEABLE);
  else
    memcpy (host, x.data, bytes);
}

void
avatar_op_download (AvatarOps *ops, float *host, AvatarTensor x)
{
  g_autofree void *raw = NULL;

  if (x.dtype == AVATAR_F32 || !avatar_ops_running (ops)) {
    avatar_op_download_raw (ops, host, x);
    return;
  }
  raw = g_malloc0 (avatar_tensor_bytes (x));
  avatar_op_download_raw (ops, raw, x);
  avatar_dtype_to_f32 (host, raw, x.dtype, avatar_tensor_n (x));
}

static double
bytes_of (AvatarTensor t)
{
  return avatar_tensor_bytes (t);
}

static gboolean
is_matrix (AvatarTensor t, gint64 m, gint64 n)
{
  return t.rank == 2 && t.shape[0] == m && t.shape[1] == n && t.stride[1] == 1;
}

static gboolean
is_vector (AvatarTensor t, gint64 n)
{
  return t.rank == 0 || (t.rank == 1 && t.shape[0] == n && t.stride[0] == 1);
}

static gboolean
is_heads (AvatarTensor t, gint64 heads, gint64 d)
{
  return t.rank == 3 && t.shape[1] == heads && t.shape[2] == d && t.stride[2] == 1;
}

/* Returns the rows of an [m, k] x [k, n] product that are computed in one call. */
static gint64
rows_per_call (AvatarOps *ops, gint64 m, gint64 n, gint64 k)
{
  double row_flops = 2. * n * k, max_flops = ops->backend->piece_flops;

  if (max_flops == 0 || row_flops * m <= max_flops)
    return MAX (m, 1);
  return MAX (1, (gint64) (max_flops / row_flops));
}

/* Returns a view of up to @n rows of @t from row @start on. */
static AvatarTensor
rows_of (AvatarTensor t, gint64 start, gint64 n)
{
  n = MIN (n, t.shape[0] - start);
  if (t.scale && !t.one_scale)
    t.scale += start;
  return avatar_tensor_rows (t, start, n);
}

void
avatar_op_linear (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
    AvatarAct act)
{
  gint64 m = x.shape[0], k = x.shape[1], n = w.shape[0], step = rows_per_call (ops, m, n, k);
  gsize mark = avatar_ops_mark (ops);
  void *ws;

  g_assert (is_matrix (x, m, k) && is_matrix (w, n, k) && is_matrix (y, m, n) && is_vector (b, n));
  g_assert (x.dtype == w.dtype);
  ws = avatar_arena_push (ops->arena,
      ops->backend->linear_workspace (avatar_device_get_handle (ops->device), y, x, w));
  avatar_ops_count (ops, 2. * m * n * k, bytes_of (x) + bytes_of (w) + bytes_of (y));
  for (gint64 i = 0; i < m && avatar_ops_running (ops); i += step)
    ops->backend->linear (ops->queue, rows_of (y, i, step), rows_of (x, i, step), w, b, act, ws);
  avatar_ops_release (ops, mark);
}

void
avatar_op_linear_add (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale)
{
  gint64 m = x.shape[0], k = x.shape[1], n = w.shape[0], step = rows_per_call (ops, m, n, k);
  gsize mark = avatar_ops_mark (ops);
  void *ws;

  g_assert (is_matrix (x, m, k) && is_matrix (w, n, k) && is_matrix (y, m, n) && is_vector (b, n)
      && is_vector (gate, n) && is_vector (row_scale, m));
  g_assert (x.dtype == w.dtype && gate.dtype == AVATAR_F32 && row_scale.dtype == AVATAR_F32);
  ws = avatar_arena_push (ops->arena,
      ops->backend->linear_add_workspace (avatar_device_get_handle (ops->device), y, x, w));
  avatar_ops_count (ops, 2. * m * n * k, bytes_of (x) + bytes_of (w) + 2 * bytes_of (y));
  for (gint64 i = 0; i < m && avatar_ops_running (ops); i += step)
    ops->backend->linear_add (ops->queue, rows_of (y, i, step), rows_of (x, i, step), w, b, gate,
        row_scale.rank ? rows_of (row_scale, i, step) : row_scale, ws);
  avatar_ops_release (ops, mark);
}

void
avatar_op_layer_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, AvatarNormScale factor, double eps)
{
  gint64 m = x.shape[0], n = x.shape[1];

  g_assert (
      is_matrix (x, m, n) && is_matrix (y, m, n) && is_vector (scale, n) && is_vector (shift, n));
  avatar_ops_count (ops, 8. * m * n, bytes_of (x) + bytes_of (y));
  if (avatar_ops_running (ops))
    ops->backend->layer_norm (ops->queue, y, x, scale, shift, factor, eps);
}

void
avatar_op_rms_norm_rope (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps)
{
  gint64 l = x.shape[0], d = x.shape[2];

  g_assert (is_heads (x, x.shape[1], d) && is_vector (w, d) && w.rank == 1);
  g_assert (is_heads (y, x.shape[1], d) && y.shape[0] == l);
  g_assert (y.one_scale || (y.data == x.data && y.dtype == x.dtype));
  g_assert (cos.rank == sin.rank);
  g_assert (cos.rank == 0 || (is_matrix (cos, l, d / 2) && is_matrix (sin, l, d / 2)));
  avatar_ops_count (ops, 10. * avatar_tensor_n (x), bytes_of (x) + bytes_of (y));
  if (avatar_ops_running (ops))
    ops->backend->rms_norm_rope (ops->queue, y, x, w, cos, sin, eps);
}

void
avatar_op_rms_norm (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps)
{
  gint64 m = x.shape[0], n = x.shape[1];

  g_assert (is_matrix (x, m, n) && is_matrix (y, m, n) && is_vector (w, n) && w.rank == 1);
  avatar_ops_count (ops, 4. * m * n, bytes_of (x) + bytes_of (y));
  if (avatar_ops_running (ops))
    ops->backend->rms_norm (ops->queue, y, x, w, eps);
}

void
avatar_op_rope_half (AvatarOps *ops, AvatarTensor x, AvatarTensor cos, AvatarTensor sin)
{
  gint64 l = x.shape[0], d = x.shape[2];

  g_assert (is_heads (x, x.shape[1], d) && d % 2 == 0);
  g_assert (is_matrix (cos, l, d / 2) && is_matrix (sin, l, d / 2));
  g_assert (cos.dtype == AVATAR_F32 && sin.dtype == AVATAR_F32);
  avatar_ops_count (ops, 3. * avatar_tensor_n (x), 2 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->rope_half (ops->queue, x, cos, sin);
}

void
avatar_op_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k, AvatarTensor v,
    double scale, gint64 causal_block, gint64 q_start, AvatarTensor valid)
{
  gint64 lq = q.shape[0], lk = k.shape[0], heads = q.shape[1], d = q.shape[2];
  gsize mark = avatar_ops_mark (ops);
  AvatarAttention attention = { o, q, k, v, scale, causal_block, q_start, valid };
  double pairs = (double) lq * lk;
  void *ws;

  g_assert (is_heads (q, heads, d) && is_heads (o, heads, d) && o.shape[0] == lq);
  g_assert (is_heads (k, heads, d) && is_heads (v, heads, d) && v.shape[0] == lk);
  g_assert (valid.rank == 0
      || (valid.dtype == AVATAR_U8 && is_vector (valid, lk) && lq == lk && causal_block == 0));
  if (causal_block > 0) {
    /* Adds up whole blocks of queries, as a dry run of a long clip counts many of them. */
    pairs = 0;
    for (gint64 i = 0, end; i < lq; i = end) {
      gint64 visible = ((i + q_start) / causal_block + 1) * causal_block;

      end = MIN (lq, visible - q_start);
      pairs += (double) MIN (lk, visible) * (end - i);
    }
  }
  ws = avatar_arena_push (ops->arena,
      ops->backend->attention_workspace (avatar_device_get_handle (ops->device), q, k, causal_block,
          valid));
  avatar_ops_count (ops, 4. * pairs * heads * d,
      bytes_of (q) + bytes_of (k) + bytes_of (v) + bytes_of (o));
  if (avatar_ops_running (ops))
    ops->backend->attention (ops->queue, &attention, ws, &ops->cancelled);
  avatar_ops_release (ops, mark);
}

void
avatar_op_frame_attention (AvatarOps *ops, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale)
{
  gint64 t = q.shape[0], d = q.shape[2], n = k.shape[1];

  g_assert (is_heads (q, q.shape[1], d) && is_heads (o, q.shape[1], d) && o.shape[0] == t);
  g_assert (is_heads (k, n, d) && is_heads (v, n, d) && k.shape[0] == t && v.shape[0] == t);
  g_assert (n <= 1024);
  avatar_ops_count (ops, 4. * avatar_tensor_n (q) * n,
      bytes_of (q) + bytes_of (k) + bytes_of (v) + bytes_of (o));
  if (avatar_ops_running (ops))
    ops->backend->frame_attention (ops->queue, o, q, k, v, scale);
}

void
avatar_op_act (AvatarOps *ops, AvatarTensor x, AvatarAct act)
{
  g_assert (x.rank <= 2 && x.stride[x.rank - 1] == 1);
  avatar_ops_count (ops, 10. * avatar_tensor_n (x), 2 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->act (ops->queue, x, act);
}

void
avatar_op_silu_product (AvatarOps *ops, AvatarTensor y, AvatarTensor x)
{
  g_assert (is_matrix (x, y.shape[0], y.shape[1]) && is_matrix (y, y.shape[0], y.shape[1]));
  g_assert (x.dtype == y.dtype);
  avatar_ops_count (ops, 11. * avatar_tensor_n (x), 3 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->silu_product (ops->queue, y, x);
}

void
avatar_op_axpby (AvatarOps *ops, AvatarTensor y, double a, AvatarTensor x, double b)
{
  g_assert (avatar_tensor_is_contiguous (x) && avatar_tensor_is_contiguous (y));
  g_assert (avatar_tensor_n (x) == avatar_tensor_n (y));
  avatar_ops_count (ops, 3. * avatar_tensor_n (x), 3 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->axpby (ops->queue, y, a, x, b);
}

void
avatar_op_scale_round (AvatarOps *ops, AvatarTensor x, double factor, AvatarDType dtype)
{
  g_assert (avatar_tensor_is_contiguous (x) && x.dtype == AVATAR_F32);
  g_assert (dtype == AVATAR_F32 || dtype == AVATAR_F16 || dtype == AVATAR_BF16);
  avatar_ops_count (ops, avatar_tensor_n (x), 2 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->scale_round (ops->queue, x, factor, dtype);
}

void
avatar_op_find_non_finite (AvatarOps *ops, AvatarTensor flag, AvatarTensor x)
{
  g_assert (avatar_tensor_is_contiguous (x) && x.dtype == AVATAR_F32);
  g_assert (flag.dtype == AVATAR_I32 && avatar_tensor_n (flag) == 1);
  avatar_ops_count (ops, 0, bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->find_non_finite (ops->queue, flag, x);
}

void
avatar_op_copy (AvatarOps *ops, AvatarTensor y, AvatarTensor x)
{
  g_assert (x.rank == y.rank);
  for (guint i = 0; i < x.rank; i++)
    g_assert (x.shape[i] == y.shape[i]);
  avatar_ops_count (ops, 0, 2 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->copy (ops->queue, y, x);
}

void
avatar_op_blend (AvatarOps *ops, AvatarTensor y, AvatarTensor before, guint dim)
{
  g_assert (y.rank == 4 && before.rank == 4 && dim < 3 && y.dtype == before.dtype);
  for (guint i = 0; i < 4; i++)
    g_assert (y.shape[i] == before.shape[i]);
  g_assert (y.stride[3] == 1 && before.stride[3] == 1);
  avatar_ops_count (ops, 3. * avatar_tensor_n (y), 3. * avatar_tensor_bytes (y));
  if (avatar_ops_running (ops))
    ops->backend->blend (ops->queue, y, before, dim);
}

void
avatar_op_mean_rows (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor weight)
{
  g_assert (x.rank == 2 && y.rank == 1 && is_vector (y, x.shape[1]));
  g_assert (is_vector (weight, x.shape[0]));
  avatar_ops_count (ops, 2. * avatar_tensor_n (x), bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->mean_rows (ops->queue, y, x, weight);
}

void
avatar_op_patchify (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const guint patch[3],
    AvatarPatchDirection direction)
{
  gboolean back = direction == AVATAR_UNPATCHIFY;
  AvatarTensor rows = back ? x : y, video = back ? y : x;
  gint64 volume = (gint64) patch[0] * patch[1] * patch[2];

  g_assert (video.rank == 4 && rows.rank == 2 && avatar_tensor_is_contiguous (video));
  for (guint i = 0; i < 3; i++)
    g_assert (video.shape[i + 1] % patch[i] == 0);
  g_assert (rows.shape[1] == video.shape[0] * volume && rows.stride[1] == 1);
  g_assert (avatar_tensor_n (rows) == avatar_tensor_n (video));
  avatar_ops_count (ops, 0, 2 * bytes_of (x));
  if (avatar_ops_running (ops))
    ops->backend->patchify (ops->queue, y, x, patch, direction);
}

void
avatar_op_unfold (AvatarOps *ops, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
    gint64 pad)
{
  gint64 rows = (x.shape[0] + 2 * pad - kernel) / stride + 1;

  g_assert (x.rank == 2 && is_matrix (y, rows, x.shape[1] * kernel) && x.stride[1] == 1);
  avatar_ops_count (ops, 0, bytes_of (x) + bytes_of (y));
  if (avatar_ops_running (ops))
    ops->backend->unfold (ops->queue, y, x, kernel, stride, pad);
}

void
avatar_op_power (AvatarOps *ops, AvatarTensor y, AvatarTensor x)
{
  g_assert (is_matrix (y, y.shape[0], y.shape[1]) && is_matrix (x, y.shape[0], 2 * y.shape[1]));
  avatar_ops_count (ops, 3. * avatar_tensor_n (y), bytes_of (x) + bytes_of (y));
  if (avatar_ops_running (ops))
    ops->backend->power (ops->queue, y, x);
}
