/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Attention in blocks that fit into the second-level cache, with an online softmax (Milakov and
 * Gimelshein 2018; Dao et al. 2022), so that the score matrix is never stored as a whole. */
#include "engine/backends/cpu/attention.h"
#include "engine/backends/cpu/memory-check.h"

#include <math.h>
#include <omp.h>

#define Q_BLOCK 128
#define K_BLOCK 1024
/* Floats processed at a time: one AVX-512 register, two of AVX2, four of SSE2. */
#define LANES AVATAR_CPU_LANES
#define padded avatar_cpu_padded
#define LOG2_E 1.44269504088896341f

/* Workspace of one thread in floats: scores, output, running maximum and running sum. */
static gsize
thread_floats (gint64 lk, gint64 d)
{
  return Q_BLOCK * (padded (MIN (lk, K_BLOCK)) + padded (d) + 2);
}

gsize
avatar_cpu_attention_workspace (AvatarBackendDevice *device, AvatarTensor q, AvatarTensor k,
    gint64 causal_block, AvatarTensor valid)
{
  return omp_get_max_threads () * thread_floats (k.shape[0], q.shape[2]) * sizeof (float);
}

/* Returns the maximum of @max and s [n], n a multiple of LANES. NaN is ignored here and propagates
 * through the sum. Keeps one maximum per lane, because the compiler may not reorder comparisons of
 * floats that could be NaN. */
AVATAR_CHECKED_ONCE static inline float
row_max (const float *s, gint64 n, float max)
{
  float m[LANES];

  for (int l = 0; l < LANES; l++)
    m[l] = max;
  for (gint64 j = 0; j < n; j += LANES)
#pragma omp simd
    for (int l = 0; l < LANES; l++)
      m[l] = s[j + l] > m[l] ? s[j + l] : m[l];
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++)
      m[l] = m[half + l] > m[l] ? m[half + l] : m[l];
  return m[0];
}

/* s [n] := 2^((s - max) scale), n a multiple of LANES. Returns the sum of s. */
AVATAR_CHECKED_ONCE static inline float
row_exp2 (float *s, gint64 n, float max, float scale)
{
  float sum[LANES] = { 0 };

  for (gint64 j = 0; j < n; j += LANES)
#pragma omp simd
    for (int l = 0; l < LANES; l++) {
      float e = avatar_exp2f_down ((s[j + l] - max) * scale);

      s[j + l] = e;
      sum[l] += e;
    }
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; l++)
      sum[l] += sum[half + l];
  return sum[0];
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static float
softmax_row (float *s, gint64 n, float scale, float old_max, float *sum, float *acc, gint64 d)
{
  float scale2 = scale * LOG2_E, max, total, rescale;

  avatar_check_write (s, padded (n));
  avatar_check_write (acc, d);
  avatar_check_write (sum, 1);
  for (gint64 j = n; j < padded (n); j++)
    s[j] = -INFINITY;
  max = row_max (s, padded (n), old_max);
  if (max == -INFINITY) {
    memset (s, 0, n * sizeof *s);
    return max;
  }
  total = row_exp2 (s, padded (n), max, scale2);
  rescale = old_max == -INFINITY ? 0.f : avatar_exp2f_down ((old_max - max) * scale2);
  *sum = *sum * rescale + total;
  if (rescale != 1.f)
    for (gint64 j = 0; j < d; j++)
      acc[j] *= rescale;
  return max;
}

AVATAR_SIMD AVATAR_CHECKED_ONCE static void
scale_row (float *o, const float *acc, float factor, gint64 d)
{
  avatar_check_write (o, d);
  avatar_check_read (acc, d);
  for (gint64 j = 0; j < d; j++)
    o[j] = acc[j] * factor;
}

/* Variants of one function for several instruction sets would be exported; these are not. */
float
avatar_cpu_softmax_row (float *s, gint64 n, float scale, float old_max, float *sum, float *acc,
    gint64 d)
{
  return softmax_row (s, n, scale, old_max, sum, acc, d);
}

void
avatar_cpu_scale_row (float *o, const float *acc, float factor, gint64 d)
{
  scale_row (o, acc, factor, d);
}

/* Returns the number of leading keys that query @i sees under the causal mask. */
static gint64
visible_keys (const AvatarAttention *self, gint64 i)
{
  gint64 lk = self->k.shape[0];

  if (self->causal_block == 0)
    return lk;
  return MIN (lk, ((i + self->q_start) / self->causal_block + 1) * self->causal_block);
}

/* Sets the scores s [nk] of query @i to minus infinity for the masked keys from @k0 on. */
static void
mask_row (const AvatarAttention *self, gint64 i, gint64 k0, gint64 nk, float *s)
{
  const guint8 *valid = self->valid.data;

  for (gint64 j = MAX (0, visible_keys (self, i) - k0); j < nk; j++)
    s[j] = -INFINITY;
  if (valid)
    for (gint64 j = 0; j < nk; j++)
      if (!(valid[i] && valid[k0 + j]) && k0 + j != 0)
        s[j] = -INFINITY;
}

/* Computes the output of one head for the queries @q0 .. @q0 + @nq - 1. */
static void
attend_block (const AvatarAttention *self, gint64 head, gint64 q0, gint64 nq, float *ws)
{
  const AvatarTensor o = self->o, q = self->q, k = self->k, v = self->v;
  gint64 d = q.shape[2], lk = visible_keys (self, q0 + nq - 1);
  gint64 ld = padded (MIN (k.shape[0], K_BLOCK));
  float *s = ws, *acc = s + Q_BLOCK * ld, *max = acc + Q_BLOCK * padded (d);
  float *sum = max + Q_BLOCK;
  AvatarCpuGemm scores = { .m = nq, .k = d, .lda = q.stride[0], .ldb = k.stride[0], .ldc = ld };
  AvatarCpuGemm output = { .m = nq, .n = d, .lda = ld, .ldb = v.stride[0], .ldc = padded (d) };

  scores.a = avatar_tensor_f32 (q) + q0 * q.stride[0] + head * q.stride[1];
  scores.b_transposed = TRUE;
  scores.c = s;
  output.a = s;
  output.c = acc;
  output.beta = 1;
  memset (acc, 0, Q_BLOCK * padded (d) * sizeof *acc);
  for (gint64 i = 0; i < nq; i++) {
    max[i] = -INFINITY;
    sum[i] = 0.f;
  }
  for (gint64 k0 = 0; k0 < lk; k0 += K_BLOCK) {
    gint64 nk = MIN (K_BLOCK, lk - k0);

    scores.n = output.k = nk;
    scores.b = avatar_tensor_f32 (k) + k0 * k.stride[0] + head * k.stride[1];
    output.b = avatar_tensor_f32 (v) + k0 * v.stride[0] + head * v.stride[1];
    avatar_cpu_gemm (&scores);
    for (gint64 i = 0; i < nq; i++) {
      if (self->causal_block || self->valid.rank)
        mask_row (self, q0 + i, k0, nk, s + i * ld);
      max[i] = softmax_row (s + i * ld, nk, self->scale, max[i], sum + i, acc + i * padded (d), d);
    }
    avatar_cpu_gemm (&output);
  }
  for (gint64 i = 0; i < nq; i++)
    scale_row (avatar_tensor_f32 (o) + (q0 + i) * o.stride[0] + head * o.stride[1],
        acc + i * padded (d), 1.f / sum[i], d);
}

void
avatar_cpu_attention (AvatarQueue *queue, const AvatarAttention *self, void *ws,
    const gint *cancelled)
{
  gint64 lq = self->q.shape[0], blocks = (lq + Q_BLOCK - 1) / Q_BLOCK, heads = self->q.shape[1];
  gsize floats = thread_floats (self->k.shape[0], self->q.shape[2]);

#pragma omp parallel for schedule(dynamic) collapse(2)
  for (gint64 head = 0; head < heads; head++)
    for (gint64 block = 0; block < blocks; block++)
      if (!g_atomic_int_get (cancelled))
        attend_block (self, head, block * Q_BLOCK, MIN (Q_BLOCK, lq - block * Q_BLOCK),
            (float *) ws + omp_get_thread_num () * floats);
}

/* Computes the output o [d] of one query q [d] for @n keys and values of width @d. */
AVATAR_SIMD AVATAR_CHECKED_ONCE static void
attend_few (float *o, const float *q, const float *k, gint64 ldk, const float *v, gint64 ldv,
    gint64 n, gint64 d, float scale)
{
  float s[1024], max = -INFINITY, sum = 0.f;

  avatar_check_write (o, d);
  avatar_check_read (q, d);
  avatar_check_read (k, (n - 1) * ldk + d);
  avatar_check_read (v, (n - 1) * ldv + d);
  for (gint64 j = 0; j < n; j++) {
    float dot = 0.f;

#pragma omp simd reduction(+ : dot)
    for (gint64 c = 0; c < d; c++)
      dot += q[c] * k[j * ldk + c];
    s[j] = dot * scale;
    max = s[j] > max ? s[j] : max;
  }
  for (gint64 j = 0; j < n; j++) {
    s[j] = avatar_expf (s[j] - max);
    sum += s[j];
  }
  memset (o, 0, d * sizeof *o);
  for (gint64 j = 0; j < n; j++) {
    float p = s[j] / sum;

    for (gint64 c = 0; c < d; c++)
      o[c] += p * v[j * ldv + c];
  }
}

void
avatar_cpu_frame_attention (AvatarQueue *queue, AvatarTensor o, AvatarTensor q, AvatarTensor k,
    AvatarTensor v, double scale)
{
  gint64 frames = q.shape[0], rows = q.shape[1], d = q.shape[2];

#pragma omp parallel for collapse(2)
  for (gint64 t = 0; t < frames; t++)
    for (gint64 i = 0; i < rows; i++)
      attend_few (avatar_tensor_f32 (o) + t * o.stride[0] + i * o.stride[1],
          avatar_tensor_f32 (q) + t * q.stride[0] + i * q.stride[1],
          avatar_tensor_f32 (k) + t * k.stride[0], k.stride[1],
          avatar_tensor_f32 (v) + t * v.stride[0], v.stride[1], k.shape[1], d, scale);
}
