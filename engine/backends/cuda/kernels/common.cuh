/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared helpers of the kernels: conversions, 16-byte loads and stores, reductions over a warp. */
#pragma once

#include "engine/backends/cuda/kernels/kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <stdint.h>

#define WARP 32
#define FULL 0xffffffffu

template <typename T> __device__ __forceinline__ float to_float (T v);
template <> __device__ __forceinline__ float to_float (float v) { return v; }
template <> __device__ __forceinline__ float to_float (__nv_bfloat16 v) { return __bfloat162float (v); }
template <> __device__ __forceinline__ float to_float (__half v) { return __half2float (v); }
template <> __device__ __forceinline__ float to_float (__nv_fp8_e4m3 v) { return (float) v; }
template <> __device__ __forceinline__ float to_float (int8_t v) { return v; }

template <typename T> __device__ __forceinline__ T from_float (float v);
template <> __device__ __forceinline__ float from_float (float v) { return v; }
template <> __device__ __forceinline__ __nv_bfloat16 from_float (float v) { return __float2bfloat16_rn (v); }
template <> __device__ __forceinline__ __half from_float (float v) { return __float2half_rn (v); }
template <> __device__ __forceinline__ __nv_fp8_e4m3 from_float (float v) { return __nv_fp8_e4m3 (v); }

/* Eight adjacent values, aligned to their size, at most 16 bytes. */
template <typename T> struct alignas (sizeof (T) * 8 > 16 ? 16 : sizeof (T) * 8) Eight
{
  T v[8];
};

template <typename T>
__device__ __forceinline__ void
load8 (float out[8], const T *p)
{
  Eight<T> e = *reinterpret_cast<const Eight<T> *> (p);

#pragma unroll
  for (int i = 0; i < 8; i++)
    out[i] = to_float (e.v[i]);
}

template <typename T>
__device__ __forceinline__ void
store8 (T *p, const float in[8])
{
  Eight<T> e;

#pragma unroll
  for (int i = 0; i < 8; i++)
    e.v[i] = from_float<T> (in[i]);
  *reinterpret_cast<Eight<T> *> (p) = e;
}

template <int WIDTH = WARP>
__device__ __forceinline__ float
warp_sum (float v)
{
#pragma unroll
  for (int i = WIDTH / 2; i; i /= 2)
    v += __shfl_xor_sync (FULL, v, i);
  return v;
}

__device__ __forceinline__ float
warp_max (float v)
{
#pragma unroll
  for (int i = WARP / 2; i; i /= 2)
    v = fmaxf (v, __shfl_xor_sync (FULL, v, i));
  return v;
}

__device__ __forceinline__ float
activate (float x, AvatarAct act)
{
  switch (act) {
    case AVATAR_ACT_SILU:
      return x / (1.f + __expf (-x));
    case AVATAR_ACT_RELU:
      return x < 0.f ? 0.f : x; /* propagates NaN */
    case AVATAR_ACT_GELU:
      return 0.5f * x * (1.f + erff (x * 0.70710678f));
    case AVATAR_ACT_GELU_TANH:
      return 0.5f * x * (1.f + tanhf (0.79788456f * (x + 0.044715f * x * x * x)));
    case AVATAR_ACT_QUICK_GELU:
      return x / (1.f + __expf (-1.702f * x));
    default:
      return x;
  }
}

/* A vector of float32, bfloat16 or float16; data is NULL if it is absent. */
struct Vector
{
  const void *data;
  AvatarDType dtype;

  __device__ __forceinline__ float
  at (gint64 i) const
  {
    if (dtype == AVATAR_F32)
      return ((const float *) data)[i];
    if (dtype == AVATAR_BF16)
      return to_float (((const __nv_bfloat16 *) data)[i]);
    return to_float (((const __half *) data)[i]);
  }
};

static inline Vector
vector_of (AvatarTensor t)
{
  return Vector{ t.rank ? t.data : nullptr, t.dtype };
}

/* Returns true if rows of @n values can be accessed eight values at a time. */
static inline bool
by_eight (AvatarTensor t, gint64 n)
{
  size_t size = sizeof (float) * 8;

  if (t.dtype == AVATAR_BF16 || t.dtype == AVATAR_F16)
    size = 16;
  else if (t.dtype != AVATAR_F32)
    size = 8;
  if (n % 8 || (uintptr_t) t.data % (size > 16 ? 16 : size))
    return false;
  for (guint i = 0; i + 1 < t.rank; i++)
    if (t.stride[i] % 8 && t.shape[i] > 1)
      return false;
  return true;
}

/* Returns the size of a grid whose blocks process @each of @n items. */
static inline unsigned
blocks_for (gint64 n, gint64 each)
{
  gint64 blocks = (n + each - 1) / each;

  return (unsigned) (blocks < 1 ? 1 : blocks > 0x7fffffff ? 0x7fffffff : blocks);
}

/* Calls the lambda with T defined as the C++ type of @dtype; cudaErrorInvalidValue for other
 * dtypes. */
#define DISPATCH_FLOAT(dtype, T, ...)                                                              \
  [&] () -> cudaError_t {                                                                          \
    switch (dtype) {                                                                               \
      case AVATAR_F32: {                                                                           \
        using T = float;                                                                           \
        return __VA_ARGS__ ();                                                                     \
      }                                                                                            \
      case AVATAR_BF16: {                                                                          \
        using T = __nv_bfloat16;                                                                   \
        return __VA_ARGS__ ();                                                                     \
      }                                                                                            \
      case AVATAR_F16: {                                                                           \
        using T = __half;                                                                          \
        return __VA_ARGS__ ();                                                                     \
      }                                                                                            \
      default:                                                                                     \
        return cudaErrorInvalidValue;                                                              \
    }                                                                                              \
  }()
