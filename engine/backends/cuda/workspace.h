/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Workspace sizes and limits of the CUDA back-end's operations. They depend on shapes alone and
 * need no CUDA library, so that a plan can be made on a machine without a GPU. Sizes are in
 * bytes. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* Workspace of a matrix product, as cuBLAS recommends for Hopper: enough for all its algorithms. */
#define AVATAR_CUDA_GEMM_WORKSPACE ((gsize) 32 << 20)
/* Rows per operation. With 132 multiprocessors and tiles of 128 x 256, a product of 8448 rows and
 * 3072 columns takes exactly 6 waves, and attention of 24 heads with 8448 queries exactly 12. */
#define AVATAR_CUDA_ROW_CHUNK 8448

static inline gsize
avatar_cuda_linear_workspace (AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  return AVATAR_CUDA_GEMM_WORKSPACE;
}

/* Returns the bytes of a vector of @n values of up to 32 bits, rounded up to the alignment. */
static inline gsize
avatar_cuda_vector_bytes (gint64 n)
{
  return (n * 4 + 255) / 256 * 256;
}

/* Returns the workspace for the product in the output's dtype, before it is added, or for the two
 * vectors multiplied with the gate, where the library adds the product itself. */
static inline gsize
avatar_cuda_linear_add_workspace (AvatarTensor y, AvatarTensor x, AvatarTensor w)
{
  gsize product = (avatar_tensor_bytes (y) + 255) / 256 * 256;

  return AVATAR_CUDA_GEMM_WORKSPACE + MAX (product, 2 * avatar_cuda_vector_bytes (y.shape[1]));
}

/* Maximum workspace of cuDNN's attention, checked when a plan is made. It needs none at present. */
#define AVATAR_CUDA_ATTENTION_WORKSPACE ((gsize) 1 << 20)
/* Scalars of 8-bit attention. */
#define AVATAR_CUDA_SCALARS ((gsize) 4096)

/* Minimum number of queries for cuDNN's 8-bit attention; fewer are padded with zeros. */
#define AVATAR_CUDA_MIN_8BIT_QUERIES ((gint64) 8)

/* Returns the number of queries with padding. */
static inline gint64
avatar_cuda_8bit_queries (AvatarTensor q)
{
  return MAX (q.shape[0], AVATAR_CUDA_MIN_8BIT_QUERIES);
}

/* Maximum width of a head in the general attention kernel (kernels/attention.cu). */
#define AVATAR_CUDA_MAX_HEAD 256
/* Maximum width of a row in a layer norm with 8-bit output. */
#define AVATAR_CUDA_MAX_NORM_8BIT 3072
/* Maximum width of a row, and maximum number of keys per frame, in frame attention. */
#define AVATAR_CUDA_MAX_FRAME_WIDTH 1024
#define AVATAR_CUDA_MAX_FRAME_KEYS 32
/* Common divisor of the VAE's channel counts: the kernels process eight channels at a time. */
#define AVATAR_CUDA_CHANNEL_MULTIPLE 8

/* Queries that wide attention processes at a time; with a causal mask, those of a block. */
#define AVATAR_CUDA_WIDE_ROWS 1024
/* Stride of the rows of scores, which are 16-byte aligned in F16 as the matrix products require. */
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

  /* The product's workspace, scores in float32, weights in F16, and the transposed values. */
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

/* Returns the bytes of the words that hold the exact blocks, one bit for each, of sparse attention:
 * uint64 [heads, blocks of queries, words]. */
static inline gsize
avatar_cuda_sparse_bits (AvatarTensor q, AvatarTensor k)
{
  gsize q_blocks = (q.shape[0] + 63) / 64, words = (k.shape[0] + 4095) / 4096;

  return (q.shape[1] * q_blocks * words * 8 + 255) / 256 * 256;
}

/* Returns the workspace of sparse attention: the words, the means of the blocks of queries, and
 * their thresholds, float32. */
static inline gsize
avatar_cuda_sparse_workspace (AvatarTensor q, AvatarTensor k)
{
  gsize rows = q.shape[1] * ((q.shape[0] + 63) / 64);

  return avatar_cuda_sparse_bits (q, k) + rows * (q.shape[2] + 1) * sizeof (float);
}

/* Width of heads that sparse attention is written for. */
#define AVATAR_CUDA_SPARSE_HEAD 128
/* Time of an operation of sparse attention, as a multiple of that of one of dense attention:
 * 1.6 to 1.8 on an H200 with 35,000 and 72,000 tokens. */
#define AVATAR_CUDA_SPARSE_COST 1.7

G_END_DECLS
