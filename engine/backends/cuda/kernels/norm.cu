/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Layer norm with modulation, and RMS norm of heads with rotary embedding. A row stays in
 * registers, so memory is read and written once. */
#include "engine/backends/cuda/kernels/common.cuh"

#define E4M3_MAX 448.f

struct LayerNorm
{
  gint64 m, n;     /* rows and columns */
  gint64 ldy, ldx; /* strides of the rows */
  float one;       /* added to the scale: 0 or 1 */
  float eps;
};

struct RmsNormRope
{
  const float *cos, *sin; /* nullptr: no rotation */
  gint64 rows, heads, d;
  gint64 ldy, ldx;        /* strides of the rows of y and x */
  gint64 stride_h;        /* stride of the heads */
  gint64 stride_cs;       /* stride of the rows of cos and sin */
  float eps;
};

/* Normalises and modulates the eight values of a row from column @at on. */
template <typename TX>
__device__ __forceinline__ void
modulated (float v[8], const Eight<TX> &raw, float mean, float factor, const float *scale,
    const float *shift, int at, float one)
{
  float vector[8];

#pragma unroll
  for (int j = 0; j < 8; j++)
    v[j] = (to_float (raw.v[j]) - mean) * factor;
  if (scale) {
    load8 (vector, scale + at);
#pragma unroll
    for (int j = 0; j < 8; j++)
      v[j] *= one + vector[j];
  }
  if (shift) {
    load8 (vector, shift + at);
#pragma unroll
    for (int j = 0; j < 8; j++)
      v[j] += vector[j];
  }
}

/* One warp per row of at most VECTORS * 256 values (exactly so many if FULL_ROW), a multiple of 8.
 * The row is kept in registers in its own dtype, so that many warps fit on a multiprocessor.
 * @factors: the factors of the rows of an 8-bit y, else NULL */
template <typename TY, typename TX, int VECTORS, bool FULL_ROW>
__global__ void __launch_bounds__ (128)
layer_norm_row (TY *y, float *factors, const TX *x, const float *scale, const float *shift,
    LayerNorm p)
{
  const float one = p.one;
  const int n = (int) p.n;
  gint64 row = (gint64) blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  int lane = threadIdx.x % WARP;
  Eight<TX> raw[VECTORS];
  float sum = 0, squares = 0, max = 0, mean, factor, inverse_scale = 1;

  if (row >= p.m)
    return;
  y += row * p.ldy;
  x += row * p.ldx;
#pragma unroll
  for (int i = 0; i < VECTORS; i++) {
    int at = (i * WARP + lane) * 8;

    if (FULL_ROW || at < n)
      raw[i] = *reinterpret_cast<const Eight<TX> *> (x + at);
    else
      raw[i] = Eight<TX>{};
  }
#pragma unroll
  for (int i = 0; i < VECTORS; i++)
#pragma unroll
    for (int j = 0; j < 8; j++)
      sum += to_float (raw[i].v[j]);
  mean = warp_sum (sum) / n;
#pragma unroll
  for (int i = 0; i < VECTORS; i++)
    if (FULL_ROW || (i * WARP + lane) * 8 < n)
#pragma unroll
      for (int j = 0; j < 8; j++) {
        float d = to_float (raw[i].v[j]) - mean;

        squares += d * d;
      }
  factor = rsqrtf (warp_sum (squares) / n + p.eps);
#pragma unroll
  for (int i = 0; i < VECTORS; i++) {
    int at = (i * WARP + lane) * 8;
    float v[8];

    if (!FULL_ROW && at >= n)
      continue;
    modulated (v, raw[i], mean, factor, scale, shift, at, one);
    if constexpr (sizeof (TY) > 1) {
      store8 (y + at, v);
    } else {
      /* Keeps the values in registers until the maximum is known. */
#pragma unroll
      for (int j = 0; j < 8; j++) {
        max = fmaxf (max, fabsf (v[j]));
        raw[i].v[j] = from_float<TX> (v[j]);
      }
    }
  }
  if constexpr (sizeof (TY) == 1) {
    max = warp_max (max);
    inverse_scale = max > 0.f ? E4M3_MAX / max : 1.f;
    if (lane == 0)
      factors[row] = max > 0.f ? max / E4M3_MAX : 1.f;
#pragma unroll
    for (int i = 0; i < VECTORS; i++) {
      int at = (i * WARP + lane) * 8;
      float v[8];

#pragma unroll
      for (int j = 0; j < 8; j++)
        v[j] = to_float (raw[i].v[j]) * inverse_scale;
      if (FULL_ROW || at < n)
        store8 (y + at, v);
    }
  }
}

/* The same for any width: one warp per row, which is read three times. */
template <typename TY, typename TX>
__global__ void
layer_norm_any (TY *y, const TX *x, Vector scale, Vector shift, LayerNorm p)
{
  const gint64 n = p.n;
  gint64 row = (gint64) blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  int lane = threadIdx.x % WARP;
  float sum = 0, squares = 0, mean, factor;

  if (row >= p.m)
    return;
  for (gint64 i = lane; i < n; i += WARP)
    sum += to_float (x[row * p.ldx + i]);
  mean = warp_sum (sum) / n;
  for (gint64 i = lane; i < n; i += WARP) {
    float d = to_float (x[row * p.ldx + i]) - mean;

    squares += d * d;
  }
  factor = rsqrtf (warp_sum (squares) / n + p.eps);
  for (gint64 i = lane; i < n; i += WARP) {
    float s = scale.data ? p.one + scale.at (i) : 1.f;

    y[row * p.ldy + i] = from_float<TY> ((to_float (x[row * p.ldx + i]) - mean) * factor * s
        + (shift.data ? shift.at (i) : 0.f));
  }
}

/* Launches layer_norm_row(). Returns false if it does not support the operands. */
template <typename TY, typename TX>
static bool
launch_row (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, const LayerNorm &p)
{
  gint64 n = p.n;
  unsigned grid = blocks_for (p.m, 4);
  const float *a = (const float *) (scale.rank ? scale.data : nullptr);
  const float *b = (const float *) (shift.rank ? shift.data : nullptr);

  if (!by_eight (x, n) || !by_eight (y, n) || n > 3072
      || (scale.rank && (scale.dtype != AVATAR_F32 || !by_eight (scale, n)))
      || (shift.rank && (shift.dtype != AVATAR_F32 || !by_eight (shift, n))))
    return false;
#define ROW_KERNEL(vectors, full)                                                                  \
  layer_norm_row<TY, TX, vectors, full><<<grid, 128, 0, stream>>> ((TY *) y.data, y.scale,         \
      (const TX *) x.data, a, b, p)
  if (n == 3072)
    ROW_KERNEL (12, true);
  else if (n <= 1024)
    ROW_KERNEL (4, false);
  else
    ROW_KERNEL (12, false);
  return true;
}

extern "C" cudaError_t
avatar_kernel_layer_norm (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, AvatarNormScale factor, double eps)
{
  gint64 m = x.shape[0];
  LayerNorm p = { m, x.shape[1], y.stride[0], x.stride[0],
    factor == AVATAR_NORM_ONE_PLUS_SCALE ? 1.f : 0.f, (float) eps };

  if (m == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (x.dtype, TX, [&] () {
    if (y.dtype == AVATAR_F8_E4M3)
      return launch_row<__nv_fp8_e4m3, TX> (stream, y, x, scale, shift, p)
          ? cudaGetLastError ()
          : cudaErrorInvalidValue;
    return DISPATCH_FLOAT (y.dtype, TY, [&] () {
      if (!launch_row<TY, TX> (stream, y, x, scale, shift, p))
        layer_norm_any<TY, TX><<<blocks_for (m, 4), 128, 0, stream>>> ((TY *) y.data,
            (const TX *) x.data, vector_of (scale), vector_of (shift), p);
      return cudaGetLastError ();
    });
  });
}

/* Heads of width 128: half a warp per head, eight values per lane. A block loops over rows.
 * @scale: the one factor of an 8-bit y, else NULL */
template <typename TY, typename T>
__global__ void __launch_bounds__ (192)
rms_norm_rope_128 (TY *y, const T *x, const float *scale, Vector w, RmsNormRope p)
{
  const int heads = (int) p.heads;
  int lane = threadIdx.x % 16, half = threadIdx.x / 16;
  float weight[8], inverse_scale = scale ? 1.f / *scale : 1.f;

#pragma unroll
  for (int j = 0; j < 8; j++)
    weight[j] = w.at (lane * 8 + j) * inverse_scale;
  for (gint64 l = blockIdx.x; l < p.rows; l += gridDim.x) {
    float c[4] = { 1, 1, 1, 1 }, s[4] = { 0, 0, 0, 0 };

    if (p.cos) {
      *reinterpret_cast<float4 *> (c)
          = *reinterpret_cast<const float4 *> (p.cos + l * p.stride_cs + lane * 4);
      *reinterpret_cast<float4 *> (s)
          = *reinterpret_cast<const float4 *> (p.sin + l * p.stride_cs + lane * 4);
    }
    /* All lanes of a warp make the same number of iterations, because warp_sum() needs them all. */
    for (int h = half; h < (heads + 1) / 2 * 2; h += blockDim.x / 16) {
      bool inside = h < heads;
      gint64 column = (inside ? h : 0) * p.stride_h + lane * 8;
      float v[8], sum = 0, factor;

      load8 (v, x + l * p.ldx + column);
#pragma unroll
      for (int j = 0; j < 8; j++)
        sum += v[j] * v[j];
      factor = rsqrtf (warp_sum<16> (sum) / 128.f + p.eps);
#pragma unroll
      for (int j = 0; j < 8; j++)
        v[j] *= factor * weight[j];
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float a = v[2 * j], b = v[2 * j + 1];

        v[2 * j] = a * c[j] - b * s[j];
        v[2 * j + 1] = b * c[j] + a * s[j];
      }
      if (inside)
        store8 (y + l * p.ldy + column, v);
    }
  }
}

/* The same for any even width, in place: one warp per head. */
template <typename T>
__global__ void
rms_norm_rope_any (T *x, Vector w, RmsNormRope p)
{
  const gint64 d = p.d;
  gint64 i = (gint64) blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
  int lane = threadIdx.x % WARP;
  gint64 l = i / p.heads;
  T *row = x + l * p.ldx + i % p.heads * p.stride_h;
  float sum = 0, factor;

  if (i >= p.rows * p.heads)
    return;
  for (gint64 j = lane; j < d; j += WARP)
    sum += to_float (row[j]) * to_float (row[j]);
  factor = rsqrtf (warp_sum (sum) / d + p.eps);
  for (gint64 j = lane; j < d / 2; j += WARP) {
    float a = to_float (row[2 * j]) * factor * w.at (2 * j);
    float b = to_float (row[2 * j + 1]) * factor * w.at (2 * j + 1);
    float c = p.cos ? p.cos[l * p.stride_cs + j] : 1.f;
    float s = p.cos ? p.sin[l * p.stride_cs + j] : 0.f;

    row[2 * j] = from_float<T> (a * c - b * s);
    row[2 * j + 1] = from_float<T> (b * c + a * s);
  }
}

extern "C" cudaError_t
avatar_kernel_rms_norm_rope (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps)
{
  gint64 rows = x.shape[0], heads = x.shape[1], d = x.shape[2];
  const float *c = cos.rank ? (const float *) cos.data : nullptr;
  const float *s = cos.rank ? (const float *) sin.data : nullptr;
  RmsNormRope p = { c, s, rows, heads, d, y.stride[0], x.stride[0], x.stride[1],
    c ? cos.stride[0] : 0, (float) eps };
  bool tables = !c
      || (cos.stride[0] % 4 == 0 && cos.stride[0] == sin.stride[0] && (uintptr_t) c % 16 == 0
          && (uintptr_t) s % 16 == 0);
  bool wide = d == 128 && tables && by_eight (x, d) && by_eight (y, d)
      && x.stride[1] == y.stride[1];
  /* In place, the loads of a row would wait for the stores of the row before it, so each row gets a
   * block of its own. */
  unsigned grid = (unsigned) (y.data == x.data ? rows : MIN (rows, (gint64) 2112));

  if (rows == 0)
    return cudaSuccess;
  if (d % 2 || (c && cos.stride[0] != sin.stride[0]) || (y.data != x.data && !wide))
    return cudaErrorInvalidValue;
  return DISPATCH_FLOAT (x.dtype, T, [&] () {
    if (y.dtype == AVATAR_F8_E4M3)
      rms_norm_rope_128<__nv_fp8_e4m3, T><<<grid, 192, 0, stream>>> ((__nv_fp8_e4m3 *) y.data,
          (const T *) x.data, y.scale, vector_of (w), p);
    else if (wide)
      rms_norm_rope_128<T, T><<<grid, 192, 0, stream>>> ((T *) y.data, (const T *) x.data,
          nullptr, vector_of (w), p);
    else
      rms_norm_rope_any<T><<<blocks_for (rows * heads, 4), 128, 0, stream>>> ((T *) x.data,
          vector_of (w), p);
    return cudaGetLastError ();
  });
}

/* An RMS-normed row of d values has the length sqrt (d), so no value exceeds sqrt (d). The rotation
 * of a pair keeps the length of the pair, so this holds after it as well. */
__global__ void
norm_factor (float *factor, Vector w, Vector w2, int d)
{
  float max = 0;

  for (int i = threadIdx.x; i < d; i += WARP) {
    max = fmaxf (max, fabsf (w.at (i)));
    if (w2.data)
      max = fmaxf (max, fabsf (w2.at (i)));
  }
  max = warp_max (max);
  if (threadIdx.x == 0)
    *factor = max > 0.f ? max * sqrtf ((float) d) / E4M3_MAX : 1.f;
}

extern "C" cudaError_t
avatar_kernel_norm_factor (cudaStream_t stream, float *factor, AvatarTensor w, AvatarTensor w2)
{
  norm_factor<<<1, WARP, 0, stream>>> (factor, vector_of (w), vector_of (w2), (int) w.shape[0]);
  return cudaGetLastError ();
}
