/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention (docs/dev/sparse-attention.md): summaries of blocks of keys and values, the
 * choice of the blocks that are exact, and a kernel for compute capability 8.0 and later, with
 * mma.sync and cp.async. kernels/sparse-hopper.cu has the one for 9.0. */
#include "engine/backends/cuda/kernels/sparse.cuh"
#include "engine/backends/cuda/workspace.h"

#define D SPARSE_D
#define B SPARSE_B

typedef __nv_bfloat16 bf16;

/* ------------------------------------------------------------------------------- summaries */

/* Returns the sum of two adjacent columns of rows @first .. @end - 1. */
__device__ __forceinline__ float2
column_sums (const bf16 *x, gint64 stride, int first, int end)
{
  float2 sum = { 0, 0 };

#pragma unroll 8
  for (int r = first; r < end; r++) {
    float2 v = __bfloat1622float2 (
        *reinterpret_cast<const __nv_bfloat162 *> (x + (gint64) r * stride));

    sum.x += v.x;
    sum.y += v.y;
  }
  return sum;
}

/* One thread block per block of keys and head: 64 threads for pairs of columns, times two halves
 * of the rows, for keys and for values. Blocks after the last are zeros. */
__global__ void __launch_bounds__ (256)
block_means (float *mean, bf16 *keys, bf16 *values, const bf16 *k, const bf16 *v, gint64 sk0,
    gint64 sk1, gint64 sv0, gint64 sv1, int lk)
{
  __shared__ float2 half[2][64];
  int column = threadIdx.x % 64, second = threadIdx.x / 64 % 2, of_values = threadIdx.x / 128;
  int first = blockIdx.x * B, n = min (B, lk - first), middle = min (n, B / 2);
  gint64 out = ((gint64) blockIdx.y * gridDim.x + blockIdx.x) * D + 2 * column;
  const bf16 *x = of_values ? v + first * sv0 + blockIdx.y * sv1 : k + first * sk0 + blockIdx.y * sk1;
  float2 sum = { 0, 0 };

  if (n > 0)
    sum = column_sums (x + 2 * column, of_values ? sv0 : sk0, second ? middle : 0,
        second ? n : middle);
  if (second)
    half[of_values][column] = sum;
  __syncthreads ();
  if (second)
    return;
  sum.x = n > 0 ? (sum.x + half[of_values][column].x) / n : 0.f;
  sum.y = n > 0 ? (sum.y + half[of_values][column].y) / n : 0.f;
  *reinterpret_cast<uint32_t *> ((of_values ? values : keys) + out) = sparse_pack (sum.x, sum.y);
  if (!of_values)
    *reinterpret_cast<float2 *> (mean + out) = sum;
}

#define PARTS 8

/* Mean and variance of the means of the keys, over all @blocks. One thread block per head. */
__global__ void __launch_bounds__ (D *PARTS)
block_statistics (float *center, float *variance, const float *mean, int blocks, int padded)
{
  __shared__ float parts[PARTS][D];
  int c = threadIdx.x % D, part = threadIdx.x / D;
  float sum = 0, m = 0;

  mean += (gint64) blockIdx.x * padded * D;
  for (int j = part; j < blocks; j += PARTS)
    sum += mean[(gint64) j * D + c];
  parts[part][c] = sum;
  __syncthreads ();
#pragma unroll
  for (int i = 0; i < PARTS; i++)
    m += parts[i][c];
  m /= blocks;
  __syncthreads ();
  sum = 0;
  for (int j = part; j < blocks; j += PARTS) {
    float x = mean[(gint64) j * D + c] - m;

    sum += x * x;
  }
  parts[part][c] = sum;
  __syncthreads ();
  if (part)
    return;
  sum = 0;
#pragma unroll
  for (int i = 0; i < PARTS; i++)
    sum += parts[i][c];
  center[blockIdx.x * D + c] = m;
  variance[blockIdx.x * D + c] = sum / blocks;
}

extern "C" cudaError_t
avatar_kernel_key_blocks (cudaStream_t stream, const AvatarKeyBlocks *blocks, AvatarTensor k,
    AvatarTensor v)
{
  int padded = (int) blocks->keys.shape[1], heads = (int) k.shape[1], lk = (int) k.shape[0];

  block_means<<<dim3 (padded, heads), 256, 0, stream>>> ((float *) blocks->mean.data,
      (bf16 *) blocks->keys.data, (bf16 *) blocks->values.data, (const bf16 *) k.data,
      (const bf16 *) v.data, k.stride[0], k.stride[1], v.stride[0], v.stride[1], lk);
  block_statistics<<<heads, D * PARTS, 0, stream>>> ((float *) blocks->center.data,
      (float *) blocks->variance.data, (const float *) blocks->mean.data, (lk + B - 1) / B, padded);
  return cudaGetLastError ();
}

/* --------------------------------------------------------------------------------- routing */

/* The mean of a block of queries [heads, q_blocks, D], and the score that makes a block of keys
 * exact. One thread block of 128 threads per block of queries and head. */
__global__ void __launch_bounds__ (128)
query_means (float *mean, float *threshold, const bf16 *q, gint64 s0, gint64 s1,
    const float *center, const float *variance, int lq, float scale2, float tau)
{
  __shared__ float2 half[64];
  __shared__ float parts[2][2];
  int column = threadIdx.x % 64, second = threadIdx.x / 64, head = blockIdx.y;
  int first = blockIdx.x * B, n = min (B, lq - first), middle = min (n, B / 2);
  gint64 row = (gint64) head * gridDim.x + blockIdx.x;
  float2 sum = column_sums (q + first * s0 + head * s1 + 2 * column, s0, second ? middle : 0,
      second ? n : middle);

  if (second)
    half[column] = sum;
  __syncthreads ();
  if (!second) {
    float2 c = *reinterpret_cast<const float2 *> (center + head * D + 2 * column);
    float2 d = *reinterpret_cast<const float2 *> (variance + head * D + 2 * column);
    float a, b;

    sum.x = (sum.x + half[column].x) / n;
    sum.y = (sum.y + half[column].y) / n;
    *reinterpret_cast<float2 *> (mean + row * D + 2 * column) = sum;
    a = warp_sum (sum.x * c.x + sum.y * c.y);
    b = warp_sum (sum.x * sum.x * d.x + sum.y * sum.y * d.y);
    if (threadIdx.x % WARP == 0) {
      parts[0][threadIdx.x / WARP] = a;
      parts[1][threadIdx.x / WARP] = b;
    }
  }
  __syncthreads ();
  if (threadIdx.x == 0)
    threshold[row] = scale2 * (parts[0][0] + parts[0][1])
        + tau * sqrtf (scale2 * scale2 * (parts[1][0] + parts[1][1]) + AVATAR_SPARSE_EPS);
}

#define ROUTE_Q 32 /* blocks of queries per thread block; four for each of eight warps */
#define ROUTE_PAD (D + 4)

/* Sets the words of exact blocks [heads, q_blocks, words], 64 blocks of keys and ROUTE_Q blocks of
 * queries per thread block. A block is exact if its mean score exceeds the threshold, if it is a
 * neighbour of the queries, or if it holds keys from @sink on. */
__global__ void __launch_bounds__ (256)
route (uint64_t *bits, const float *mean_q, const float *threshold, const float *mean_k,
    SparseShape s, int padded, gint64 q_start, gint64 sink)
{
  extern __shared__ float4 route_shared[];
  float *keys = (float *) route_shared, *queries = keys + 64 * ROUTE_PAD;
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, head = blockIdx.z;
  int key0 = blockIdx.x * 64, q0 = blockIdx.y * ROUTE_Q, per_warp = ROUTE_Q / 8;
  float acc[ROUTE_Q / 8][2];

  for (int i = threadIdx.x; i < 64 * (D / 4); i += 256)
    *reinterpret_cast<float4 *> (keys + i / (D / 4) * ROUTE_PAD + i % (D / 4) * 4)
        = *reinterpret_cast<const float4 *> (
            mean_k + ((gint64) head * padded + key0 + i / (D / 4)) * D + i % (D / 4) * 4);
  for (int i = threadIdx.x; i < ROUTE_Q * (D / 4); i += 256) {
    int row = min (q0 + i / (D / 4), s.q_blocks - 1);

    *reinterpret_cast<float4 *> (queries + i * 4) = *reinterpret_cast<const float4 *> (
        mean_q + ((gint64) head * s.q_blocks + row) * D + i % (D / 4) * 4);
  }
  __syncthreads ();
#pragma unroll
  for (int r = 0; r < per_warp; r++)
    acc[r][0] = acc[r][1] = 0;
#pragma unroll 4
  for (int c = 0; c < D; c += 4) {
    float4 a = *reinterpret_cast<const float4 *> (keys + lane * ROUTE_PAD + c);
    float4 b = *reinterpret_cast<const float4 *> (keys + (lane + 32) * ROUTE_PAD + c);

#pragma unroll
    for (int r = 0; r < per_warp; r++) {
      float4 x = *reinterpret_cast<const float4 *> (queries + (warp * per_warp + r) * D + c);

      acc[r][0] += x.x * a.x + x.y * a.y + x.z * a.z + x.w * a.w;
      acc[r][1] += x.x * b.x + x.y * b.y + x.z * b.z + x.w * b.w;
    }
  }
#pragma unroll
  for (int r = 0; r < per_warp; r++) {
    int row = q0 + warp * per_warp + r;
    gint64 at = (gint64) head * s.q_blocks + row, first, last;
    unsigned word[2];
    float limit;

    if (row >= s.q_blocks)
      return;
    limit = threshold[at];
    first = (q_start + (gint64) row * B) / B - 1;
    last = (q_start + min ((row + 1) * B, s.lq) - 1) / B + 1;
#pragma unroll
    for (int i = 0; i < 2; i++) {
      int block = key0 + i * 32 + lane;
      bool exact = acc[r][i] * s.scale2 > limit || (block >= first && block <= last)
          || (gint64) (block + 1) * B > sink;

      word[i] = __ballot_sync (FULL, exact && block < s.blocks);
    }
    if (lane == 0)
      bits[at * s.words + blockIdx.x] = (uint64_t) word[1] << 32 | word[0];
  }
}

/* ------------------------------------------------------------- attention by mma.sync (8.0) */

#define STAGES 2
#define ROW_BYTES (D * 2)
#define TILE_BYTES (B * ROW_BYTES)
#define QUERY_BLOCKS 2 /* per thread block, four warps each */
#define THREADS (QUERY_BLOCKS * 4 * WARP)

struct SparseOperands
{
  bf16 *o;
  const bf16 *q, *k, *v;
  const bf16 *mean_k, *mean_v; /* [heads, padded, D] */
  const uint64_t *bits;        /* [heads, q_blocks, words] */
  gint64 so[2], sq[2], sk[2], sv[2];
};

/* The offset of 16 bytes in a tile. Rows are 256 bytes; the order of their 16-byte pieces differs
 * from row to row, so that eight rows of one piece lie in different banks. */
__device__ __forceinline__ uint32_t
piece (int row, int index)
{
  return row * ROW_BYTES + ((index ^ (row & 7)) * 16);
}

__device__ __forceinline__ void
copy_async (uint32_t to, const void *from, bool inside)
{
  asm volatile ("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
      "r"(inside ? 16 : 0));
}

__device__ __forceinline__ void
load_matrices (uint32_t (&r)[4], uint32_t address)
{
  asm volatile ("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                : "r"(address));
}

__device__ __forceinline__ void
load_transposed (uint32_t (&r)[4], uint32_t address)
{
  asm volatile ("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                : "r"(address));
}

__device__ __forceinline__ void
multiply_add (float *c, const uint32_t *a, uint32_t b0, uint32_t b1)
{
  asm volatile ("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* Copies rows @first .. @first + rows - 1 to a tile, with zeros for those from @end on. */
template <int ROWS>
__device__ __forceinline__ void
load_rows (uint32_t to, const bf16 *x, gint64 stride, int first, int end)
{
#pragma unroll
  for (int i = 0; i < ROWS * 16 / THREADS; i++) {
    int row = (threadIdx.x + i * THREADS) / 16, index = threadIdx.x % 16;
    bool inside = first + row < end;

    copy_async (to + piece (row, index), x + (inside ? first + row : 0) * stride + index * 8,
        inside);
  }
}

/* Loads the keys and values of a tile to the stage at @to. */
__device__ __forceinline__ void
load_tile (uint32_t to, const SparseOperands &x, const SparseShape &s,
    const SparseTiles<QUERY_BLOCKS> &tile, int head)
{
  if (tile.exact) {
    load_rows<B> (to, x.k + head * x.sk[1], x.sk[0], tile.block * B, s.lk);
    load_rows<B> (to + TILE_BYTES, x.v + head * x.sv[1], x.sv[0], tile.block * B, s.lk);
  } else {
    gint64 first = (gint64) head * s.words * 64 * D;

    load_rows<B> (to, x.mean_k + first, D, tile.word * B, s.words * B);
    load_rows<B> (to + TILE_BYTES, x.mean_v + first, D, tile.word * B, s.words * B);
  }
}

/* scores [8][4] = the queries of the warp times 64 keys. */
__device__ __forceinline__ void
multiply_keys (float (&scores)[32], const uint32_t (&q)[32], uint32_t keys)
{
  int lane = threadIdx.x % WARP;
  int row = lane / 16 * 8 + lane % 8, index = lane / 8 % 2;

#pragma unroll
  for (int i = 0; i < 32; i++)
    scores[i] = 0;
#pragma unroll
  for (int step = 0; step < D / 16; step++)
#pragma unroll
    for (int n = 0; n < 8; n += 2) {
      uint32_t b[4];

      load_matrices (b, keys + piece (n * 8 + row, step * 2 + index));
      multiply_add (scores + 4 * n, q + 4 * step, b[0], b[1]);
      multiply_add (scores + 4 * n + 4, q + 4 * step, b[2], b[3]);
    }
}

/* acc [16][4] += the weights p times 64 values. */
__device__ __forceinline__ void
multiply_values (float (&acc)[64], const uint32_t (&p)[16], uint32_t values)
{
  int lane = threadIdx.x % WARP;
  int row = lane / 8 % 2 * 8 + lane % 8, index = lane / 16;

#pragma unroll
  for (int step = 0; step < B / 16; step++)
#pragma unroll
    for (int n = 0; n < 16; n += 2) {
      uint32_t b[4];

      load_transposed (b, values + piece (step * 16 + row, n + index));
      multiply_add (acc + 4 * n, p + 4 * step, b[0], b[1]);
      multiply_add (acc + 4 * n + 4, p + 4 * step, b[2], b[3]);
    }
}

/* Reads the words of the thread block's query blocks into shared memory. */
__device__ __forceinline__ void
load_bits (uint64_t *to, const uint64_t *bits, const SparseShape &s, int first, int head)
{
  for (int i = threadIdx.x; i < QUERY_BLOCKS * s.words; i += THREADS) {
    int row = first + i / s.words;

    to[i] = row < s.q_blocks
        ? bits[((gint64) head * s.q_blocks + row) * s.words + i % s.words]
        : 0;
  }
}

/* Loads the fragments of the queries of a warp, through the memory of the stages. */
__device__ __forceinline__ void
load_queries (uint32_t (&q)[32], uint32_t shared, const SparseOperands &x, const SparseShape &s,
    int first, int head)
{
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  int row = warp * 16 + lane % 16, index = lane / 16;

  load_rows<QUERY_BLOCKS * B> (shared, x.q + head * x.sq[1], x.sq[0], first * B, s.lq);
  asm volatile ("cp.async.wait_all;" ::: "memory");
  __syncthreads ();
#pragma unroll
  for (int step = 0; step < D / 16; step++)
    load_matrices (*reinterpret_cast<uint32_t (*)[4]> (q + 4 * step),
        shared + piece (row, step * 2 + index));
  __syncthreads ();
}

__global__ void __launch_bounds__ (THREADS, 1)
sparse_attention (SparseOperands x, SparseShape s)
{
  extern __shared__ __align__ (128) char sparse_shared[];
  uint32_t shared = (uint32_t) __cvta_generic_to_shared (sparse_shared);
  uint64_t *bits = (uint64_t *) (sparse_shared + STAGES * 2 * TILE_BYTES);
  int head = blockIdx.y, first = blockIdx.x * QUERY_BLOCKS, warp = threadIdx.x / WARP;
  int own = warp / 4, row = first * B + warp * 16 + threadIdx.x % WARP / 4;
  float acc[64], max[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 };
  uint32_t q[32];
  int stage = 0;
  bool more;

#pragma unroll
  for (int i = 0; i < 64; i++)
    acc[i] = 0;
  load_bits (bits, x.bits, s, first, head);
  load_queries (q, shared, x, s, first, head);
  SparseTiles<QUERY_BLOCKS> tile (bits, s.words), ahead (bits, s.words);
  more = ahead.next ();
  load_tile (shared, x, s, ahead, head);
  asm volatile ("cp.async.commit_group;" ::: "memory");
  while (more) {
    tile.next ();
    more = ahead.next ();
    if (more)
      load_tile (shared + (stage ^ 1) * 2 * TILE_BYTES, x, s, ahead, head);
    asm volatile ("cp.async.commit_group;" ::: "memory");
    asm volatile ("cp.async.wait_group 1;" ::: "memory");
    __syncthreads ();
    if (!tile.exact || (tile.own (own) >> (tile.block % 64) & 1)) {
      uint32_t at = shared + stage * 2 * TILE_BYTES, p[16];
      float scores[32], rescale[2];

      multiply_keys (scores, q, at);
      sparse_mask (scores, tile, own, s);
      sparse_softmax (scores, max, sum, rescale, s.scale2);
      sparse_weights (p, scores);
      sparse_rescale (acc, rescale);
      multiply_values (acc, p, at + TILE_BYTES);
    }
    __syncthreads ();
    stage ^= 1;
  }
  sparse_finish (sum);
  sparse_store (x.o + head * x.so[1], x.so[0], acc, sum, row, s.lq);
}

static cudaError_t
launch_mma (cudaStream_t stream, const AvatarSparseAttention *a, SparseShape s,
    const uint64_t *bits)
{
  const AvatarTensor o = a->o, q = a->q, k = a->k, v = a->v;
  SparseOperands x = { (bf16 *) o.data, (const bf16 *) q.data, (const bf16 *) k.data,
    (const bf16 *) v.data, (const bf16 *) a->blocks.keys.data, (const bf16 *) a->blocks.values.data,
    bits, { o.stride[0], o.stride[1] }, { q.stride[0], q.stride[1] },
    { k.stride[0], k.stride[1] }, { v.stride[0], v.stride[1] } };
  int bytes = STAGES * 2 * TILE_BYTES + QUERY_BLOCKS * s.words * (int) sizeof *bits;
  cudaError_t status = cudaFuncSetAttribute ((const void *) sparse_attention,
      cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);

  if (status != cudaSuccess)
    return status;
  sparse_attention<<<dim3 (blocks_for (s.q_blocks, QUERY_BLOCKS), (unsigned) q.shape[1]), THREADS,
      bytes, stream>>> (x, s);
  return cudaGetLastError ();
}

extern "C" cudaError_t
avatar_kernel_sparse_attention (cudaStream_t stream, const AvatarSparseAttention *a, void *ws,
    AvatarSparseKernel kernel)
{
  const AvatarTensor q = a->q;
  int heads = (int) q.shape[1], lq = (int) q.shape[0], lk = (int) a->k.shape[0];
  int padded = (int) a->blocks.keys.shape[1];
  SparseShape s = { lq, lk, (lk + B - 1) / B, padded / 64, (lq + B - 1) / B,
    (float) (a->scale * 1.4426950408889634) };
  size_t rows = (size_t) heads * s.q_blocks, bytes = (64 * ROUTE_PAD + ROUTE_Q * D) * sizeof (float);
  uint64_t *bits = (uint64_t *) ws;
  float *mean = (float *) ((char *) ws + avatar_cuda_sparse_bits (q, a->k));
  float *threshold = mean + rows * D;
  cudaError_t status;

  if (lq == 0)
    return cudaSuccess;
  if (!by_eight (a->o, D) || !by_eight (q, D) || !by_eight (a->k, D) || !by_eight (a->v, D)
      || heads > 65535 || a->scale <= 0)
    return cudaErrorInvalidValue;
  status = cudaFuncSetAttribute ((const void *) route, cudaFuncAttributeMaxDynamicSharedMemorySize,
      (int) bytes);
  if (status != cudaSuccess)
    return status;
  query_means<<<dim3 (s.q_blocks, heads), 128, 0, stream>>> (mean, threshold,
      (const bf16 *) q.data, q.stride[0], q.stride[1], (const float *) a->blocks.center.data,
      (const float *) a->blocks.variance.data, lq, s.scale2, (float) a->tau);
  route<<<dim3 (s.words, blocks_for (s.q_blocks, ROUTE_Q), heads), 256, bytes, stream>>> (bits, mean,
      threshold, (const float *) a->blocks.mean.data, s, padded, a->q_start, a->sink);
  status = cudaGetLastError ();
  if (status != cudaSuccess)
    return status;
  if (kernel == AVATAR_SPARSE_MMA)
    return launch_mma (stream, a, s, bits);
  return avatar_kernel_sparse_hopper (stream, a, (const guint64 *) bits);
}
