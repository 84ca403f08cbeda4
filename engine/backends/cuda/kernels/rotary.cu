/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of language models: RMS norm of whole rows, rotary embedding of the two halves of a
 * head, and the SiLU product. They process a few hundred rows while weights are being copied, so
 * simple kernels are fast enough. */
#include "engine/backends/cuda/kernels/common.cuh"

#define THREADS 256

/* One block per row. */
template <typename TY, typename TX>
__global__ void __launch_bounds__ (THREADS)
rms_norm (TY *y, const TX *x, Vector w, gint64 n, gint64 ldy, gint64 ldx, float eps)
{
  __shared__ float sums[THREADS / WARP];
  int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
  float sum = 0, factor;

  y += blockIdx.x * ldy;
  x += blockIdx.x * ldx;
  for (gint64 i = threadIdx.x; i < n; i += THREADS) {
    float v = to_float (x[i]);

    sum += v * v;
  }
  sum = warp_sum (sum);
  if (lane == 0)
    sums[warp] = sum;
  __syncthreads ();
  /* Every warp adds up the partial sums itself, in the same order. */
  sum = warp_sum (lane < THREADS / WARP ? sums[lane] : 0.f);
  factor = rsqrtf (sum / n + eps);
  for (gint64 i = threadIdx.x; i < n; i += THREADS)
    y[i] = from_float<TY> (to_float (x[i]) * factor * w.at (i));
}

extern "C" cudaError_t
avatar_kernel_rms_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    double eps)
{
  gint64 m = x.shape[0], n = x.shape[1];

  if (m == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (x.dtype, TX, [&] () {
    return DISPATCH_FLOAT (y.dtype, TY, [&] () {
      rms_norm<TY, TX><<<(unsigned) m, THREADS, 0, stream>>> ((TY *) y.data, (const TX *) x.data,
          vector_of (w), n, y.stride[0], x.stride[0], (float) eps);
      return cudaGetLastError ();
    });
  });
}

/* One block per row of all heads, one thread per pair. */
template <typename T>
__global__ void
rope_half (T *x, const float *cos, const float *sin, int heads, int half, gint64 stride_l,
    gint64 stride_h, gint64 stride_c, gint64 stride_s)
{
  gint64 l = blockIdx.x;

  for (int i = threadIdx.x; i < heads * half; i += blockDim.x) {
    T *p = x + l * stride_l + i / half * stride_h + i % half;
    float c = cos[l * stride_c + i % half], s = sin[l * stride_s + i % half];
    float a = to_float (p[0]), b = to_float (p[half]);

    p[0] = from_float<T> (a * c - b * s);
    p[half] = from_float<T> (b * c + a * s);
  }
}

extern "C" cudaError_t
avatar_kernel_rope_half (cudaStream_t stream, AvatarTensor x, AvatarTensor cos, AvatarTensor sin)
{
  gint64 rows = x.shape[0];

  if (rows == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (x.dtype, T, [&] () {
    rope_half<T><<<(unsigned) rows, THREADS, 0, stream>>> ((T *) x.data, (const float *) cos.data,
        (const float *) sin.data, (int) x.shape[1], (int) x.shape[2] / 2, x.stride[0], x.stride[1],
        cos.stride[0], sin.stride[0]);
    return cudaGetLastError ();
  });
}

template <typename T>
__global__ void
silu_product (T *y, const T *x, gint64 n, gint64 ldy, gint64 ldx)
{
  for (gint64 c = threadIdx.x; c < n; c += blockDim.x) {
    T *p = y + blockIdx.x * ldy + c;

    *p = from_float<T> (
        activate (to_float (*p), AVATAR_ACT_SILU) * to_float (x[blockIdx.x * ldx + c]));
  }
}

extern "C" cudaError_t
avatar_kernel_silu_product (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  gint64 m = y.shape[0], n = y.shape[1];

  if (m == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (y.dtype, T, [&] () {
    silu_product<T><<<(unsigned) m, THREADS, 0, stream>>> ((T *) y.data, (const T *) x.data, n,
        y.stride[0], x.stride[0]);
    return cudaGetLastError ();
  });
}
