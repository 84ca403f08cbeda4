/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* 2-D convolutions as matrix products. A few output rows at a time are unfolded, so that the
 * unfolded matrix stays in the cache. A kernel of one pixel needs no unfolding. */
#include "engine/ops/conv2d.h"

#include <string.h>

/* Size of the unfolded matrix in floats. */
#define CHUNK ((gint64) 1 << 19)

static double
bytes_of (AvatarTensor t)
{
  return avatar_tensor_bytes (t);
}

static gboolean
is_picture (AvatarTensor t)
{
  return t.rank == 3 && t.dtype == AVATAR_F32 && t.stride[2] == 1
      && t.stride[0] == t.shape[1] * t.stride[1];
}

static float *
pixel (AvatarTensor t, gint64 y, gint64 x)
{
  return avatar_tensor_f32 (t) + y * t.stride[0] + x * t.stride[1];
}

/* Returns a view of a picture [H, W, C] as a matrix [H W, C]. */
static AvatarTensor
as_matrix (AvatarTensor t)
{
  AvatarTensor m = avatar_tensor (t.dtype, t.data, 2, t.shape[0] * t.shape[1], t.shape[2]);

  m.stride[0] = t.stride[1];
  return m;
}

/* Copies the window of x that begins at row @i and column @j to @out [kernel, kernel, C]. */
static void
unfold_pixel (float *out, AvatarTensor x, gint64 i, gint64 j, gint64 kernel)
{
  const gint64 c = x.shape[2];

  for (gint64 dy = 0; dy < kernel; dy++)
    for (gint64 dx = 0; dx < kernel; dx++, out += c) {
      gint64 row = i + dy, column = j + dx;

      if (row >= 0 && row < x.shape[0] && column >= 0 && column < x.shape[1])
        memcpy (out, pixel (x, row, column), c * sizeof (float));
      else
        memset (out, 0, c * sizeof (float));
    }
}

/* Unfolds the output rows from @first on to @out [rows W', kernel kernel C]. */
static void
unfold (AvatarTensor out, AvatarTensor x, gint64 first, gint64 width, gint64 kernel, gint64 stride)
{
#pragma omp parallel for schedule(static)
  for (gint64 p = 0; p < out.shape[0]; p++)
    unfold_pixel (avatar_tensor_f32 (out) + p * out.stride[0], x,
        (first + p / width) * stride - kernel / 2, p % width * stride - kernel / 2, kernel);
}

void
avatar_op_conv2d (AvatarOps *ops, AvatarTensor y, AvatarTensor x, AvatarTensor w, AvatarTensor b,
    guint kernel, guint stride, AvatarAct act)
{
  const gint64 width = y.shape[1], k = (gint64) kernel * kernel * x.shape[2];
  const gint64 rows = CLAMP (CHUNK / (width * k), 1, y.shape[0]);
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor unfolded;

  g_assert (is_picture (x) && is_picture (y) && kernel % 2 == 1);
  g_assert (y.shape[0] == (x.shape[0] + stride - 1) / stride);
  g_assert (width == (x.shape[1] + stride - 1) / stride);
  g_assert (w.rank == 2 && w.shape[0] == y.shape[2] && w.shape[1] == k);
  if (kernel == 1 && stride == 1) {
    avatar_op_linear (ops, as_matrix (y), as_matrix (x), w, b, act);
    return;
  }
  unfolded = avatar_ops_alloc (ops, 2, rows * width, k);
  for (gint64 first = 0; first < y.shape[0]; first += rows) {
    gint64 n = MIN (rows, y.shape[0] - first);
    AvatarTensor chunk = avatar_tensor_rows (unfolded, 0, n * width);

    if (avatar_ops_running (ops))
      unfold (chunk, x, first, width, kernel, stride);
    avatar_op_linear (ops, as_matrix (avatar_tensor_rows (y, first, n)), chunk, w, b, act);
  }
  avatar_ops_release (ops, mark);
}

static void
max_into (float *restrict y, const float *restrict x, gint64 n)
{
  for (gint64 i = 0; i < n; i++)
    y[i] = x[i] > y[i] || x[i] != x[i] ? x[i] : y[i]; /* propagates NaN */
}

void
avatar_op_max_pool (AvatarOps *ops, AvatarTensor y, AvatarTensor x, guint kernel, guint stride,
    guint pad)
{
  const gint64 c = x.shape[2];

  g_assert (is_picture (x) && is_picture (y) && y.shape[2] == c && pad < kernel);
  g_assert ((y.shape[0] - 1) * stride < x.shape[0] + pad);
  g_assert ((y.shape[1] - 1) * stride < x.shape[1] + pad);
  avatar_ops_count (ops, (double) avatar_tensor_n (y) * kernel * kernel,
      bytes_of (x) + bytes_of (y));
  if (!avatar_ops_running (ops))
    return;
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < y.shape[0]; i++)
    for (gint64 j = 0; j < y.shape[1]; j++) {
      gint64 top = i * stride - pad, left = j * stride - pad;
      float *out = pixel (y, i, j);

      memcpy (out, pixel (x, MAX (top, 0), MAX (left, 0)), c * sizeof (float));
      for (gint64 row = MAX (top, 0); row < MIN (top + kernel, x.shape[0]); row++)
        for (gint64 column = MAX (left, 0); column < MIN (left + kernel, x.shape[1]); column++)
          max_into (out, pixel (x, row, column), c);
    }
}

void
avatar_op_upsample_2x (AvatarOps *ops, AvatarTensor y, AvatarTensor x)
{
  g_assert (is_picture (x) && is_picture (y) && y.shape[2] == x.shape[2]);
  g_assert (y.shape[0] == 2 * x.shape[0] && y.shape[1] == 2 * x.shape[1]);
  avatar_ops_count (ops, 0, bytes_of (x) + bytes_of (y));
  if (!avatar_ops_running (ops))
    return;
  for (gint64 i = 0; i < y.shape[0]; i++)
    for (gint64 j = 0; j < y.shape[1]; j++)
      memcpy (pixel (y, i, j), pixel (x, i / 2, j / 2), x.shape[2] * sizeof (float));
}
