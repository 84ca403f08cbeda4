/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parts that both kernels of sparse attention share: parameters, the order of tiles, and one step
 * of the online softmax on the accumulators of a matrix instruction.
 *
 * A tile is 64 rows of keys and values: first the means of 64 blocks each, for all blocks, then the
 * blocks that are exact for at least one of the query blocks of the thread block. */
#pragma once

#include "engine/backends/cuda/kernels/common.cuh"

#define SPARSE_D 128                   /* width of a head */
#define SPARSE_B AVATAR_SPARSE_BLOCK   /* tokens of a block, and rows of a tile */

/* Strides of rows and heads are in elements. */
struct SparseShape
{
  int lq, lk;        /* queries and keys */
  int blocks, words; /* blocks of keys, and words of 64 bits that hold one bit for each */
  int q_blocks;      /* blocks of queries */
  float scale2;      /* factor of the scores, times log2 (e) */
};

__device__ __forceinline__ float
exp2_fast (float x)
{
  float y;

  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/* Walks through the tiles of N query blocks, whose words of exact blocks are in shared memory,
 * [N][words]. All threads that share tiles walk alike. */
template <int N> struct SparseTiles
{
  const uint64_t *bits;
  int words;
  int word;      /* the one of the tile; -1 before the first */
  int block;     /* the one in the tile, or -1 if the means of the blocks of @word are */
  uint64_t left; /* bits of @word that are still to come */
  bool exact;    /* the means are done */

  __device__ __forceinline__
  SparseTiles (const uint64_t *bits, int words)
      : bits (bits), words (words), word (-1), block (-1), left (0), exact (false)
  {
  }

  /* Goes to the next tile; returns false after the last. */
  __device__ __forceinline__ bool
  next ()
  {
    if (!exact && ++word < words)
      return true;
    if (!exact) {
      exact = true;
      word = -1;
    }
    while (left == 0) {
      if (++word >= words)
        return false;
#pragma unroll
      for (int i = 0; i < N; i++)
        left |= bits[i * words + word];
    }
    block = word * 64 + __ffsll ((long long) left) - 1;
    left &= left - 1;
    return true;
  }

  /* Returns the word of query block @i for the tile. */
  __device__ __forceinline__ uint64_t
  own (int i) const
  {
    return bits[i * words + word];
  }
};

/* Adds to the scores s [8][4] of a tile what its means stand for: the logarithm of the number of
 * keys; minus infinity for blocks that are exact, @own, and beyond the last. */
__device__ __forceinline__ void
sparse_mask_means (float (&s)[32], uint64_t own, int word, const SparseShape &shape)
{
  int column = (threadIdx.x % 4) * 2, first = word * 64;
  float inverse = 1.f / shape.scale2;
  float full = 6.f * inverse;
  float last = __log2f ((float) (shape.lk - (shape.blocks - 1) * SPARSE_B)) * inverse;

#pragma unroll
  for (int n = 0; n < 8; n++)
#pragma unroll
    for (int e = 0; e < 2; e++) {
      int c = n * 8 + column + e, block = first + c;
      bool masked = (own >> c & 1) || block >= shape.blocks;
      float add = masked ? -INFINITY : block == shape.blocks - 1 ? last : full;

      s[4 * n + e] += add;
      s[4 * n + 2 + e] += add;
    }
}

/* Masks the keys after the last one in the tile of the last block. */
__device__ __forceinline__ void
sparse_mask_end (float (&s)[32], int n_keys)
{
  int column = (threadIdx.x % 4) * 2;

#pragma unroll
  for (int n = 0; n < 8; n++)
#pragma unroll
    for (int e = 0; e < 2; e++)
      if (n * 8 + column + e >= n_keys)
        s[4 * n + e] = s[4 * n + 2 + e] = -INFINITY;
}

/* Applies the mask of the tile, if it has one. */
template <int N>
__device__ __forceinline__ void
sparse_mask (float (&s)[32], const SparseTiles<N> &tile, int own, const SparseShape &shape)
{
  if (!tile.exact)
    sparse_mask_means (s, tile.own (own), tile.word, shape);
  else if (tile.block == shape.blocks - 1)
    sparse_mask_end (s, shape.lk - tile.block * SPARSE_B);
}

/* One step of the online softmax for the two rows of a thread: s := 2^(s scale2 - max), @sum is the
 * thread's part of the sums. Sets @rescale to the factors of what was accumulated before. */
__device__ __forceinline__ void
sparse_softmax (float (&s)[32], float (&max)[2], float (&sum)[2], float (&rescale)[2], float scale2)
{
#pragma unroll
  for (int r = 0; r < 2; r++) {
    float m = max[r], base;

#pragma unroll
    for (int n = 0; n < 8; n++)
      m = fmaxf (m, fmaxf (s[4 * n + 2 * r], s[4 * n + 2 * r + 1]));
    m = fmaxf (m, __shfl_xor_sync (FULL, m, 1));
    m = fmaxf (m, __shfl_xor_sync (FULL, m, 2));
    base = m == -INFINITY ? 0.f : m * scale2;
    rescale[r] = exp2_fast (max[r] * scale2 - base);
    max[r] = m;
    sum[r] *= rescale[r];
#pragma unroll
    for (int n = 0; n < 8; n++)
#pragma unroll
      for (int e = 0; e < 2; e++) {
        float p = exp2_fast (s[4 * n + 2 * r + e] * scale2 - base);

        s[4 * n + 2 * r + e] = p;
        sum[r] += p;
      }
  }
}

__device__ __forceinline__ uint32_t
sparse_pack (float low, float high)
{
  __nv_bfloat162 v = __floats2bfloat162_rn (low, high);
  uint32_t bits;

  memcpy (&bits, &v, sizeof bits);
  return bits;
}

/* Multiplies the output with the factors, unless those of the whole warp are 1: after a few tiles
 * the maxima rarely change. */
__device__ __forceinline__ void
sparse_rescale (float (&acc)[64], const float (&rescale)[2])
{
  if (!__any_sync (FULL, rescale[0] != 1.f || rescale[1] != 1.f))
    return;
#pragma unroll
  for (int i = 0; i < 64; i++)
    acc[i] *= rescale[i / 2 % 2];
}

/* Rounds the weights to the operand of the second product: p [4 steps of 16 keys][4]. */
__device__ __forceinline__ void
sparse_weights (uint32_t (&p)[16], const float (&s)[32])
{
#pragma unroll
  for (int i = 0; i < 16; i++)
    p[i] = sparse_pack (s[2 * i], s[2 * i + 1]);
}

/* Adds up the sums of a row, which four threads share, and returns their inverses. */
__device__ __forceinline__ void
sparse_finish (float (&sum)[2])
{
#pragma unroll
  for (int r = 0; r < 2; r++) {
    sum[r] += __shfl_xor_sync (FULL, sum[r], 1);
    sum[r] += __shfl_xor_sync (FULL, sum[r], 2);
    sum[r] = 1.f / sum[r];
  }
}

/* Writes acc [16][4], the output of rows @row and @row + 8. */
__device__ __forceinline__ void
sparse_store (__nv_bfloat16 *o, gint64 stride, const float (&acc)[64], const float (&factor)[2],
    int row, int end)
{
#pragma unroll
  for (int r = 0; r < 2; r++)
    if (row + 8 * r < end)
#pragma unroll
      for (int n = 0; n < 16; n++)
        *reinterpret_cast<uint32_t *> (
            o + (row + 8 * r) * stride + n * 8 + threadIdx.x % 4 * 2)
            = sparse_pack (acc[4 * n + 2 * r] * factor[r], acc[4 * n + 2 * r + 1] * factor[r]);
}
