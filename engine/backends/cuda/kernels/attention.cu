/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attention with any width up to MAX_D and any mask, where cuDNN has no engine: online softmax
 * (Milakov and Gimelshein 2018; Dao et al. 2022) in float32. Frame attention, with its few keys in
 * shared memory. Softmax of rows. */
#include "engine/backends/cuda/kernels/common.cuh"
#include "engine/backends/cuda/workspace.h"

#define QUERIES 8 /* queries per block, one per warp */
#define KEYS 32   /* keys per tile, one per lane */
#define MAX_D AVATAR_CUDA_MAX_HEAD

struct Shape
{
  gint64 lq, lk, d;
  gint64 q[2], k[2], v[2], o[2]; /* strides of rows and heads */
  gint64 causal_block, q_start;
  const guint8 *valid;
  float scale;
};

/* Returns the number of leading keys that query @i sees. */
__device__ __forceinline__ gint64
visible (const Shape &s, gint64 i)
{
  gint64 n;

  if (s.causal_block == 0)
    return s.lk;
  n = ((i + s.q_start) / s.causal_block + 1) * s.causal_block;
  return n < s.lk ? n : s.lk;
}

template <typename T>
__global__ void __launch_bounds__ (QUERIES *WARP)
attention (T *o, const T *q, const T *k, const T *v, Shape s)
{
  extern __shared__ float shared[];
  int d = (int) s.d, warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, pad = d + 1;
  float *keys = shared, *values = keys + KEYS * pad, *query = values + KEYS * pad + warp * d;
  gint64 head = blockIdx.y, i = (gint64) blockIdx.x * QUERIES + warp;
  gint64 last = (gint64) blockIdx.x * QUERIES + QUERIES - 1;
  gint64 n_visible = i < s.lq ? visible (s, i) : 0;
  gint64 max_visible = visible (s, last < s.lq ? last : s.lq - 1);
  bool ok = !s.valid || (i < s.lq && s.valid[i]);
  float acc[MAX_D / WARP], max = -INFINITY, sum = 0;

#pragma unroll
  for (int c = 0; c < MAX_D / WARP; c++)
    acc[c] = 0;
  for (int c = lane; c < d; c += WARP)
    query[c] = i < s.lq ? to_float (q[i * s.q[0] + head * s.q[1] + c]) * s.scale : 0.f;
  for (gint64 k0 = 0; k0 < max_visible; k0 += KEYS) {
    float score = 0, tile_max, p, rescale;
    gint64 j = k0 + lane;

    __syncthreads ();
    for (int c = threadIdx.x; c < KEYS * d; c += blockDim.x) {
      int row = c / d, column = c % d;
      bool inside = k0 + row < s.lk;

      keys[row * pad + column]
          = inside ? to_float (k[(k0 + row) * s.k[0] + head * s.k[1] + column]) : 0.f;
      values[row * pad + column]
          = inside ? to_float (v[(k0 + row) * s.v[0] + head * s.v[1] + column]) : 0.f;
    }
    __syncthreads ();
    for (int c = 0; c < d; c++)
      score += query[c] * keys[lane * pad + c];
    if (j >= n_visible || (s.valid && j != 0 && !(ok && s.valid[j])))
      score = -INFINITY;
    tile_max = fmaxf (max, warp_max (score));
    if (tile_max == -INFINITY)
      continue; /* the query, which is the warp's, sees no key of this tile */
    p = expf (score - tile_max);
    rescale = expf (max - tile_max);
    max = tile_max;
    sum = sum * rescale + warp_sum (p);
#pragma unroll
    for (int c = 0; c < MAX_D / WARP; c++)
      acc[c] *= rescale;
    for (int key = 0; key < KEYS; key++) {
      float weight = __shfl_sync (FULL, p, key);

#pragma unroll
      for (int c = 0; c < MAX_D / WARP; c++)
        if (c * WARP + lane < d)
          acc[c] += weight * values[key * pad + c * WARP + lane];
    }
  }
  if (i >= s.lq)
    return;
#pragma unroll
  for (int c = 0; c < MAX_D / WARP; c++)
    if (c * WARP + lane < d)
      o[i * s.o[0] + head * s.o[1] + c * WARP + lane] = from_float<T> (acc[c] / sum);
}

extern "C" cudaError_t
avatar_kernel_attention (cudaStream_t stream, const AvatarAttention *a)
{
  const AvatarTensor o = a->o, q = a->q, k = a->k, v = a->v;
  Shape s = { q.shape[0], k.shape[0], q.shape[2], { q.stride[0], q.stride[1] },
    { k.stride[0], k.stride[1] }, { v.stride[0], v.stride[1] }, { o.stride[0], o.stride[1] },
    a->causal_block, a->q_start, a->valid.rank ? (const guint8 *) a->valid.data : nullptr,
    (float) a->scale };
  size_t bytes = (2 * KEYS * (s.d + 1) + QUERIES * s.d) * sizeof (float);

  if (s.lq == 0)
    return cudaSuccess;
  if (s.d > MAX_D || q.shape[1] > 65535)
    return cudaErrorInvalidValue;
  return DISPATCH_FLOAT (q.dtype, T, [&] () {
    cudaError_t status = cudaFuncSetAttribute ((const void *) attention<T>,
        cudaFuncAttributeMaxDynamicSharedMemorySize, (int) bytes);

    if (status != cudaSuccess)
      return status;
    attention<T><<<dim3 (blocks_for (s.lq, QUERIES), (unsigned) q.shape[1]), QUERIES * WARP, bytes,
        stream>>> ((T *) o.data, (const T *) q.data, (const T *) k.data, (const T *) v.data, s);
    return cudaGetLastError ();
  });
}

/* Frame attention: one block per FRAME_QUERIES queries of a frame, with the frame's keys and values
 * in shared memory; one warp per query. */
#define FRAME_WARPS 8
#define FRAME_QUERIES 64
#define FRAME_MAX_D AVATAR_CUDA_MAX_FRAME_WIDTH
#define FRAME_MAX_N AVATAR_CUDA_MAX_FRAME_KEYS

struct Frame
{
  gint64 rows, d, n;
  gint64 q[2], k[2], v[2], o[2];
  float scale;
};

template <typename T>
__global__ void __launch_bounds__ (FRAME_WARPS *WARP)
frame_attention (T *o, const T *q, const T *k, const T *v, Frame f)
{
  extern __shared__ char frame_shared[];
  T *keys = (T *) frame_shared, *values = keys + f.n * f.d;
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, d = (int) f.d, n = (int) f.n;
  gint64 t = blockIdx.y, first = (gint64) blockIdx.x * FRAME_QUERIES;
  gint64 end = first + FRAME_QUERIES < f.rows ? first + FRAME_QUERIES : f.rows;

  for (int i = threadIdx.x; i < n * d; i += blockDim.x) {
    keys[i] = k[t * f.k[0] + i / d * f.k[1] + i % d];
    values[i] = v[t * f.v[0] + i / d * f.v[1] + i % d];
  }
  __syncthreads ();
  for (gint64 r = first + warp; r < end; r += FRAME_WARPS) {
    const T *query = q + t * f.q[0] + r * f.q[1];
    float qs[FRAME_MAX_D / WARP], scores[FRAME_MAX_N], max = -INFINITY, sum = 0;

#pragma unroll
    for (int c = 0; c < FRAME_MAX_D / WARP; c++)
      qs[c] = c * WARP + lane < d ? to_float (query[c * WARP + lane]) * f.scale : 0.f;
#pragma unroll
    for (int j = 0; j < FRAME_MAX_N; j++) {
      float dot = 0;

      if (j >= n)
        break;
#pragma unroll
      for (int c = 0; c < FRAME_MAX_D / WARP; c++)
        if (c * WARP + lane < d)
          dot += qs[c] * to_float (keys[j * d + c * WARP + lane]);
      scores[j] = warp_sum (dot);
      max = fmaxf (max, scores[j]);
    }
#pragma unroll
    for (int j = 0; j < FRAME_MAX_N; j++)
      if (j < n) {
        scores[j] = expf (scores[j] - max);
        sum += scores[j];
      }
#pragma unroll
    for (int c = 0; c < FRAME_MAX_D / WARP; c++) {
      float acc = 0;

      if (c * WARP + lane >= d)
        break;
#pragma unroll
      for (int j = 0; j < FRAME_MAX_N; j++)
        if (j < n)
          acc += scores[j] * to_float (values[j * d + c * WARP + lane]);
      o[t * f.o[0] + r * f.o[1] + c * WARP + lane] = from_float<T> (acc / sum);
    }
  }
}

/* The same for a width of VECTORS * 256 and at most FEW keys. A warp holds two queries in
 * registers, so that each key and value is read once for both. */
#define FEW 16

template <typename T, int VECTORS>
__global__ void __launch_bounds__ (FRAME_WARPS *WARP)
frame_attention_pairs (T *o, const T *q, const T *k, const T *v, Frame f)
{
  extern __shared__ char frame_shared[];
  const int d = VECTORS * 256;
  Eight<T> *keys = (Eight<T> *) frame_shared, *values = keys + f.n * (d / 8);
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n = (int) f.n;
  gint64 t = blockIdx.y, first = (gint64) blockIdx.x * FRAME_QUERIES;
  gint64 end = first + FRAME_QUERIES < f.rows ? first + FRAME_QUERIES : f.rows;

  for (int i = threadIdx.x; i < n * (d / 8); i += blockDim.x) {
    gint64 row = i / (d / 8), at = i % (d / 8) * 8;

    keys[i] = *reinterpret_cast<const Eight<T> *> (k + t * f.k[0] + row * f.k[1] + at);
    values[i] = *reinterpret_cast<const Eight<T> *> (v + t * f.v[0] + row * f.v[1] + at);
  }
  __syncthreads ();
  for (gint64 r = first + 2 * warp; r < end; r += 2 * FRAME_WARPS) {
    gint64 rows[2] = { r, r + 1 < end ? r + 1 : r };
    float a[2][VECTORS][8], scores[2][FEW], sum[2] = { 0, 0 };

#pragma unroll
    for (int p = 0; p < 2; p++)
#pragma unroll
      for (int i = 0; i < VECTORS; i++)
        load8 (a[p][i], q + t * f.q[0] + rows[p] * f.q[1] + (i * WARP + lane) * 8);
#pragma unroll
    for (int j = 0; j < FEW; j++) {
      float dot[2] = { 0, 0 };

      if (j < n)
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
          Eight<T> e = keys[j * (d / 8) + i * WARP + lane];

#pragma unroll
          for (int c = 0; c < 8; c++) {
            dot[0] += a[0][i][c] * to_float (e.v[c]);
            dot[1] += a[1][i][c] * to_float (e.v[c]);
          }
        }
#pragma unroll
      for (int p = 0; p < 2; p++)
        scores[p][j] = j < n ? warp_sum (dot[p]) * f.scale : -INFINITY;
    }
#pragma unroll
    for (int p = 0; p < 2; p++) {
      float max = -INFINITY;

#pragma unroll
      for (int j = 0; j < FEW; j++)
        max = fmaxf (max, scores[p][j]);
#pragma unroll
      for (int j = 0; j < FEW; j++) {
        scores[p][j] = expf (scores[p][j] - max);
        sum[p] += scores[p][j];
      }
#pragma unroll
      for (int i = 0; i < VECTORS; i++)
#pragma unroll
        for (int c = 0; c < 8; c++)
          a[p][i][c] = 0;
    }
#pragma unroll
    for (int j = 0; j < FEW; j++)
      if (j < n)
#pragma unroll
        for (int i = 0; i < VECTORS; i++) {
          Eight<T> e = values[j * (d / 8) + i * WARP + lane];

#pragma unroll
          for (int c = 0; c < 8; c++) {
            a[0][i][c] += scores[0][j] * to_float (e.v[c]);
            a[1][i][c] += scores[1][j] * to_float (e.v[c]);
          }
        }
#pragma unroll
    for (int p = 0; p < 2; p++)
#pragma unroll
      for (int i = 0; i < VECTORS; i++) {
#pragma unroll
        for (int c = 0; c < 8; c++)
          a[p][i][c] /= sum[p];
        store8 (o + t * f.o[0] + rows[p] * f.o[1] + (i * WARP + lane) * 8, a[p][i]);
      }
  }
}

extern "C" cudaError_t
avatar_kernel_frame_attention (cudaStream_t stream, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale)
{
  Frame f = { q.shape[1], q.shape[2], k.shape[1], { q.stride[0], q.stride[1] },
    { k.stride[0], k.stride[1] }, { v.stride[0], v.stride[1] }, { o.stride[0], o.stride[1] },
    (float) scale };
  size_t bytes = 2 * f.n * f.d * avatar_dtype_size (q.dtype);
  bool pairs = f.d == 1024 && f.n <= FEW && by_eight (q, f.d) && by_eight (k, f.d)
      && by_eight (v, f.d) && by_eight (o, f.d);

  if (q.shape[0] == 0 || f.rows == 0)
    return cudaSuccess;
  if (f.d > FRAME_MAX_D || f.n > FRAME_MAX_N || bytes > 96 * 1024 || q.shape[0] > 65535)
    return cudaErrorInvalidValue;
  return DISPATCH_FLOAT (q.dtype, T, [&] () {
    auto *kernel = pairs ? frame_attention_pairs<T, 4> : frame_attention<T>;
    cudaError_t status = cudaFuncSetAttribute ((const void *) kernel,
        cudaFuncAttributeMaxDynamicSharedMemorySize, (int) bytes);

    if (status != cudaSuccess)
      return status;
    kernel<<<dim3 (blocks_for (f.rows, FRAME_QUERIES), (unsigned) q.shape[0]), FRAME_WARPS * WARP,
        bytes, stream>>> ((T *) o.data, (const T *) q.data, (const T *) k.data,
        (const T *) v.data, f);
    return cudaGetLastError ();
  });
}

#define SOFTMAX_THREADS 512

/* Returns the sum, or the maximum, of v over a block. */
__device__ float
block_reduce (float v, bool sum)
{
  __shared__ float parts[SOFTMAX_THREADS / WARP];
  int warp = threadIdx.x / WARP;

  v = sum ? warp_sum (v) : warp_max (v);
  __syncthreads ();
  if (threadIdx.x % WARP == 0)
    parts[warp] = v;
  __syncthreads ();
  v = parts[0];
  for (int i = 1; i < SOFTMAX_THREADS / WARP; i++)
    v = sum ? v + parts[i] : fmaxf (v, parts[i]);
  return v;
}

/* One block per row. */
__global__ void
softmax (__half *y, const float *x, gint64 n, gint64 ldy, gint64 ldx, float scale)
{
  float max = -INFINITY, sum = 0;

  y += blockIdx.x * ldy;
  x += blockIdx.x * ldx;
  for (gint64 i = threadIdx.x; i < n; i += SOFTMAX_THREADS)
    max = fmaxf (max, x[i]);
  max = block_reduce (max, false);
  for (gint64 i = threadIdx.x; i < n; i += SOFTMAX_THREADS)
    sum += __expf ((x[i] - max) * scale);
  sum = block_reduce (sum, true);
  for (gint64 i = threadIdx.x; i < n; i += SOFTMAX_THREADS)
    y[i] = __float2half_rn (__expf ((x[i] - max) * scale) / sum);
}

extern "C" cudaError_t
avatar_kernel_softmax (cudaStream_t stream, AvatarTensor y, AvatarTensor x, double scale)
{
  softmax<<<(unsigned) x.shape[0], SOFTMAX_THREADS, 0, stream>>> ((__half *) y.data,
      (const float *) x.data, x.shape[1], y.stride[0], x.stride[0], (float) scale);
  return cudaGetLastError ();
}
