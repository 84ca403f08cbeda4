/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention for compute capability 9.0: one warp copies tiles of keys and values by TMA, and
 * warpgroups multiply with wgmma. The query blocks of a thread block share the tiles; each skips
 * those that are not exact for it. While a warpgroup computes the softmax of a tile, its product
 * with the values of the previous tile runs. */
#include "engine/backends/cuda/kernels/sparse.cuh"
#include "engine/backends/cuda/workspace.h"

#include <cuda.h>

#define GROUP 128 /* threads of a warpgroup */
/* Bytes of 64 columns of a tile: TMA and the descriptors of wgmma treat them as one matrix. */
#define HALF (SPARSE_B * 64 * 2)
#define TILE (2 * HALF)
#define MAX_WAIT 0x989680u

/* Blocks of queries of a thread block. With three, registers are spilled, and it takes 1.7 times as
 * long. */
#define QUERY_BLOCKS 2
/* Registers per thread: the copying warpgroup returns what the others need. */
#define CONSUMER_REGISTERS 240
#define PRODUCER_REGISTERS 24

/* Stages of shared memory, with keys and values of one tile each. */
#define STAGES 5

struct SparseMaps
{
  CUtensorMap q, k, v, mean_k, mean_v;
};

#ifdef AVATAR_CUDA_WGMMA
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define WGMMA 1
#endif
#endif

/* ----------------------------------------------------------------- barriers and copies */

__device__ __forceinline__ uint32_t
shared_address (const void *p)
{
  return (uint32_t) __cvta_generic_to_shared (p);
}

__device__ __forceinline__ void
barrier_init (uint32_t barrier, int count)
{
  asm volatile ("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}

__device__ __forceinline__ void
barrier_expect (uint32_t barrier, int bytes)
{
  asm volatile ("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
                : "memory");
}

__device__ __forceinline__ void
barrier_arrive (uint32_t barrier)
{
  asm volatile ("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

__device__ __forceinline__ void
barrier_wait (uint32_t barrier, int phase)
{
  uint32_t done = 0;

  while (!done)
    asm volatile ("{\n"
                  ".reg .pred p;\n"
                  "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2, %3;\n"
                  "selp.u32 %0, 1, 0, p;\n"
                  "}"
                  : "=r"(done)
                  : "r"(barrier), "r"(phase), "r"(MAX_WAIT)
                  : "memory");
}

/* Copies 64 rows from @row on and 64 columns from @column on of a head. */
__device__ __forceinline__ void
copy_half (uint32_t to, const CUtensorMap *map, int column, int head, int row, uint32_t barrier)
{
  asm volatile (
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4}], [%5];" ::"r"(to),
      "l"(map), "r"(column), "r"(head), "r"(row), "r"(barrier)
      : "memory");
}

__device__ __forceinline__ void
copy_tile (uint32_t to, const CUtensorMap *map, int head, int row, uint32_t barrier)
{
  copy_half (to, map, 0, head, row, barrier);
  copy_half (to + HALF, map, 64, head, row, barrier);
}

/* ------------------------------------------------------------------------------- wgmma */

/* Returns the descriptor of a matrix in shared memory whose rows have 128 bytes, swizzled, with 8
 * rows per kilobyte. @leading: distance of 64 columns, for a matrix that is read by columns */
__device__ __forceinline__ uint64_t
descriptor (uint32_t address, int leading)
{
  return (uint64_t) 1 << 62 | (uint64_t) (1024 >> 4) << 32 | (uint64_t) (leading >> 4) << 16
      | (address & 0x3ffff) >> 4;
}

__device__ __forceinline__ void
wgmma_begin ()
{
#ifdef WGMMA
  asm volatile ("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

__device__ __forceinline__ void
wgmma_commit ()
{
#ifdef WGMMA
  asm volatile ("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

template <int N>
__device__ __forceinline__ void
wgmma_wait ()
{
#ifdef WGMMA
  asm volatile ("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
#endif
}

/* Keeps the compiler from moving accesses of @x across the point. */
template <int N>
__device__ __forceinline__ void
keep (float (&x)[N])
{
#pragma unroll
  for (int i = 0; i < N; i++)
    asm volatile ("" : "+f"(x[i])::"memory");
}

#define F4(x, i) "+f"(x[i]), "+f"(x[i + 1]), "+f"(x[i + 2]), "+f"(x[i + 3])
#define F16(x, i) F4 (x, i), F4 (x, i + 4), F4 (x, i + 8), F4 (x, i + 12)

/* s [64, 64] = a b^T, or += if @add; 16 columns of a and of b, both from shared memory. */
__device__ __forceinline__ void
wgmma_scores (float (&s)[32], uint64_t a, uint64_t b, int add)
{
#ifdef WGMMA
  asm volatile (
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %34, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "
      "%32, %33, p, 1, 1, 0, 0;\n"
      "}"
      : F16 (s, 0), F16 (s, 16)
      : "l"(a), "l"(b), "r"(add));
#endif
}

/* o [64, 128] += p b; 16 columns of p, in registers, and 16 rows of b. */
__device__ __forceinline__ void
wgmma_output (float (&o)[64], const uint32_t *p, uint64_t b)
{
#ifdef WGMMA
  asm volatile (
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, 1, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, p, 1, 1, 1;\n"
      "}"
      : F16 (o, 0), F16 (o, 16), F16 (o, 32), F16 (o, 48)
      : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(b));
#endif
}

/* Starts scores = queries times keys. */
__device__ __forceinline__ void
start_scores (float (&s)[32], uint32_t queries, uint32_t keys)
{
#pragma unroll
  for (int step = 0; step < SPARSE_D / 16; step++) {
    int offset = step / 4 * HALF + step % 4 * 32;

    wgmma_scores (s, descriptor (queries + offset, 16), descriptor (keys + offset, 16), step > 0);
  }
  wgmma_commit ();
}

/* Starts acc += weights times values. */
__device__ __forceinline__ void
start_output (float (&acc)[64], const uint32_t (&p)[16], uint32_t values)
{
#pragma unroll
  for (int step = 0; step < SPARSE_B / 16; step++)
    wgmma_output (acc, p + 4 * step, descriptor (values + step * 16 * 128, HALF));
  wgmma_commit ();
}

/* -------------------------------------------------------------------------------- kernel */

/* Addresses in shared memory. */
struct Shared
{
  uint32_t queries, stages, full, empty, ready;
};

/* A position in the ring of stages. */
struct Ring
{
  int stage, phase;

  __device__ __forceinline__ void
  next ()
  {
    if (++stage == STAGES) {
      stage = 0;
      phase ^= 1;
    }
  }
};

template <int N>
__device__ __forceinline__ void
produce (const SparseMaps &maps, SparseTiles<N> tile, const Shared &at, int head, int first)
{
  Ring ring = { 0, 1 };

  barrier_expect (at.ready, N * TILE);
  for (int i = 0; i < N; i++)
    copy_tile (at.queries + i * TILE, &maps.q, head, (first + i) * SPARSE_B, at.ready);
  while (tile.next ()) {
    uint32_t to = at.stages + ring.stage * 2 * TILE, full = at.full + ring.stage * 8;
    int row = (tile.exact ? tile.block : tile.word) * SPARSE_B;

    barrier_wait (at.empty + ring.stage * 8, ring.phase);
    barrier_expect (full, 2 * TILE);
    copy_tile (to, tile.exact ? &maps.k : &maps.mean_k, head, row, full);
    copy_tile (to + TILE, tile.exact ? &maps.v : &maps.mean_v, head, row, full);
    ring.next ();
  }
}

/* Tiles that a warpgroup may skip in a row. It still holds the stage of the tile before, whose
 * values are multiplied with the next tile's keys; the copying warp must not run out of stages. */
#define MAX_SKIPS (STAGES - 3)

/* Gives a stage back. Every warp does so for itself, so that none finds a barrier two phases on. */
__device__ __forceinline__ void
release (const Shared &at, int stage)
{
  __syncwarp ();
  if (threadIdx.x % WARP == 0)
    barrier_arrive (at.empty + stage * 8);
}

/* Goes to the next tile that the warpgroup multiplies, and releases those in between. Returns
 * false after the last. @hidden: (out): the tile is not exact for its queries and must be masked */
template <int N>
__device__ __forceinline__ bool
next_tile (SparseTiles<N> &tile, Ring &ring, const Shared &at, int own, bool *hidden)
{
  for (int skipped = 0;; skipped++) {
    ring.next ();
    if (!tile.next ())
      return false;
    *hidden = tile.exact && !(tile.own (own) >> (tile.block % 64) & 1);
    barrier_wait (at.full + ring.stage * 8, ring.phase);
    if (!*hidden || skipped == MAX_SKIPS)
      return true;
    release (at, ring.stage);
  }
}

template <int N>
__device__ __forceinline__ void
consume (SparseTiles<N> tile, const SparseShape &s, const Shared &at, int own, float (&acc)[64],
    float (&sum)[2])
{
  float max[2] = { -INFINITY, -INFINITY }, scores[32], rescale[2];
  uint32_t p[16], queries = at.queries + own * TILE;
  Ring ring = { 0, 0 };
  int before = 0; /* stage of the values that are still to be multiplied */
  bool hidden;

  tile.next ();
  barrier_wait (at.ready, 0);
  barrier_wait (at.full, 0);
  wgmma_begin ();
  start_scores (scores, queries, at.stages);
  wgmma_wait<0> ();
  keep (scores);
  sparse_mask (scores, tile, own, s);
  sparse_softmax (scores, max, sum, rescale, s.scale2);
  sparse_weights (p, scores);
  while (next_tile (tile, ring, at, own, &hidden)) {
    keep (acc);
    wgmma_begin ();
    start_scores (scores, queries, at.stages + ring.stage * 2 * TILE);
    start_output (acc, p, at.stages + before * 2 * TILE + TILE);
    wgmma_wait<1> ();
    keep (scores);
    sparse_mask (scores, tile, own, s);
    if (hidden)
      sparse_mask_end (scores, 0);
    sparse_softmax (scores, max, sum, rescale, s.scale2);
    wgmma_wait<0> ();
    keep (acc);
    release (at, before);
    sparse_rescale (acc, rescale);
    sparse_weights (p, scores);
    before = ring.stage;
  }
  keep (acc);
  wgmma_begin ();
  start_output (acc, p, at.stages + before * 2 * TILE + TILE);
  wgmma_wait<0> ();
  keep (acc);
}

template <int N>
__global__ void __launch_bounds__ ((N + 1) * GROUP, 1)
sparse_attention_hopper (const __grid_constant__ SparseMaps maps, __nv_bfloat16 *o, gint64 so0,
    gint64 so1, const uint64_t *bits, SparseShape s)
{
#ifdef WGMMA
  extern __shared__ __align__ (1024) char sparse_shared[];
  uint32_t base = shared_address (sparse_shared);
  uint64_t *barriers = (uint64_t *) (sparse_shared + (N + 2 * STAGES) * TILE);
  uint64_t *words = barriers + 2 * STAGES + 1;
  int head = blockIdx.y, first = blockIdx.x * N, group = threadIdx.x / GROUP;
  Shared at = { base, base + N * TILE, shared_address (barriers),
    shared_address (barriers + STAGES), shared_address (barriers + 2 * STAGES) };

  if (threadIdx.x == 0) {
    for (int i = 0; i < STAGES; i++) {
      barrier_init (at.full + i * 8, 1);
      barrier_init (at.empty + i * 8, N * GROUP / WARP);
    }
    barrier_init (at.ready, 1);
    asm volatile ("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  for (int i = threadIdx.x; i < N * s.words; i += (N + 1) * GROUP) {
    int row = first + i / s.words;

    words[i] = row < s.q_blocks
        ? bits[((gint64) head * s.q_blocks + row) * s.words + i % s.words]
        : 0;
  }
  __syncthreads ();
  SparseTiles<N> tile (words, s.words);
  if (group == N) {
    asm volatile ("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(PRODUCER_REGISTERS));
    if (threadIdx.x == N * GROUP)
      produce<N> (maps, tile, at, head, first);
  } else {
    float acc[64], sum[2] = { 0, 0 };

    asm volatile ("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(CONSUMER_REGISTERS));
#pragma unroll
    for (int i = 0; i < 64; i++)
      acc[i] = 0;
    consume<N> (tile, s, at, group, acc, sum);
    sparse_finish (sum);
    sparse_store (o + head * so1, so0, acc, sum,
        (first + group) * SPARSE_B + threadIdx.x % GROUP / WARP * 16 + threadIdx.x % WARP / 4,
        s.lq);
  }
#endif
}

/* ------------------------------------------------------------------------------ launcher */

typedef CUresult (*EncodeFunc) (CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
    const cuuint64_t *, const cuuint64_t *, const cuuint32_t *, const cuuint32_t *,
    CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/* Returns the driver's function; the driver is not linked. */
static EncodeFunc
find_encode (void)
{
  void *function = nullptr;
  cudaDriverEntryPointQueryResult result;

  if (cudaGetDriverEntryPointByVersion ("cuTensorMapEncodeTiled", &function, 12000,
          cudaEnableDefault, &result)
          != cudaSuccess
      || result != cudaDriverEntryPointSuccess)
    return nullptr;
  return (EncodeFunc) function;
}

/* Describes x [rows, heads, D] as tiles of 64 rows and 64 columns. Rows after the last read as
 * zeros. */
static bool
make_map (CUtensorMap *map, EncodeFunc encode, const void *data, gint64 rows, gint64 heads,
    gint64 row_stride, gint64 head_stride)
{
  const cuuint64_t shape[3] = { SPARSE_D, (cuuint64_t) heads, (cuuint64_t) rows };
  const cuuint64_t strides[2] = { (cuuint64_t) head_stride * 2, (cuuint64_t) row_stride * 2 };
  const cuuint32_t box[3] = { 64, 1, SPARSE_B }, steps[3] = { 1, 1, 1 };

  return encode (map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, const_cast<void *> (data), shape,
             strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE)
      == CUDA_SUCCESS;
}

static bool
make_maps (SparseMaps *maps, const AvatarSparseAttention *a)
{
  static const EncodeFunc encode = find_encode ();
  const AvatarTensor q = a->q, k = a->k, v = a->v;
  gint64 heads = q.shape[1], padded = a->blocks.keys.shape[1];

  return encode
      && make_map (&maps->q, encode, q.data, q.shape[0], heads, q.stride[0], q.stride[1])
      && make_map (&maps->k, encode, k.data, k.shape[0], heads, k.stride[0], k.stride[1])
      && make_map (&maps->v, encode, v.data, v.shape[0], heads, v.stride[0], v.stride[1])
      && make_map (&maps->mean_k, encode, a->blocks.keys.data, padded, heads, SPARSE_D,
          padded * SPARSE_D)
      && make_map (&maps->mean_v, encode, a->blocks.values.data, padded, heads, SPARSE_D,
          padded * SPARSE_D);
}

template <int N>
static cudaError_t
launch (cudaStream_t stream, const AvatarSparseAttention *a, const uint64_t *bits)
{
  int lq = (int) a->q.shape[0], lk = (int) a->k.shape[0];
  SparseShape s = { lq, lk, (lk + SPARSE_B - 1) / SPARSE_B, (int) a->blocks.keys.shape[1] / 64,
    (lq + SPARSE_B - 1) / SPARSE_B, (float) (a->scale * 1.4426950408889634) };
  int bytes = (N + 2 * STAGES) * TILE + (2 * STAGES + 1 + N * s.words) * 8;
  const void *kernel = (const void *) sparse_attention_hopper<N>;
  SparseMaps maps;
  cudaError_t status;

  if (!make_maps (&maps, a))
    return cudaErrorInvalidValue;
  status = cudaFuncSetAttribute (kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (status != cudaSuccess)
    return status;
  sparse_attention_hopper<N>
      <<<dim3 (blocks_for (s.q_blocks, N), (unsigned) a->q.shape[1]), (N + 1) * GROUP, bytes,
          stream>>> (maps, (__nv_bfloat16 *) a->o.data, a->o.stride[0], a->o.stride[1], bits, s);
  return cudaGetLastError ();
}

extern "C" gboolean
avatar_kernel_has_sparse_hopper (void)
{
#ifdef AVATAR_CUDA_WGMMA
  return TRUE;
#else
  return FALSE;
#endif
}

extern "C" cudaError_t
avatar_kernel_sparse_hopper (cudaStream_t stream, const AvatarSparseAttention *a,
    const guint64 *bits)
{
  return launch<QUERY_BLOCKS> (stream, a, (const uint64_t *) bits);
}
