/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the CUDA back-end's operations need beside their operands: by shapes alone and without the
 * CUDA libraries, so that a plan can be made where there is no GPU. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* What cuBLAS asks for on Hopper; enough for every algorithm it prefers. */
#define AVATAR_CUDA_GEMM_WORKSPACE ((gsize) 32 << 20)
/* Rows at a time: with 132 multiprocessors and tiles of 128 x 256, 8448 rows of 3072 columns are
 * exactly six waves, and 24 heads of 8448 queries exactly twelve of attention. */
#define AVATAR_CUDA_ROW_CHUNK 8448

static inline gsize
avatar_cuda_linear_workspace (AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return AVATAR_CUDA_GEMM_WORKSPACE;
}

/* Of a vector of up to 32 bits a value, with room for its alignment. */
static inline gsize
avatar_cuda_vector_bytes (gint64 n)
{
  return (n * 4 + 255) / 256 * 256;
}

/* The product before it is added, in the output's dtype; or, where the library adds it with its
 * gate, two gated vectors. */
static inline gsize
avatar_cuda_linear_add_workspace (AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  gsize product = (avatar_tensor_bytes (y) + 255) / 256 * 256;

  return AVATAR_CUDA_GEMM_WORKSPACE + MAX (product, 2 * avatar_cuda_vector_bytes (y.shape[1]));
}

/* cuDNN's attention of this kind wants none; the bound is checked when a plan is built. */
#define AVATAR_CUDA_ATTENTION_WORKSPACE ((gsize) 1 << 20)
/* In 8 bits there are scalars beside it, and the output before its factor. */
#define AVATAR_CUDA_SCALARS ((gsize) 4096)

/* Fewest queries of 8-bit attention that cuDNN has engines for; fewer are padded with zeros. */
#define AVATAR_CUDA_MIN_8BIT_QUERIES ((gint64) 8)

static inline gint64
avatar_cuda_8bit_queries (AvatarTensor q)
{
  return MAX (q.shape[0], AVATAR_CUDA_MIN_8BIT_QUERIES);
}

/* Widest head of the attention kernel that takes every number of heads and every mask. */
#define AVATAR_CUDA_MAX_HEAD 256
/* Widest row that layer normalisation writes in 8 bits. */
#define AVATAR_CUDA_MAX_NORM_8BIT 3072
/* Widest row, and the most keys, of attention to the keys of one frame. */
#define AVATAR_CUDA_MAX_FRAME_WIDTH 1024
#define AVATAR_CUDA_MAX_FRAME_KEYS 32
/* Channels of the VAE's convolutions are stored and normalised by eight. */
#define AVATAR_CUDA_CHANNEL_MULTIPLE 8

/* Queries at a time of a head that is too wide for fused kernels: a frame's, if causal. */
#define AVATAR_CUDA_WIDE_ROWS 1024
/* Rows of scores start on 16 bytes, as the matrix products require. */
#define AVATAR_CUDA_WIDE_STRIDE(keys) (((keys) + 7) / 8 * 8)

static inline gint64
avatar_cuda_wide_rows (AvatarTensor q, gint64 causal_block)
{
  return causal_block ? causal_block : MIN (q.shape[0], AVATAR_CUDA_WIDE_ROWS);
}

static inline gsize
avatar_cuda_attention_workspace (AvatarTensor q, AvatarTensor k, gint64 causal_block)
{
  gsize bytes = AVATAR_CUDA_ATTENTION_WORKSPACE;

  /* products, scores in float32, weights, and the values turned */
  if (q.dtype == AVATAR_F16 && q.shape[1] == 1)
    return AVATAR_CUDA_GEMM_WORKSPACE
        + AVATAR_CUDA_WIDE_STRIDE (k.shape[0])
        * (avatar_cuda_wide_rows (q, causal_block) * 6 + q.shape[2] * 2);
  if (q.dtype == AVATAR_F8_E4M3) {
    gint64 n = avatar_cuda_8bit_queries (q);

    bytes += AVATAR_CUDA_SCALARS + n * q.shape[1] * q.shape[2] * (n == q.shape[0] ? 1 : 2);
  }
  return bytes;
}

G_END_DECLS
