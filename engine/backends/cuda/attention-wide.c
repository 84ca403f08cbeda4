/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attention with one head that is too wide for fused kernels (the VAE's head has 512 channels): two
 * products of cuBLASLt with a softmax between them, for some queries at a time. A causal mask needs
 * no memory: the queries of a frame are multiplied with the keys that they see. */
#include "engine/backends/cuda/cuda-private.h"
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

gboolean
avatar_cuda_attention_is_wide (const AvatarAttention *self)
{
  AvatarTensor q = self->q;
  gboolean aligned = self->k.shape[0] % 8 == 0 && self->causal_block % 8 == 0;

  /* Narrow heads, and scores whose rows would need padding, are faster in the other kernels. */
  return q.dtype == AVATAR_F16 && q.shape[1] == 1 && !self->valid.rank && self->q_start == 0
      && q.shape[2] % 8 == 0 && (aligned || q.shape[2] > AVATAR_CUDA_MAX_HEAD);
}

void
avatar_cuda_attention_wide (AvatarQueue *queue, const AvatarAttention *self, guint8 *ws)
{
  const AvatarTensor o = self->o, q = self->q, k = self->k, v = self->v;
  gint64 causal_block = self->causal_block, rows = avatar_cuda_wide_rows (q, causal_block);
  gint64 d = q.shape[2], keys = k.shape[0];
  gint64 stride = AVATAR_CUDA_WIDE_STRIDE (keys);
  guint8 *scores = ws + AVATAR_CUDA_GEMM_WORKSPACE,
         *weights = scores + rows * stride * sizeof (float);
  AvatarTensor vt = avatar_tensor (AVATAR_F16, weights + rows * stride * 2, 2, d, keys);
  AvatarTensor v_columns = avatar_tensor (AVATAR_F16, v.data, 2, d, keys);
  AvatarTensor k_rows = avatar_tensor (AVATAR_F16, k.data, 2, keys, d);

  vt.stride[0] = stride;
  k_rows.stride[0] = k.stride[0];
  v_columns.stride[0] = 1;
  v_columns.stride[1] = v.stride[0];
  if (!avatar_cuda_check (queue, avatar_kernel_copy (queue->stream, vt, v_columns),
          "transposing attention values"))
    return;
  for (gint64 i = 0, n, seen; i < q.shape[0]; i += n) {
    AvatarTensor x, y, p;

    n = MIN (rows, q.shape[0] - i);
    seen = causal_block ? MIN (keys, (i / causal_block + 1) * causal_block) : keys;
    x = avatar_tensor (AVATAR_F16, (guint16 *) q.data + i * q.stride[0], 2, n, d);
    x.stride[0] = q.stride[0];
    y = avatar_tensor (AVATAR_F32, scores, 2, n, seen);
    y.stride[0] = AVATAR_CUDA_WIDE_STRIDE (seen);
    avatar_cuda_linear (queue, y, x, avatar_tensor_rows (k_rows, 0, seen), AVATAR_NO_TENSOR,
        AVATAR_ACT_NONE, ws);
    p = avatar_tensor (AVATAR_F16, weights, 2, n, seen);
    p.stride[0] = y.stride[0];
    if (queue->error
        || !avatar_cuda_check (queue, avatar_kernel_softmax (queue->stream, p, y, self->scale),
            "attention softmax"))
      return;
    x = avatar_tensor (AVATAR_F16, (guint16 *) o.data + i * o.stride[0], 2, n, d);
    x.stride[0] = o.stride[0];
    avatar_cuda_linear (queue, x, p, avatar_tensor_slice (vt, 1, 0, seen), AVATAR_NO_TENSOR,
        AVATAR_ACT_NONE, ws);
  }
}
