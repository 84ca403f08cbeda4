/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kernels that access each value once: epilogues, sums, copies and conversions. */
#include "engine/backends/cuda/kernels/common.cuh"

/* A block loops over rows. A thread processes eight columns (EIGHT) or one. */
#define THREADS 256
#define MAX_GRID 65535

static dim3
rows_grid (gint64 m)
{
  return dim3 (m < MAX_GRID ? (unsigned) m : MAX_GRID);
}

template <typename T, bool EIGHT>
__global__ void
epilogue (T *y, gint64 m, gint64 n, gint64 ldy, const float *row_scale, const float *column_scale,
    Vector b, AvatarAct act)
{
  const int width = EIGHT ? 8 : 1;

  for (gint64 r = blockIdx.x; r < m; r += gridDim.x) {
    float rs = row_scale ? row_scale[r] : 1.f;

    for (gint64 c = (gint64) threadIdx.x * width; c < n; c += (gint64) blockDim.x * width) {
      T *p = y + r * ldy + c;
      float v[8];

      if (EIGHT)
        load8 (v, p);
      else
        v[0] = to_float (*p);
#pragma unroll
      for (int j = 0; j < width; j++) {
        v[j] *= rs * (column_scale ? column_scale[c + j] : 1.f);
        v[j] = activate (v[j] + (b.data ? b.at (c + j) : 0.f), act);
      }
      if (EIGHT)
        store8 (p, v);
      else
        *p = from_float<T> (v[0]);
    }
  }
}

extern "C" cudaError_t
avatar_kernel_epilogue (cudaStream_t stream, AvatarTensor y, const float *row_scale,
    const float *column_scale, AvatarTensor b, AvatarAct act)
{
  gint64 m = y.rank == 2 ? y.shape[0] : 1, n = y.shape[y.rank - 1];
  gint64 ldy = y.rank == 2 ? y.stride[0] : n;
  Vector bias = vector_of (b);
  bool eight = by_eight (y, n);

  if (m == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (y.dtype, T, [&] () {
    if (eight)
      epilogue<T, true><<<rows_grid (m), THREADS, 0, stream>>> ((T *) y.data, m, n, ldy, row_scale,
          column_scale, bias, act);
    else
      epilogue<T, false><<<rows_grid (m), THREADS, 0, stream>>> ((T *) y.data, m, n, ldy,
          row_scale, column_scale, bias, act);
    return cudaGetLastError ();
  });
}

template <typename T, bool EIGHT>
__global__ void
gated_add (T *y, const T *t, gint64 m, gint64 n, gint64 ldy, const float *gate,
    const float *row_scale)
{
  const int width = EIGHT ? 8 : 1;

  for (gint64 r = blockIdx.x; r < m; r += gridDim.x) {
    float rs = row_scale ? row_scale[r] : 1.f;

    for (gint64 c = (gint64) threadIdx.x * width; c < n; c += (gint64) blockDim.x * width) {
      T *p = y + r * ldy + c;
      const T *from = t + r * n + c;
      float v[8], add[8];

      if (EIGHT) {
        load8 (v, p);
        load8 (add, from);
      } else {
        v[0] = to_float (*p);
        add[0] = to_float (*from);
      }
#pragma unroll
      for (int j = 0; j < width; j++)
        v[j] += add[j] * (gate ? gate[c + j] : 1.f) * rs;
      if (EIGHT)
        store8 (p, v);
      else
        *p = from_float<T> (v[0]);
    }
  }
}

/* The same with eight columns of many rows per thread, so that the gates are read once. */
template <typename T>
__global__ void
gated_add_columns (T *y, const T *t, gint64 m, gint64 n, gint64 ldy, const float *gate,
    const float *row_scale)
{
  gint64 c = (gint64) threadIdx.x * 8;
  float g[8] = { 1, 1, 1, 1, 1, 1, 1, 1 };

  if (gate)
    load8 (g, gate + c);
#pragma unroll 2
  for (gint64 r = blockIdx.x; r < m; r += gridDim.x) {
    float v[8], add[8], rs = row_scale ? row_scale[r] : 1.f;

    load8 (v, y + r * ldy + c);
    load8 (add, t + r * n + c);
#pragma unroll
    for (int j = 0; j < 8; j++)
      v[j] += add[j] * g[j] * rs;
    store8 (y + r * ldy + c, v);
  }
}

extern "C" cudaError_t
avatar_kernel_gated_add (cudaStream_t stream, AvatarTensor y, AvatarTensor t, const float *gate,
    const float *row_scale)
{
  gint64 m = y.shape[0], n = y.shape[1];
  bool eight = by_eight (y, n) && by_eight (t, n);

  if (m == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (y.dtype, T, [&] () {
    if (eight && n <= 8 * 512 && (uintptr_t) gate % 16 == 0)
      gated_add_columns<T><<<(unsigned) MIN (m, (gint64) 1024), (unsigned) n / 8, 0, stream>>> (
          (T *) y.data, (const T *) t.data, m, n, y.stride[0], gate, row_scale);
    else if (eight)
      gated_add<T, true><<<rows_grid (m), THREADS, 0, stream>>> ((T *) y.data,
          (const T *) t.data, m, n, y.stride[0], gate, row_scale);
    else
      gated_add<T, false><<<rows_grid (m), THREADS, 0, stream>>> ((T *) y.data,
          (const T *) t.data, m, n, y.stride[0], gate, row_scale);
    return cudaGetLastError ();
  });
}

template <typename T>
__global__ void
gate_vectors (T *bias, float *scale, const float *gate, const T *b, const float *w_scale, gint64 n)
{
  gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x;

  if (i >= n)
    return;
  if (b)
    bias[i] = from_float<T> (gate[i] * to_float (b[i]));
  if (w_scale)
    scale[i] = gate[i] * w_scale[i];
}

extern "C" cudaError_t
avatar_kernel_gate_vectors (cudaStream_t stream, void *bias, float *scale, const float *gate,
    AvatarTensor b, const float *w_scale, gint64 n)
{
  return DISPATCH_FLOAT (b.rank ? b.dtype : AVATAR_F32, T, [&] () {
    gate_vectors<T><<<blocks_for (n, THREADS), THREADS, 0, stream>>> ((T *) bias, scale, gate,
        (const T *) (b.rank ? b.data : nullptr), w_scale, n);
    return cudaGetLastError ();
  });
}

template <typename TY, typename TX>
__global__ void
axpby (TY *y, const TX *x, gint64 n, float a, float b)
{
  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (gint64) gridDim.x * blockDim.x) {
    /* y may be undefined if b = 0, so it is not read then. */
    float v = a * to_float (x[i]) + (b == 0.f ? 0.f : b * to_float (y[i]));

    y[i] = from_float<TY> (v);
  }
}

extern "C" cudaError_t
avatar_kernel_axpby (cudaStream_t stream, AvatarTensor y, double a, AvatarTensor x, double b)
{
  gint64 n = avatar_tensor_n (x);
  unsigned grid = (unsigned) MIN (blocks_for (n, THREADS), 1u << 16);

  if (n == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (y.dtype, TY, [&] () {
    return DISPATCH_FLOAT (x.dtype, TX, [&] () {
      axpby<TY, TX><<<grid, THREADS, 0, stream>>> ((TY *) y.data, (const TX *) x.data, n, a, b);
      return cudaGetLastError ();
    });
  });
}

template <typename T>
__global__ void
scale_round (float *x, gint64 n, float factor)
{
  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (gint64) gridDim.x * blockDim.x)
    x[i] = to_float (from_float<T> (__fmul_rn (x[i], factor)));
}

extern "C" cudaError_t
avatar_kernel_scale_round (cudaStream_t stream, AvatarTensor x, double factor, AvatarDType dtype)
{
  gint64 n = avatar_tensor_n (x);
  unsigned grid = (unsigned) MIN (blocks_for (n, THREADS), 1u << 16);

  if (n == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (dtype, T, [&] () {
    scale_round<T><<<grid, THREADS, 0, stream>>> ((float *) x.data, n, factor);
    return cudaGetLastError ();
  });
}

__global__ void
find_non_finite (int *flag, const float *x, gint64 n)
{
  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (gint64) gridDim.x * blockDim.x)
    if (!isfinite (x[i]))
      *flag = 1;
}

extern "C" cudaError_t
avatar_kernel_find_non_finite (cudaStream_t stream, AvatarTensor flag, AvatarTensor x)
{
  gint64 n = avatar_tensor_n (x);
  unsigned grid = (unsigned) MIN (blocks_for (n, THREADS), 1u << 16);

  if (n == 0)
    return cudaSuccess;
  find_non_finite<<<grid, THREADS, 0, stream>>> ((int *) flag.data, (const float *) x.data, n);
  return cudaGetLastError ();
}

struct Strides
{
  gint64 shape[AVATAR_MAX_RANK], x[AVATAR_MAX_RANK], y[AVATAR_MAX_RANK];
  int rank;
};

template <typename TY, typename TX>
__global__ void
copy (TY *y, const TX *x, gint64 n, Strides s)
{
  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (gint64) gridDim.x * blockDim.x) {
    gint64 rest = i, from = 0, to = 0;

    for (int d = s.rank - 1; d >= 0; d--) {
      gint64 at = rest % s.shape[d];

      rest /= s.shape[d];
      from += at * s.x[d];
      to += at * s.y[d];
    }
    y[to] = from_float<TY> (to_float (x[from]));
  }
}

extern "C" cudaError_t
avatar_kernel_copy (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  gint64 n = avatar_tensor_n (x);
  size_t size = avatar_dtype_size (x.dtype);
  unsigned grid = (unsigned) MIN (blocks_for (n, THREADS), 1u << 16);
  Strides s = { { 0 }, { 0 }, { 0 }, (int) x.rank };

  if (n == 0)
    return cudaSuccess;
  if (x.dtype == y.dtype && avatar_tensor_is_contiguous (x) && avatar_tensor_is_contiguous (y))
    return cudaMemcpyAsync (y.data, x.data, n * size, cudaMemcpyDeviceToDevice, stream);
  if (x.dtype == y.dtype && x.rank == 2 && x.stride[1] == 1 && y.stride[1] == 1)
    return cudaMemcpy2DAsync (y.data, y.stride[0] * size, x.data, x.stride[0] * size,
        x.shape[1] * size, x.shape[0], cudaMemcpyDeviceToDevice, stream);
  for (guint i = 0; i < x.rank; i++) {
    s.shape[i] = x.shape[i];
    s.x[i] = x.stride[i];
    s.y[i] = y.stride[i];
  }
  return DISPATCH_FLOAT (y.dtype, TY, [&] () {
    return DISPATCH_FLOAT (x.dtype, TX, [&] () {
      copy<TY, TX><<<grid, THREADS, 0, stream>>> ((TY *) y.data, (const TX *) x.data, n, s);
      return cudaGetLastError ();
    });
  });
}

/* One thread per column. */
template <typename TY, typename TX>
__global__ void
mean_rows (TY *y, const TX *x, gint64 m, gint64 n, gint64 ldx, const float *weight)
{
  gint64 c = (gint64) blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0, total = 0;

  if (c >= n)
    return;
  for (gint64 r = 0; r < m; r++) {
    float w = weight ? weight[r] : 1.f;

    sum += w * to_float (x[r * ldx + c]);
    total += w;
  }
  y[c] = from_float<TY> (total != 0.f ? sum / total : 0.f);
}

extern "C" cudaError_t
avatar_kernel_mean_rows (cudaStream_t stream, AvatarTensor y, AvatarTensor x, AvatarTensor weight)
{
  return DISPATCH_FLOAT (y.dtype, TY, [&] () {
    return DISPATCH_FLOAT (x.dtype, TX, [&] () {
      mean_rows<TY, TX><<<blocks_for (x.shape[1], THREADS), THREADS, 0, stream>>> ((TY *) y.data,
          (const TX *) x.data, x.shape[0], x.shape[1], x.stride[0],
          weight.rank ? (const float *) weight.data : nullptr);
      return cudaGetLastError ();
    });
  });
}

template <typename T>
__global__ void
power (T *y, const T *x, gint64 m, gint64 n, gint64 ldy, gint64 ldx)
{
  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < m * n;
       i += (gint64) gridDim.x * blockDim.x) {
    gint64 r = i / n, c = i % n;
    float re = to_float (x[r * ldx + c]), im = to_float (x[r * ldx + n + c]);

    y[r * ldy + c] = from_float<T> (re * re + im * im);
  }
}

extern "C" cudaError_t
avatar_kernel_power (cudaStream_t stream, AvatarTensor y, AvatarTensor x)
{
  gint64 m = y.shape[0], n = y.shape[1];

  if (m * n == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (y.dtype, T, [&] () {
    power<T><<<(unsigned) MIN (blocks_for (m * n, THREADS), 1u << 16), THREADS, 0, stream>>> (
        (T *) y.data, (const T *) x.data, m, n, y.stride[0], x.stride[0]);
    return cudaGetLastError ();
  });
}
