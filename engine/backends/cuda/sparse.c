/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention: the kernel that suits the device. */
#include "engine/backends/cuda/cuda-private.h"
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

gboolean
avatar_cuda_supports_sparse_attention (AvatarBackendDevice *device, gint64 d)
{
  return device->capability >= 80 && d == AVATAR_CUDA_SPARSE_HEAD;
}

gsize
avatar_cuda_sparse_attention_workspace (AvatarBackendDevice *device,
    const AvatarSparseAttention *attention)
{
  return avatar_cuda_sparse_workspace (attention->q, attention->k);
}

void
avatar_cuda_key_blocks (AvatarQueue *queue, const AvatarKeyBlocks *blocks, AvatarTensor k,
    AvatarTensor v)
{
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_key_blocks (queue->stream, blocks, k, v),
        "means of keys");
}

void
avatar_cuda_sparse_attention (AvatarQueue *queue, const AvatarSparseAttention *attention, void *ws,
    const gint *cancelled)
{
  AvatarSparseKernel kernel = AVATAR_SPARSE_MMA;

  if (queue->device->capability == 90 && avatar_kernel_has_sparse_hopper ())
    kernel = AVATAR_SPARSE_WGMMA;
  if (avatar_cuda_begin (queue))
    avatar_cuda_check (queue, avatar_kernel_sparse_attention (queue->stream, attention, ws, kernel),
        "sparse attention");
}
