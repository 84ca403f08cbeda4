/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations on single elements or rows: activations, norms, sums, copies and layouts. */
#include "engine/backends/cpu/cpu.h"
#include "engine/backends/cpu/memory-check.h"

#include <math.h>

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
silu_row (float *x, gint64 n)
{
  avatar_check_write (x, n);
  for (gint64 i = 0; i < n; i++)
    x[i] = x[i] / (1.f + avatar_expf (-x[i]));
}

/* Propagates NaN, so that the check of the result finds a broken weight. */
AVATAR_SIMD AVATAR_CHECKED_ONCE static void
relu_row (float *x, gint64 n)
{
  avatar_check_write (x, n);
  for (gint64 i = 0; i < n; i++)
    x[i] = x[i] < 0.f ? 0.f : x[i];
}

/* x Phi (x) = max (x, 0) - |x| Phi (-|x|), where Phi (-a) is exp (-a^2 / 2) times a minimax
 * polynomial in 1 / (1 + 0.28 a). The absolute error is below 2.5e-7; with libm's erff(), which
 * does not vectorise, it is 4.5e-7. */
AVATAR_SIMD AVATAR_CHECKED_ONCE static void
gelu_row (float *x, gint64 n)
{
  avatar_check_write (x, n);
  for (gint64 i = 0; i < n; i++) {
    float a = x[i] < 0.f ? -x[i] : x[i], t = 1.f / (1.f + 0.28f * a), p;

    p = -0.107575722f;
    p = p * t + 0.397067981f;
    p = p * t - 0.248633977f;
    p = p * t + 0.278268079f;
    p = p * t + 0.0637599944f;
    p = p * t + 0.117113586f;
    p = p * t * avatar_exp2f_down (-0.72134752f * (a * a));
    x[i] = (x[i] < 0.f ? 0.f : x[i]) - a * p;
  }
}

/* 0.5 x (1 + tanh u) = x / (1 + exp (-2 u)) */
AVATAR_SIMD AVATAR_CHECKED_ONCE static void
gelu_tanh_row (float *x, gint64 n)
{
  avatar_check_write (x, n);
  for (gint64 i = 0; i < n; i++) {
    float u = 0.7978845608028654f * (x[i] + 0.044715f * x[i] * x[i] * x[i]);

    x[i] = x[i] / (1.f + avatar_expf (-2.f * u));
  }
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
quick_gelu_row (float *x, gint64 n)
{
  avatar_check_write (x, n);
  for (gint64 i = 0; i < n; i++)
    x[i] = x[i] / (1.f + avatar_expf (-1.702f * x[i]));
}

void
avatar_cpu_act_row (float *x, gint64 n, AvatarAct act)
{
  switch (act) {
    case AVATAR_ACT_NONE:
      return;
    case AVATAR_ACT_SILU:
      silu_row (x, n);
      return;
    case AVATAR_ACT_RELU:
      relu_row (x, n);
      return;
    case AVATAR_ACT_GELU:
      gelu_row (x, n);
      return;
    case AVATAR_ACT_GELU_TANH:
      gelu_tanh_row (x, n);
      return;
    case AVATAR_ACT_QUICK_GELU:
      quick_gelu_row (x, n);
      return;
  }
}

void
avatar_cpu_act (AvatarQueue *queue, AvatarTensor x, AvatarAct act)
{
  gint64 rows = x.rank == 2 ? x.shape[0] : 1, n = x.shape[x.rank - 1];

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < rows; i++)
    avatar_cpu_act_row (avatar_tensor_f32 (x) + (x.rank == 2 ? i * x.stride[0] : 0), n, act);
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
layer_norm_row (float *y, const float *x, const float *scale, const float *shift, float one,
    gint64 n, float eps)
{
  float mean = 0.f, var = 0.f, r;

  avatar_check_write (y, n);
  avatar_check_read (x, n);
  avatar_check_read (scale, n);
  avatar_check_read (shift, n);
#pragma omp simd reduction(+ : mean)
  for (gint64 i = 0; i < n; i++)
    mean += x[i];
  mean /= n;
#pragma omp simd reduction(+ : var)
  for (gint64 i = 0; i < n; i++)
    var += (x[i] - mean) * (x[i] - mean);
  r = 1.f / sqrtf (var / n + eps);
  if (scale && shift)
    for (gint64 i = 0; i < n; i++)
      y[i] = (x[i] - mean) * r * (one + scale[i]) + shift[i];
  else
    for (gint64 i = 0; i < n; i++)
      y[i] = (x[i] - mean) * r * (scale ? one + scale[i] : 1.f) + (shift ? shift[i] : 0.f);
}

void
avatar_cpu_layer_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor scale,
    AvatarTensor shift, AvatarNormScale factor, double eps)
{
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < x.shape[0]; i++)
    layer_norm_row (avatar_tensor_f32 (y) + i * y.stride[0],
        avatar_tensor_f32 (x) + i * x.stride[0], scale.data, shift.data,
        factor == AVATAR_NORM_ONE_PLUS_SCALE ? 1.f : 0.f, x.shape[1], eps);
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
rms_norm_row (float *x, const float *w, gint64 d, float eps)
{
  float sum = 0.f, r;

  avatar_check_write (x, d);
  avatar_check_read (w, d);
#pragma omp simd reduction(+ : sum)
  for (gint64 i = 0; i < d; i++)
    sum += x[i] * x[i];
  r = 1.f / sqrtf (sum / d + eps);
  for (gint64 i = 0; i < d; i++)
    x[i] *= r * w[i];
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
rotate_row (float *x, const float *cos, const float *sin, gint64 pairs)
{
  avatar_check_write (x, 2 * pairs);
  avatar_check_read (cos, pairs);
  avatar_check_read (sin, pairs);
  for (gint64 i = 0; i < pairs; i++) {
    float a = x[2 * i], b = x[2 * i + 1];

    x[2 * i] = a * cos[i] - b * sin[i];
    x[2 * i + 1] = b * cos[i] + a * sin[i];
  }
}

void
avatar_cpu_rms_norm_rope (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor cos, AvatarTensor sin, double eps)
{
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < x.shape[0]; i++)
    for (gint64 h = 0; h < x.shape[1]; h++) {
      float *row = avatar_tensor_f32 (x) + i * x.stride[0] + h * x.stride[1];

      rms_norm_row (row, w.data, x.shape[2], eps);
      if (cos.rank)
        rotate_row (row, avatar_tensor_f32 (cos) + i * cos.stride[0],
            avatar_tensor_f32 (sin) + i * sin.stride[0], x.shape[2] / 2);
    }
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
silu_product_row (float *y, const float *x, gint64 n)
{
  avatar_check_write (y, n);
  avatar_check_read (x, n);
  for (gint64 i = 0; i < n; i++)
    y[i] = y[i] / (1.f + avatar_expf (-y[i])) * x[i];
}

void
avatar_cpu_silu_product (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < y.shape[0]; i++)
    silu_product_row (avatar_tensor_f32 (y) + i * y.stride[0],
        avatar_tensor_f32 (x) + i * x.stride[0], y.shape[1]);
}

void
avatar_cpu_axpby (AvatarQueue *queue, AvatarTensor y, double a, AvatarTensor x, double b)
{
  gint64 n = avatar_tensor_n (x);
  const float *in = x.data;
  float *out = y.data, fa = a, fb = b;

  /* y may be undefined if b = 0, so it is not read then. */
  if (b == 0)
    for (gint64 i = 0; i < n; i++)
      out[i] = fa * in[i];
  else
    for (gint64 i = 0; i < n; i++)
      out[i] = fa * in[i] + fb * out[i];
}

void
avatar_cpu_scale_round (AvatarQueue *queue, AvatarTensor x, double factor, AvatarDType dtype)
{
  gint64 n = avatar_tensor_n (x);
  float *values = x.data, f = factor;

  for (gint64 i = 0; i < n; i++)
    values[i] *= f;
  if (dtype != AVATAR_F32)
    avatar_dtype_round (values, n, dtype);
}

void
avatar_cpu_find_non_finite (AvatarQueue *queue, AvatarTensor flag, AvatarTensor x)
{
  if (!avatar_is_finite (x.data, avatar_tensor_n (x)))
    *(gint32 *) flag.data = 1;
}

/* Copies the outermost dimension, recursively. */
static void
copy_dim (AvatarTensor y, AvatarTensor x)
{
  if (avatar_tensor_is_contiguous (x) && avatar_tensor_is_contiguous (y)) {
    memcpy (y.data, x.data, avatar_tensor_bytes (x));
    return;
  }
  for (gint64 i = 0; i < x.shape[0]; i++) {
    gsize size = avatar_dtype_size (x.dtype);
    const guint8 *from = (const guint8 *) x.data + i * x.stride[0] * (gint64) size;
    guint8 *to = (guint8 *) y.data + i * y.stride[0] * (gint64) size;

    if (x.rank == 1) {
      memcpy (to, from, size);
    } else {
      AvatarTensor a = { .dtype = x.dtype, .rank = x.rank - 1, .data = (void *) from };
      AvatarTensor b = { .dtype = x.dtype, .rank = x.rank - 1, .data = to };

      memcpy (a.shape, x.shape + 1, sizeof (gint64) * (x.rank - 1));
      memcpy (a.stride, x.stride + 1, sizeof (gint64) * (x.rank - 1));
      memcpy (b.shape, y.shape + 1, sizeof (gint64) * (x.rank - 1));
      memcpy (b.stride, y.stride + 1, sizeof (gint64) * (x.rank - 1));
      copy_dim (b, a);
    }
  }
}

void
avatar_cpu_copy (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  copy_dim (y, x);
}

void
avatar_cpu_mean_rows (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor weight)
{
  double total = 0;

  for (gint64 i = 0; i < x.shape[0]; i++)
    total += weight.rank ? avatar_tensor_f32 (weight)[i] : 1;
  for (gint64 j = 0; j < x.shape[1]; j++) {
    double sum = 0;

    for (gint64 i = 0; i < x.shape[0]; i++)
      sum += avatar_tensor_f32 (x)[i * x.stride[0] + j]
          * (double) (weight.rank ? avatar_tensor_f32 (weight)[i] : 1.f);
    avatar_tensor_f32 (y)[j] = total != 0 ? sum / total : 0;
  }
}

void
avatar_cpu_patchify (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const guint patch[3],
    AvatarPatchDirection direction)
{
  const gboolean back = direction == AVATAR_UNPATCHIFY;
  AvatarTensor video = back ? y : x, rows = back ? x : y;
  gint64 nt = video.shape[1] / patch[0], ny = video.shape[2] / patch[1];
  gint64 nx = video.shape[3] / patch[2], volume = (gint64) patch[0] * patch[1] * patch[2];

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < nt * ny * nx; i++) {
    gint64 t = i / (ny * nx), r = i / nx % ny, c = i % nx;
    float *row = avatar_tensor_f32 (rows) + i * rows.stride[0];

    for (gint64 ch = 0; ch < video.shape[0]; ch++)
      for (gint64 p = 0; p < volume; p++) {
        gint64 dt = p / (patch[1] * patch[2]), dy = p / patch[2] % patch[1], dx = p % patch[2];
        float *cell = avatar_tensor_f32 (video) + ch * video.stride[0]
            + (t * patch[0] + dt) * video.stride[1] + (r * patch[1] + dy) * video.stride[2]
            + c * patch[2] + dx;

        if (back)
          *cell = row[ch * volume + p];
        else
          row[ch * volume + p] = *cell;
      }
  }
}

void
avatar_cpu_unfold (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, gint64 kernel, gint64 stride,
    gint64 pad)
{
  gint64 channels = x.shape[1];

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < y.shape[0]; i++) {
    float *row = avatar_tensor_f32 (y) + i * y.stride[0];

    for (gint64 j = 0; j < kernel; j++) {
      gint64 from = i * stride + j - pad;
      gboolean inside = from >= 0 && from < x.shape[0];
      const float *in = avatar_tensor_f32 (x) + (inside ? from * x.stride[0] : 0);

      for (gint64 c = 0; c < channels; c++)
        row[c * kernel + j] = inside ? in[c] : 0.f;
    }
  }
}

void
avatar_cpu_power (AvatarQueue *queue, AvatarTensor y, AvatarTensor x)
{
  gint64 n = y.shape[1];

#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < y.shape[0]; i++) {
    const float *re = avatar_tensor_f32 (x) + i * x.stride[0], *im = re + n;
    float *row = avatar_tensor_f32 (y) + i * y.stride[0];

    for (gint64 j = 0; j < n; j++)
      row[j] = re[j] * re[j] + im[j] * im[j];
  }
}

void
avatar_cpu_blend (AvatarQueue *queue, AvatarTensor y, AvatarTensor before, guint dim)
{
#pragma omp parallel for schedule(static) collapse(2)
  for (gint64 t = 0; t < y.shape[0]; t++)
    for (gint64 row = 0; row < y.shape[1]; row++)
      for (gint64 column = 0; column < y.shape[2]; column++) {
        gint64 at[3] = { t, row, column };
        float weight = (float) at[dim] / y.shape[dim];
        float *to = avatar_tensor_f32 (y);
        const float *from = avatar_tensor_f32 (before);

        for (guint i = 0; i < 3; i++) {
          to += at[i] * y.stride[i];
          from += at[i] * before.stride[i];
        }
        for (gint64 c = 0; c < y.shape[3]; c++)
          to[c] = from[c] * (1 - weight) + to[c] * weight;
      }
}
