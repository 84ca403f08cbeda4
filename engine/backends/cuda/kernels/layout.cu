/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of layout: patches of a video, windows of a sequence. */
#include "engine/backends/cuda/kernels/common.cuh"

#define THREADS 256

struct Patches
{
  gint64 channels;
  gint64 ny, nx;     /* patches in height and width */
  gint64 pt, py, px; /* size of a patch */
  gint64 c, t, y;    /* strides of the video */
  gint64 row;        /* stride of the rows */
};

/* One thread per value. The position in the video follows from its row and column. */
template <typename TR, typename TV, bool BACK>
__global__ void
patchify (TR *rows, TV *video, gint64 n, Patches p)
{
  gint64 volume = p.pt * p.py * p.px, width = p.channels * volume;

  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < n;
       i += (gint64) gridDim.x * blockDim.x) {
    gint64 row = i / width, column = i % width, cell = column % volume;
    gint64 t = row / (p.ny * p.nx) * p.pt + cell / (p.py * p.px);
    gint64 y = row / p.nx % p.ny * p.py + cell / p.px % p.py;
    gint64 x = row % p.nx * p.px + cell % p.px;
    TV *v = video + column / volume * p.c + t * p.t + y * p.y + x;
    TR *r = rows + row * p.row + column;

    if (BACK)
      *v = from_float<TV> (to_float (*r));
    else
      *r = from_float<TR> (to_float (*v));
  }
}

extern "C" cudaError_t
avatar_kernel_patchify (cudaStream_t stream, AvatarTensor y, AvatarTensor x, const guint patch[3],
    AvatarPatchDirection direction)
{
  bool back = direction == AVATAR_UNPATCHIFY;
  AvatarTensor video = back ? y : x, rows = back ? x : y;
  gint64 n = avatar_tensor_n (video);
  Patches p = { video.shape[0], video.shape[2] / patch[1], video.shape[3] / patch[2], patch[0],
    patch[1], patch[2], video.stride[0], video.stride[1], video.stride[2], rows.stride[0] };
  unsigned grid = (unsigned) MIN (blocks_for (n, THREADS), 1u << 16);

  if (n == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (rows.dtype, TR, [&] () {
    return DISPATCH_FLOAT (video.dtype, TV, [&] () {
      if (back)
        patchify<TR, TV, true>
            <<<grid, THREADS, 0, stream>>> ((TR *) rows.data, (TV *) video.data, n, p);
      else
        patchify<TR, TV, false>
            <<<grid, THREADS, 0, stream>>> ((TR *) rows.data, (TV *) video.data, n, p);
      return cudaGetLastError ();
    });
  });
}

struct Windows
{
  gint64 rows, length, channels;
  gint64 ldy, ldx; /* strides of the rows */
  gint64 kernel, step, pad;
};

template <typename T>
__global__ void
unfold (T *y, const T *x, Windows w)
{
  gint64 width = w.channels * w.kernel;

  for (gint64 i = (gint64) blockIdx.x * blockDim.x + threadIdx.x; i < w.rows * width;
       i += (gint64) gridDim.x * blockDim.x) {
    gint64 row = i / width, c = i % width / w.kernel, from = row * w.step + i % w.kernel - w.pad;

    y[row * w.ldy + i % width]
        = from >= 0 && from < w.length ? x[from * w.ldx + c] : from_float<T> (0.f);
  }
}

extern "C" cudaError_t
avatar_kernel_unfold (cudaStream_t stream, AvatarTensor y, AvatarTensor x, gint64 kernel,
    gint64 step, gint64 pad)
{
  gint64 n = avatar_tensor_n (y);
  Windows w = { y.shape[0], x.shape[0], x.shape[1], y.stride[0], x.stride[0], kernel, step, pad };

  if (n == 0)
    return cudaSuccess;
  return DISPATCH_FLOAT (y.dtype, T, [&] () {
    unfold<T><<<(unsigned) MIN (blocks_for (n, THREADS), 1u << 16), THREADS, 0, stream>>> (
        (T *) y.data, (const T *) x.data, w);
    return cudaGetLastError ();
  });
}
