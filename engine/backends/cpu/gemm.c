/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Linear layers: oneDNN's matrix product, followed by bias, activation or gated sum per row. */
#include "engine/backends/cpu/cpu.h"
#include "engine/backends/cpu/memory-check.h"

#include <oneapi/dnnl/dnnl.h>

void
avatar_cpu_gemm (const AvatarCpuGemm *g)
{
  dnnl_status_t status = dnnl_sgemm ('N', g->b_transposed ? 'T' : 'N', g->m, g->n, g->k, 1.f, g->a,
      g->lda, g->b, g->ldb, g->beta, g->c, g->ldc);

  if (status != dnnl_success)
    g_error ("dnnl_sgemm of %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT " x %" G_GINT64_FORMAT
             " failed with status %d",
        g->m, g->n, g->k, status);
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
add_bias (float *y, const float *b, gint64 n)
{
  avatar_check_write (y, n);
  avatar_check_read (b, n);
  for (gint64 i = 0; i < n; i++)
    y[i] += b[i];
}

/* y [n] += (s + b) * gate * scale; @b and @gate [n] may be NULL. */
AVATAR_SIMD AVATAR_CHECKED_ONCE static void
add_gated (float *y, const float *s, const float *b, const float *gate, float scale, gint64 n)
{
  avatar_check_write (y, n);
  avatar_check_read (s, n);
  avatar_check_read (b, n);
  avatar_check_read (gate, n);
  if (b && gate)
    for (gint64 i = 0; i < n; i++)
      y[i] += (s[i] + b[i]) * gate[i] * scale;
  else if (b)
    for (gint64 i = 0; i < n; i++)
      y[i] += (s[i] + b[i]) * scale;
  else if (gate)
    for (gint64 i = 0; i < n; i++)
      y[i] += s[i] * gate[i] * scale;
  else
    for (gint64 i = 0; i < n; i++)
      y[i] += s[i] * scale;
}

/* c [M, N] = x w^T, with rows of @ldc floats. */
static void
multiply (float *c, gint64 ldc, AvatarTensor x, AvatarTensor w)
{
  avatar_cpu_gemm (&(AvatarCpuGemm){ .m = x.shape[0],
      .n = w.shape[0],
      .k = x.shape[1],
      .a = x.data,
      .lda = x.stride[0],
      .b = w.data,
      .ldb = w.stride[0],
      .b_transposed = TRUE,
      .c = c,
      .ldc = ldc });
}

void
avatar_cpu_linear (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarAct act, void *ws)
{
  gint64 m = x.shape[0], n = w.shape[0];

  if (m == 0)
    return;
  multiply (y.data, y.stride[0], x, w);
  if (!b.rank && act == AVATAR_ACT_NONE)
    return;
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < m; i++) {
    float *row = avatar_tensor_f32 (y) + i * y.stride[0];

    if (b.rank)
      add_bias (row, b.data, n);
    if (act != AVATAR_ACT_NONE)
      avatar_cpu_act_row (row, n, act);
  }
}

gsize
avatar_cpu_linear_add_workspace (AvatarBackendDevice *device, AvatarTensor y, AvatarTensor x,
    AvatarTensor w)
{
  return avatar_tensor_n (y) * sizeof (float);
}

void
avatar_cpu_linear_add (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, AvatarTensor w,
    AvatarTensor b, AvatarTensor gate, AvatarTensor row_scale, void *ws)
{
  gint64 m = x.shape[0], n = w.shape[0];
  float *s = ws;

  if (m == 0)
    return;
  multiply (s, n, x, w);
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < m; i++)
    add_gated (avatar_tensor_f32 (y) + i * y.stride[0], s + i * n, b.data, gate.data,
        row_scale.rank ? avatar_tensor_f32 (row_scale)[i] : 1.f, n);
}
