/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Quantisation to 8 bits, with one factor per row or per tensor, and expansion. */
#include "engine/backends/cuda/kernels/common.cuh"

#define THREADS 256
#define E4M3_MAX 448.f

/* One block per row. The row is read twice, for its largest magnitude and for its values, the
 * second time from the cache. */
template <typename T, bool EIGHT>
__global__ void
quantise (__nv_fp8_e4m3 *y, float *scale, const T *x, gint64 n, gint64 ldx)
{
  const int width = EIGHT ? 8 : 1;
  gint64 row = blockIdx.x;
  __shared__ float maxima[THREADS / WARP];
  float max = 0, factor;

  for (gint64 c = (gint64) threadIdx.x * width; c < n; c += THREADS * width) {
    float v[8];

    if (EIGHT)
      load8 (v, x + row * ldx + c);
    else
      v[0] = to_float (x[row * ldx + c]);
#pragma unroll
    for (int j = 0; j < width; j++)
      max = fmaxf (max, fabsf (v[j]));
  }
  max = warp_max (max);
  if (threadIdx.x % WARP == 0)
    maxima[threadIdx.x / WARP] = max;
  __syncthreads ();
  max = maxima[0];
#pragma unroll
  for (int i = 1; i < THREADS / WARP; i++)
    max = fmaxf (max, maxima[i]);
  if (threadIdx.x == 0)
    scale[row] = max > 0.f ? max / E4M3_MAX : 1.f;
  factor = max > 0.f ? E4M3_MAX / max : 1.f;
  for (gint64 c = (gint64) threadIdx.x * width; c < n; c += THREADS * width) {
    float v[8];

    if (EIGHT)
      load8 (v, x + row * ldx + c);
    else
      v[0] = to_float (x[row * ldx + c]);
#pragma unroll
    for (int j = 0; j < width; j++)
      v[j] *= factor;
    if (EIGHT)
      store8 (y + row * n + c, v);
    else
      y[row * n + c] = from_float<__nv_fp8_e4m3> (v[0]);
  }
}

extern "C" cudaError_t
avatar_kernel_quantise (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  gint64 m = x.shape[0], n = x.shape[1];
  bool eight = by_eight (x, n) && by_eight (y, n);

  if (m == 0)
    return cudaSuccess;
  if (y.dtype != AVATAR_F8_E4M3 || !avatar_tensor_is_contiguous (y))
    return cudaErrorInvalidValue;
  return DISPATCH_FLOAT (x.dtype, T, [&] () {
    if (eight)
      quantise<T, true><<<(unsigned) m, THREADS, 0, stream>>> ((__nv_fp8_e4m3 *) y.data, y.scale,
          (const T *) x.data, n, x.stride[0]);
    else
      quantise<T, false><<<(unsigned) m, THREADS, 0, stream>>> ((__nv_fp8_e4m3 *) y.data, y.scale,
          (const T *) x.data, n, x.stride[0]);
    return cudaGetLastError ();
  });
}

/* Finds the largest magnitude of a matrix, as the bits of a float: bits of floats that are not
 * negative have the order of the floats, so that an integer atomicMax() suffices. */
template <typename T>
__global__ void
max_magnitude (unsigned *bits, const T *x, gint64 m, gint64 n, gint64 ldx)
{
  float max = 0;

  for (gint64 r = blockIdx.x; r < m; r += gridDim.x)
    for (gint64 c = (gint64) threadIdx.x * 8; c < n; c += THREADS * 8) {
      float v[8];

      load8 (v, x + r * ldx + c);
#pragma unroll
      for (int j = 0; j < 8; j++)
        max = fmaxf (max, fabsf (v[j]));
    }
  max = warp_max (max);
  if (threadIdx.x % WARP == 0)
    atomicMax (bits, __float_as_uint (max));
}

/* @scale: [2], the factor, which is written, and the result of max_magnitude() */
template <typename T>
__global__ void
quantise_all (__nv_fp8_e4m3 *y, float *scale, const T *x, gint64 m, gint64 n, gint64 ldx)
{
  float max = scale[1], factor = max > 0.f ? E4M3_MAX / max : 1.f;

  if (blockIdx.x == 0 && threadIdx.x == 0)
    scale[0] = max > 0.f ? max / E4M3_MAX : 1.f;
  for (gint64 r = blockIdx.x; r < m; r += gridDim.x)
    for (gint64 c = (gint64) threadIdx.x * 8; c < n; c += THREADS * 8) {
      float v[8];

      load8 (v, x + r * ldx + c);
#pragma unroll
      for (int j = 0; j < 8; j++)
        v[j] *= factor;
      store8 (y + r * n + c, v);
    }
}

extern "C" cudaError_t
avatar_kernel_quantise_all (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  gint64 m = x.shape[0], n = x.shape[1];
  unsigned grid = (unsigned) MIN (m, (gint64) 4096);
  cudaError_t status;

  if (m == 0)
    return cudaSuccess;
  if (y.dtype != AVATAR_F8_E4M3 || !avatar_tensor_is_contiguous (y) || !by_eight (x, n)
      || !by_eight (y, n))
    return cudaErrorInvalidValue;
  status = cudaMemsetAsync (y.scale, 0, 2 * sizeof (float), stream);
  if (status != cudaSuccess)
    return status;
  return DISPATCH_FLOAT (x.dtype, T, [&] () {
    max_magnitude<T><<<grid, THREADS, 0, stream>>> ((unsigned *) y.scale + 1, (const T *) x.data, m, n,
        x.stride[0]);
    quantise_all<T><<<grid, THREADS, 0, stream>>> ((__nv_fp8_e4m3 *) y.data, y.scale,
        (const T *) x.data, m, n, x.stride[0]);
    return cudaGetLastError ();
  });
}

/* Multiplies rows of @n values with one factor, eight values per thread. */
template <typename T>
__global__ void
expand_all (T *y, const __nv_fp8_e4m3 *x, const float *scale, gint64 m, gint64 n, gint64 ldy)
{
  float factor = *scale;

  for (gint64 r = blockIdx.x; r < m; r += gridDim.x)
    for (gint64 c = (gint64) threadIdx.x * 8; c < n; c += THREADS * 8) {
      float v[8];

      load8 (v, x + r * n + c);
#pragma unroll
      for (int j = 0; j < 8; j++)
        v[j] *= factor;
      store8 (y + r * ldy + c, v);
    }
}

extern "C" cudaError_t
avatar_kernel_expand_all (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const float *scale)
{
  gint64 m = x.shape[0], n = x.shape[1] * x.shape[2];

  if (m == 0)
    return cudaSuccess;
  if (!avatar_tensor_is_contiguous (x) || y.stride[1] != y.shape[2] || !by_eight (x, n)
      || !by_eight (y, n))
    return cudaErrorInvalidValue;
  return DISPATCH_FLOAT (y.dtype, T, [&] () {
    expand_all<T><<<(unsigned) MIN (m, (gint64) 4096), THREADS, 0, stream>>> ((T *) y.data,
        (const __nv_fp8_e4m3 *) x.data, scale, m, n, y.stride[0]);
    return cudaGetLastError ();
  });
}

#define MAX_SCALARS 8

struct Scalars
{
  float v[MAX_SCALARS];
};

__global__ void
scalars (float *out, int stride, Scalars values, int n)
{
  if ((int) threadIdx.x < n)
    out[threadIdx.x * stride] = values.v[threadIdx.x];
}

extern "C" cudaError_t
avatar_kernel_scalars (cudaStream_t stream, float *out, int stride, const float *values, int n)
{
  Scalars all = { { 0 } };

  if (n > MAX_SCALARS)
    return cudaErrorInvalidValue;
  for (int i = 0; i < n; i++)
    all.v[i] = values[i];
  scalars<<<1, WARP, 0, stream>>> (out, stride, all, n);
  return cudaGetLastError ();
}

template <typename TY, typename TX, bool EIGHT>
__global__ void
expand (TY *y, const TX *x, const float *scale, gint64 m, gint64 n)
{
  const int width = EIGHT ? 8 : 1;

  for (gint64 r = blockIdx.x; r < m; r += gridDim.x) {
    float s = scale ? scale[r] : 1.f;

    for (gint64 c = (gint64) threadIdx.x * width; c < n; c += (gint64) blockDim.x * width) {
      float v[8];

      if (EIGHT)
        load8 (v, x + r * n + c);
      else
        v[0] = to_float (x[r * n + c]);
#pragma unroll
      for (int j = 0; j < width; j++)
        v[j] *= s;
      if (EIGHT)
        store8 (y + r * n + c, v);
      else
        y[r * n + c] = from_float<TY> (v[0]);
    }
  }
}

template <typename TX>
static cudaError_t
launch_expand (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  gint64 n = x.shape[x.rank - 1], m = avatar_tensor_n (x) / (n ? n : 1);
  bool eight = by_eight (x, n) && by_eight (y, n);
  unsigned grid = (unsigned) MIN (m, (gint64) 65535);

  return DISPATCH_FLOAT (y.dtype, TY, [&] () {
    if (eight)
      expand<TY, TX, true><<<grid, THREADS, 0, stream>>> ((TY *) y.data, (const TX *) x.data,
          x.scale, m, n);
    else
      expand<TY, TX, false><<<grid, THREADS, 0, stream>>> ((TY *) y.data, (const TX *) x.data,
          x.scale, m, n);
    return cudaGetLastError ();
  });
}

extern "C" cudaError_t
avatar_kernel_expand (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  if (avatar_tensor_n (x) == 0)
    return cudaSuccess;
  if (!avatar_tensor_is_contiguous (x) || !avatar_tensor_is_contiguous (y))
    return cudaErrorInvalidValue;
  switch (x.dtype) {
    case AVATAR_F8_E4M3:
      return launch_expand<__nv_fp8_e4m3> (stream, y, x);
    case AVATAR_I8:
      return launch_expand<int8_t> (stream, y, x);
    case AVATAR_F32:
      return launch_expand<float> (stream, y, x);
    case AVATAR_F16:
      return launch_expand<__half> (stream, y, x);
    case AVATAR_BF16:
      return launch_expand<__nv_bfloat16> (stream, y, x);
    default:
      return cudaErrorInvalidValue;
  }
}
