/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/ops/sparse-attention.h"

#include "engine/device/device.h"

#include <math.h>

/* Blocks of keys whose words of bits the CUDA kernels read at once. */
#define MULTIPLE 64

static gint64
round_up (gint64 n, gint64 multiple)
{
  return (n + multiple - 1) / multiple * multiple;
}

static gboolean
is_operand (AvatarTensor t, gint64 rows, AvatarTensor like)
{
  return t.rank == 3 && t.shape[0] == rows && t.shape[1] == like.shape[1]
      && t.shape[2] == like.shape[2] && t.stride[2] == 1 && t.dtype == like.dtype;
}

gboolean
avatar_ops_supports_sparse_attention (AvatarOps *self, gint64 d)
{
  return self->backend->supports_sparse_attention
      && self->backend->supports_sparse_attention (avatar_device_get_handle (self->device), d);
}

AvatarKeyBlocks
avatar_ops_key_blocks (AvatarOps *self, AvatarTensor k, AvatarTensor v)
{
  gint64 heads = k.shape[1], d = k.shape[2];
  gint64 n = round_up ((k.shape[0] + AVATAR_SPARSE_BLOCK - 1) / AVATAR_SPARSE_BLOCK, MULTIPLE);
  AvatarKeyBlocks blocks = {
    .mean = avatar_ops_alloc_as (self, AVATAR_F32, 3, heads, n, d),
    .values = avatar_ops_alloc (self, 3, heads, n, d),
    .center = avatar_ops_alloc_as (self, AVATAR_F32, 2, heads, d),
    .variance = avatar_ops_alloc_as (self, AVATAR_F32, 2, heads, d),
  };

  g_assert (is_operand (v, k.shape[0], k) && k.dtype == self->dtype && k.shape[0] > 0);
  blocks.keys = self->dtype == AVATAR_F32 ? blocks.mean : avatar_ops_alloc (self, 3, heads, n, d);
  avatar_ops_count (self, 2. * avatar_tensor_n (k),
      avatar_tensor_bytes (k) + avatar_tensor_bytes (v));
  if (avatar_ops_running (self))
    self->backend->key_blocks (self->queue, &blocks, k, v);
  return blocks;
}

double
avatar_sparse_density (const AvatarSparseAttention *self)
{
  double keys = self->k.shape[0], block = AVATAR_SPARSE_BLOCK;
  double always = 3 * block + keys - self->sink;
  double exact = 0.5 * erfc (self->tau * G_SQRT2 / 2) + always / keys;

  return MIN (1, exact) + 1 / block;
}

void
avatar_op_sparse_attention (AvatarOps *ops, const AvatarSparseAttention *attention)
{
  const AvatarTensor q = attention->q, k = attention->k;
  gsize mark = avatar_ops_mark (ops);
  double pairs = (double) q.shape[0] * k.shape[0] * avatar_sparse_density (attention);
  void *ws;

  g_assert (q.dtype == ops->dtype && is_operand (attention->o, q.shape[0], q));
  g_assert (is_operand (k, k.shape[0], q) && is_operand (attention->v, k.shape[0], q));
  g_assert (attention->scale > 0 && attention->sink >= 0 && attention->q_start >= 0);
  ws = avatar_arena_push (ops->arena,
      ops->backend->sparse_attention_workspace (avatar_device_get_handle (ops->device), attention));
  avatar_ops_count (ops, 4. * pairs * q.shape[1] * q.shape[2],
      2 * avatar_tensor_bytes (q) + 2 * avatar_tensor_bytes (k));
  if (avatar_ops_running (ops))
    ops->backend->sparse_attention (ops->queue, attention, ws, &ops->cancelled);
  avatar_ops_release (ops, mark);
}
