/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decoded pictures: blending of tiles, and conversion to bytes. */
#include "engine/backends/cuda/kernels/common.cuh"

#define THREADS 256

struct Blend
{
  __half *y;
  const __half *before;
  gint64 shape[4], ys[3], bs[3]; /* strides of y and of before */
  int dim;
};

/* One thread per value. Rounds after every operation, as upstream does. */
__global__ void
blend (Blend b, gint64 n)
{
  gint64 i = (gint64) blockIdx.x * THREADS + threadIdx.x, rest = i, at[4], from = 0, to = 0;
  float weight;
  __half lower, upper;

  if (i >= n)
    return;
  for (int d = 3; d >= 0; d--) {
    at[d] = rest % b.shape[d];
    rest /= b.shape[d];
  }
  for (int d = 0; d < 3; d++) {
    to += at[d] * b.ys[d];
    from += at[d] * b.bs[d];
  }
  weight = (float) at[b.dim] / b.shape[b.dim];
  lower = __float2half_rn (__half2float (b.before[from + at[3]]) * (1 - weight));
  upper = __float2half_rn (__half2float (b.y[to + at[3]]) * weight);
  b.y[to + at[3]] = __float2half_rn (__half2float (lower) + __half2float (upper));
}

extern "C" cudaError_t
avatar_kernel_blend (cudaStream_t stream, AvatarTensor y, AvatarTensor before, guint dim)
{
  Blend b = { (__half *) y.data, (const __half *) before.data };
  gint64 n = avatar_tensor_n (y);

  if (y.dtype != AVATAR_F16)
    return cudaErrorInvalidValue;
  if (n == 0)
    return cudaSuccess;
  b.dim = (int) dim;
  for (int i = 0; i < 4; i++)
    b.shape[i] = y.shape[i];
  for (int i = 0; i < 3; i++) {
    b.ys[i] = y.stride[i];
    b.bs[i] = before.stride[i];
  }
  blend<<<blocks_for (n, THREADS), THREADS, 0, stream>>> (b, n);
  return cudaGetLastError ();
}

struct Pixels
{
  guint8 *y;
  const __half *x;
  int h, w;
  gint64 size; /* bytes of a frame */
  AvatarPixelFormat format;
  bool cosited, upstream_rounding;
  AvatarPixelMatrix m;
  int *bad;
};

__device__ __forceinline__ guint8
byte (float v)
{
  return (guint8) min (max (__float2int_rn (v), 0), 255);
}

__device__ __forceinline__ float
weigh (const float factors[3], const float *colour)
{
  return factors[0] * colour[0] + factors[1] * colour[1] + factors[2] * colour[2];
}

/* Reads the colour of a pixel and maps it from -1 .. 1 to 0 .. 2, clamped. */
__device__ __forceinline__ void
read_colour (const Pixels &k, int x, int y, float colour[3])
{
  const __half *pixel = k.x + (((gint64) blockIdx.y * k.h + y) * k.w + x) * 3;

  for (int c = 0; c < 3; c++) {
    float v = __half2float (pixel[c]);

    if (!isfinite (v))
      *k.bad = 1;
    if (k.upstream_rounding) {
      /* Rounds as upstream does: (v / 2 + 0.5).clamp (0, 1) in float16, 255 v truncated. */
      v = __half2float (__float2half_rn (v / 2));
      v = __half2float (__float2half_rn (v + 0.5f));
      colour[c] = floorf (fminf (fmaxf (v, 0.f), 1.f) * 255.f) / 127.5f;
    } else {
      colour[c] = fminf (fmaxf (v, -1.f), 1.f) + 1.f;
    }
  }
}

/* One thread per cell of 2 x 2 pixels. */
__global__ void
to_bytes (Pixels k)
{
  int cell = blockIdx.x * THREADS + threadIdx.x, cells = k.w / 2 * (k.h / 2);
  int x = cell % (k.w / 2) * 2, y = cell / (k.w / 2) * 2;
  guint8 *out = k.y + blockIdx.y * k.size, *chroma = out + (gint64) k.h * k.w;
  float mean[3] = { 0 };

  if (cell >= cells)
    return;
  /* The column to the left of the cell contributes to chroma only. */
  for (int i = k.cosited ? -1 : 0; i < 2; i++)
    for (int row = 0; row < 2; row++) {
      float colour[3], weight = k.cosited ? (i == 0 ? 0.25f : 0.125f) : 0.25f;
      gint64 p = (gint64) (y + row) * k.w + x + i;

      read_colour (k, max (x + i, 0), y + row, colour);
      for (int c = 0; c < 3; c++)
        mean[c] += weight * colour[c];
      if (i < 0)
        continue;
      if (k.format == AVATAR_PIXEL_FORMAT_RGB)
        for (int c = 0; c < 3; c++)
          out[p * 3 + c] = byte (colour[c] * 127.5f);
      else
        out[p] = byte (k.m.y_offset + weigh (k.m.y, colour));
    }
  if (k.format == AVATAR_PIXEL_FORMAT_NV12) {
    chroma[cell * 2] = byte (128 + weigh (k.m.u, mean));
    chroma[cell * 2 + 1] = byte (128 + weigh (k.m.v, mean));
  } else if (k.format == AVATAR_PIXEL_FORMAT_I420) {
    chroma[cell] = byte (128 + weigh (k.m.u, mean));
    chroma[cells + cell] = byte (128 + weigh (k.m.v, mean));
  }
}

extern "C" cudaError_t
avatar_kernel_to_bytes (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const AvatarPixels *pixels, const AvatarPixelMatrix *matrix, AvatarTensor bad)
{
  Pixels k = { (guint8 *) y.data, (const __half *) x.data, (int) x.shape[1], (int) x.shape[2],
    (gint64) avatar_pixels_size (pixels->format, x.shape[1], x.shape[2]), pixels->format,
    pixels->cosited && pixels->format != AVATAR_PIXEL_FORMAT_RGB,
    pixels->upstream_rounding != FALSE, *matrix, (int *) bad.data };
  dim3 grid (blocks_for (x.shape[1] * x.shape[2] / 4, THREADS), (unsigned) x.shape[0]);

  if (x.shape[0] == 0)
    return cudaSuccess;
  if (x.dtype != AVATAR_F16 || grid.y > 65535)
    return cudaErrorInvalidValue;
  to_bytes<<<grid, THREADS, 0, stream>>> (k);
  return cudaGetLastError ();
}
