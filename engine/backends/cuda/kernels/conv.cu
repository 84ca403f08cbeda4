/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernels before and after cuDNN's convolutions. Before: group norm, SiLU and padding. After: bias,
 * residual, reordering of upsampled pixels, and the sums for the next norm. Values are float16 and
 * computed in float32. Partial sums are added in float64, in a fixed order. */
#include "engine/backends/cuda/kernels/common.cuh"

#include "engine/backends/cuda/conv3d.h"

#define THREADS 256
#define MAX_CHANNELS (8 * THREADS)

struct Norm
{
  const float *scale, *shift; /* nullptr if there is no norm */
  bool silu;
};

static Norm
norm_of (const AvatarNorm *norm)
{
  if (!norm)
    return Norm{ nullptr, nullptr, false };
  return Norm{ (const float *) norm->scale.data, (const float *) norm->shift.data,
    norm->silu != FALSE };
}

__device__ __forceinline__ float
normalise (const Norm &n, float v, int c)
{
  if (n.scale)
    v = fmaf (v, n.scale[c], n.shift[c]);
  return n.silu ? v / (1.f + __expf (-v)) : v;
}

struct Fill
{
  __half *to;
  const __half *from;
  int h, w, channels; /* size of an input frame */
  int padded;         /* channels of the output, a multiple of 8 */
  gint64 from_frame;  /* stride of the input frames; 0 repeats one frame */
  Norm norm;
};

/* One thread per eight channels of a padded pixel. blockIdx.y is the row, counted over all
 * frames. */
template <bool EIGHT>
__global__ void
fill (Fill f)
{
  int i = blockIdx.x * THREADS + threadIdx.x, each = f.padded / 8;
  int column = i / each, c = i % each * 8, row = blockIdx.y % (f.h + 2);
  gint64 frame = blockIdx.y / (f.h + 2);
  const __half *from;
  float v[8];

  if (column >= f.w + 2)
    return;
  from = f.from + frame * f.from_frame
      + ((gint64) min (max (row - 1, 0), f.h - 1) * f.w + min (max (column - 1, 0), f.w - 1))
          * f.channels
      + c;
  if (EIGHT) {
    load8 (v, from);
#pragma unroll
    for (int j = 0; j < 8; j++)
      v[j] = normalise (f.norm, v[j], c + j);
  } else {
    for (int j = 0; j < 8; j++)
      v[j] = c + j < f.channels ? normalise (f.norm, to_float (from[j]), c + j) : 0.f;
  }
  store8 (f.to + ((gint64) blockIdx.y * (f.w + 2) + column) * f.padded + c, v);
}

extern "C" cudaError_t
avatar_kernel_fill (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const AvatarNorm *norm)
{
  Fill f = { (__half *) y.data, (const __half *) x.data, (int) x.shape[1], (int) x.shape[2],
    (int) x.shape[3], (int) y.shape[3], x.shape[0] == y.shape[0] ? x.stride[0] : 0,
    norm_of (norm) };
  dim3 grid (blocks_for (y.shape[2] * y.shape[3] / 8, THREADS),
      (unsigned) (y.shape[0] * y.shape[1]));

  if (grid.y > 65535)
    return cudaErrorInvalidValue;
  if (x.shape[3] % 8 == 0)
    fill<true><<<grid, THREADS, 0, stream>>> (f);
  else
    fill<false><<<grid, THREADS, 0, stream>>> (f);
  return cudaGetLastError ();
}

/* Applies a norm to @n groups of eight channels. */
__global__ void
apply (__half *y, const __half *x, gint64 n, int channels, Norm norm)
{
  for (gint64 i = (gint64) blockIdx.x * THREADS + threadIdx.x; i < n;
       i += (gint64) gridDim.x * THREADS) {
    int c = (int) (i % (channels / 8)) * 8;
    float v[8];

    load8 (v, x + i * 8);
#pragma unroll
    for (int j = 0; j < 8; j++)
      v[j] = normalise (norm, v[j], c + j);
    store8 (y + i * 8, v);
  }
}

extern "C" cudaError_t
avatar_kernel_apply_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x,
    const AvatarNorm *norm)
{
  int channels = (int) x.shape[x.rank - 1];
  gint64 n = avatar_tensor_n (x) / 8;

  if (channels % 8)
    return cudaErrorInvalidValue;
  apply<<<MIN (blocks_for (n, THREADS), 1u << 16), THREADS, 0, stream>>> ((__half *) y.data,
      (const __half *) x.data, n, channels, norm_of (norm));
  return cudaGetLastError ();
}

struct Epilogue
{
  AvatarConvEpilogue e;
  __half *y;
  const __half *residual;
  gint64 pixels;
  int h, w, channels; /* size of an output frame */
};

/* Returns the channels of output pixel @p in cuDNN's output. */
__device__ __forceinline__ const __half *
raw_pixel (const Epilogue &k, gint64 p)
{
  int x, y, small_h = k.h / 2, small_w = k.w / 2, phase;
  gint64 t;

  if (k.e.up_s == 1)
    return (const __half *) k.e.raw + p * k.e.row;
  x = (int) (p % k.w);
  y = (int) (p / k.w % k.h);
  t = p / ((gint64) k.w * k.h) + k.e.first;
  phase = (k.e.up_t == 2 ? (int) (t % 2) * 4 : 0) + y % 2 * 2 + x % 2;
  return (const __half *) k.e.raw
      + (((t / k.e.up_t * (small_h + 1) + y / 2 + y % 2) * (small_w + 1) + x / 2 + x % 2)
          * k.e.row)
      + phase * k.e.phase;
}

/* Adds sums [lanes, 2 * channels] over the lanes, in order, and writes them as one partial sum. */
__device__ void
write_partials (float *partials, const float *sums, int lanes, int channels)
{
  __syncthreads ();
  for (int i = threadIdx.x; i < 2 * channels; i += THREADS) {
    float s = 0;

    for (int lane = 0; lane < lanes; lane++)
      s += sums[lane * 2 * channels + i];
    partials[(gint64) blockIdx.x * 2 * channels + i] = s;
  }
}

/* One block per 256 pixels, eight channels per thread with a stride over pixels. If y is NULL, only
 * the sums are computed. */
__global__ void
epilogue (Epilogue k)
{
  extern __shared__ float sums[];
  const int each = k.channels / 8, lanes = THREADS / each;
  const int c = threadIdx.x % each * 8, lane = threadIdx.x / each;
  gint64 start = (gint64) blockIdx.x * AVATAR_CUDA_PARTIAL;
  gint64 end = min (start + AVATAR_CUDA_PARTIAL, k.pixels);
  float bias[8], sum[8] = { 0 }, square[8] = { 0 };

#pragma unroll
  for (int j = 0; j < 8; j++)
    bias[j] = k.e.bias ? k.e.bias[c + j] : 0.f;
  for (gint64 p = start + lane; lane < lanes && p < end; p += lanes) {
    float v[8], r[8];

    load8 (v, raw_pixel (k, p) + c);
    if (k.residual)
      load8 (r, k.residual + p * k.channels + c);
#pragma unroll
    for (int j = 0; j < 8; j++) {
      v[j] = v[j] + bias[j] + (k.residual ? r[j] : 0.f);
      v[j] = to_float (from_float<__half> (v[j])); /* sums the values as they are stored */
      sum[j] += v[j];
      square[j] = fmaf (v[j], v[j], square[j]);
    }
    if (k.y)
      store8 (k.y + p * k.channels + c, v);
  }
  if (!k.e.partials)
    return;
  if (lane < lanes)
    for (int j = 0; j < 8; j++) {
      sums[lane * 2 * k.channels + c + j] = sum[j];
      sums[(lane * 2 + 1) * k.channels + c + j] = square[j];
    }
  write_partials (k.e.partials, sums, lanes, k.channels);
}

/* The same for channel counts that are no multiple of 8: one thread per value, no sums. */
__global__ void
epilogue_narrow (Epilogue k)
{
  gint64 i = (gint64) blockIdx.x * THREADS + threadIdx.x, p = i / k.channels;
  int c = (int) (i % k.channels), x = (int) (p % k.w), y = (int) (p / k.w % k.h);
  gint64 t = p / ((gint64) k.w * k.h);
  const __half *raw;
  float v;

  if (p >= k.pixels)
    return;
  v = k.e.bias[c];
  if (k.e.narrow) {
    raw = (const __half *) k.e.raw + ((t * (k.h + 2) + y) * (k.w + 2) + x) * k.e.row + c;
    for (int tap = 0; tap < 27; tap++)
      v += to_float (raw[(((gint64) (tap / 9) * (k.h + 2) + tap / 3 % 3) * (k.w + 2) + tap % 3)
              * k.e.row
          + tap * k.channels]);
  } else {
    v += to_float (raw_pixel (k, p)[c]);
  }
  if (k.residual)
    v += to_float (k.residual[i]);
  k.y[i] = from_float<__half> (v);
}

static cudaError_t
launch_epilogue (cudaStream_t stream, const Epilogue &k)
{
  size_t shared = k.e.partials ? sizeof (float) * 2 * k.channels * (THREADS / (k.channels / 8)) : 0;

  if (k.channels > MAX_CHANNELS)
    return cudaErrorInvalidValue;
  epilogue<<<(unsigned) avatar_cuda_partials (k.pixels), THREADS, shared, stream>>> (k);
  return cudaGetLastError ();
}

extern "C" cudaError_t
avatar_kernel_conv_epilogue (cudaStream_t stream, AvatarTensor y, const AvatarConvEpilogue *e,
    AvatarTensor residual)
{
  Epilogue k = { *e, (__half *) y.data, residual.rank ? (const __half *) residual.data : nullptr,
    y.shape[0] * y.shape[1] * y.shape[2], (int) y.shape[1], (int) y.shape[2], (int) y.shape[3] };

  if (k.channels % 8 == 0 && !e->narrow)
    return launch_epilogue (stream, k);
  if (e->partials)
    return cudaErrorInvalidValue;
  epilogue_narrow<<<blocks_for (k.pixels * k.channels, THREADS), THREADS, 0, stream>>> (k);
  return cudaGetLastError ();
}

extern "C" cudaError_t
avatar_kernel_channel_sums (cudaStream_t stream, float *partials, AvatarTensor x)
{
  int channels = (int) x.shape[x.rank - 1];
  Epilogue k = {};

  k.e.raw = x.data;
  k.e.partials = partials;
  k.e.row = channels;
  k.e.up_s = k.e.up_t = 1;
  k.pixels = avatar_tensor_n (x) / channels;
  k.channels = channels;
  return channels % 8 ? cudaErrorInvalidValue : launch_epilogue (stream, k);
}

/* Adds partials [n, columns] over n. One block per 32 columns, 32 threads per column. */
__global__ void
sum_partials (double *out, const float *partials, gint64 n, int columns)
{
  __shared__ double sums[WARP][WARP + 1];
  int column = blockIdx.x * WARP + threadIdx.x;
  double s = 0;

  if (column < columns)
    for (gint64 i = threadIdx.y; i < n; i += WARP)
      s += partials[i * columns + column];
  sums[threadIdx.y][threadIdx.x] = s;
  __syncthreads ();
  if (threadIdx.y || column >= columns)
    return;
  for (int i = 1; i < WARP; i++)
    s += sums[i][threadIdx.x];
  out[column] = s;
}

extern "C" cudaError_t
avatar_kernel_sum_partials (cudaStream_t stream, AvatarChannelSums *sums, const float *partials,
    gint64 n)
{
  int columns = (int) (2 * sums->channels);

  sum_partials<<<blocks_for (columns, WARP), dim3 (WARP, WARP), 0, stream>>> (sums->sums, partials,
      n, columns);
  return cudaGetLastError ();
}

/* One thread per group. */
__global__ void
group_norm (float *scale, float *shift, const double *sums, gint64 pixels, int channels, int groups,
    Vector gamma, Vector beta, double eps)
{
  int group = blockIdx.x * blockDim.x + threadIdx.x, size = channels / groups;
  double n = (double) size * pixels, mean = 0, square = 0, rstd;

  if (group >= groups)
    return;
  for (int c = group * size; c < (group + 1) * size; c++) {
    mean += sums[c] / n;
    square += sums[channels + c] / n;
  }
  rstd = 1 / sqrt (fmax (0., square - mean * mean) + eps);
  for (int c = group * size; c < (group + 1) * size; c++) {
    scale[c] = (float) (gamma.at (c) * rstd);
    shift[c] = (float) (beta.at (c) - mean * rstd * gamma.at (c));
  }
}

extern "C" cudaError_t
avatar_kernel_group_norm (cudaStream_t stream, AvatarNorm *norm, const AvatarChannelSums *sums,
    AvatarTensor gamma, AvatarTensor beta, guint groups, double eps)
{
  group_norm<<<blocks_for (groups, WARP), WARP, 0, stream>>> ((float *) norm->scale.data,
      (float *) norm->shift.data, sums->sums, sums->pixels, (int) sums->channels, (int) groups,
      vector_of (gamma), vector_of (beta), eps);
  return cudaGetLastError ();
}
