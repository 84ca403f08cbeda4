/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations of language models: RMS norm of whole rows, and rotary embedding of the two halves of
 * a head. */
#include "engine/backends/cpu/cpu.h"
#include "engine/backends/cpu/memory-check.h"

#include <math.h>

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
norm_row (float *y, const float *x, const float *w, gint64 n, float eps)
{
  float sum = 0.f, r;

  avatar_check_write (y, n);
  avatar_check_read (x, n);
  avatar_check_read (w, n);
#pragma omp simd reduction(+ : sum)
  for (gint64 i = 0; i < n; i++)
    sum += x[i] * x[i];
  r = 1.f / sqrtf (sum / n + eps);
  for (gint64 i = 0; i < n; i++)
    y[i] = x[i] * r * w[i];
}

void
avatar_cpu_rms_norm (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w, double eps)
{
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < x.shape[0]; i++)
    norm_row (avatar_tensor_f32 (y) + i * y.stride[0], avatar_tensor_f32 (x) + i * x.stride[0],
        w.data, x.shape[1], eps);
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
rotate_halves (float *x, const float *cos, const float *sin, gint64 half)
{
  avatar_check_write (x, 2 * half);
  avatar_check_read (cos, half);
  avatar_check_read (sin, half);
  for (gint64 i = 0; i < half; i++) {
    float a = x[i], b = x[half + i];

    x[i] = a * cos[i] - b * sin[i];
    x[half + i] = b * cos[i] + a * sin[i];
  }
}

void
avatar_cpu_rope_half (AvatarQueue *queue, AvatarTensor x, AvatarTensor cos, AvatarTensor sin)
{
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < x.shape[0]; i++)
    for (gint64 h = 0; h < x.shape[1]; h++)
      rotate_halves (avatar_tensor_f32 (x) + i * x.stride[0] + h * x.stride[1],
          avatar_tensor_f32 (cos) + i * cos.stride[0], avatar_tensor_f32 (sin) + i * sin.stride[0],
          x.shape[2] / 2);
}
