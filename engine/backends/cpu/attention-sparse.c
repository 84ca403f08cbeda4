/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention (docs/dev/sparse-attention.md): the plain reference of the CUDA kernels. */
#include "engine/backends/cpu/attention.h"

#include <math.h>
#include <omp.h>

#define BLOCK AVATAR_SPARSE_BLOCK
#define K_BLOCK (16 * BLOCK) /* keys per matrix product */
#define LOG2_E 1.44269504088896341

static gint64
blocks_of (gint64 tokens)
{
  return (tokens + BLOCK - 1) / BLOCK;
}

/* Returns row @block of head @head of the summary t [heads, blocks, d]. */
static float *
summary_row (AvatarTensor t, gint64 head, gint64 block)
{
  return avatar_tensor_f32 (t) + head * t.stride[0] + block * t.stride[1];
}

/* Workspace of one thread in floats: scores, output, running maximum and sum, the mean of the
 * queries, and one flag per block of keys. */
static gsize
thread_floats (gint64 lk, gint64 d)
{
  return BLOCK * (K_BLOCK + avatar_cpu_padded (d) + 2) + d + blocks_of (lk);
}

gsize
avatar_cpu_sparse_attention_workspace (AvatarBackendDevice *device,
    const AvatarSparseAttention *self)
{
  return omp_get_max_threads () * thread_floats (self->k.shape[0], self->q.shape[2])
      * sizeof (float);
}

gboolean
avatar_cpu_supports_sparse_attention (AvatarBackendDevice *device, gint64 d)
{
  return TRUE;
}

/* mean [d] = the mean of rows @first .. @first + @n - 1 of head @head of x. */
static void
mean_of (float *mean, AvatarTensor x, gint64 head, gint64 first, gint64 n)
{
  gint64 d = x.shape[2];

  memset (mean, 0, d * sizeof *mean);
  for (gint64 i = first; i < first + n; i++) {
    const float *row = avatar_tensor_f32 (x) + i * x.stride[0] + head * x.stride[1];

    for (gint64 c = 0; c < d; c++)
      mean[c] += row[c];
  }
  for (gint64 c = 0; c < d; c++)
    mean[c] /= n;
}

/* Sets center and variance [d] of a head to the moments of its @n means. */
static void
moments (const AvatarKeyBlocks *blocks, gint64 head, gint64 n)
{
  gint64 d = blocks->mean.shape[2];
  float *center = avatar_tensor_f32 (blocks->center) + head * d;
  float *variance = avatar_tensor_f32 (blocks->variance) + head * d;

  for (gint64 c = 0; c < d; c++) {
    double sum = 0, square = 0;

    for (gint64 j = 0; j < n; j++)
      sum += summary_row (blocks->mean, head, j)[c];
    center[c] = sum / n;
    for (gint64 j = 0; j < n; j++) {
      double x = summary_row (blocks->mean, head, j)[c] - sum / n;

      square += x * x;
    }
    variance[c] = square / n;
  }
}

void
avatar_cpu_key_blocks (AvatarQueue *queue, const AvatarKeyBlocks *blocks, AvatarTensor k,
    AvatarTensor v)
{
  gint64 lk = k.shape[0], heads = k.shape[1], d = k.shape[2], n = blocks_of (lk);
  gint64 padding = (blocks->mean.shape[1] - n) * d;

#pragma omp parallel for
  for (gint64 head = 0; head < heads; head++) {
    for (gint64 j = 0; j < n; j++) {
      gint64 rows = MIN (BLOCK, lk - j * BLOCK);

      mean_of (summary_row (blocks->mean, head, j), k, head, j * BLOCK, rows);
      mean_of (summary_row (blocks->values, head, j), v, head, j * BLOCK, rows);
    }
    memset (summary_row (blocks->mean, head, n), 0, padding * sizeof (float));
    memset (summary_row (blocks->values, head, n), 0, padding * sizeof (float));
    moments (blocks, head, n);
  }
}

/**
 * Query: a block of queries of one head
 * @first: its first query; @n: their number
 * @s: scores [n, K_BLOCK]; @acc: output [n, padded d]; @max, @sum: [n], maximum and sum of s
 * @mean: [d], the mean of the queries
 * @exact: [blocks of keys], 1 if the block is exact
 */
typedef struct
{
  gint64 head, first, n;
  float *s, *acc, *max, *sum, *mean, *exact;
} Query;

static double
dot (const float *a, const float *b, gint64 d)
{
  double sum = 0;

  for (gint64 c = 0; c < d; c++)
    sum += (double) a[c] * b[c];
  return sum;
}

/* Sets the flags of the blocks of keys that are exact for the queries. */
static void
choose (const AvatarSparseAttention *self, const Query *x)
{
  gint64 d = self->q.shape[2], lk = self->k.shape[0], start = self->q_start + x->first;
  gint64 near = start / BLOCK - 1, far = (start + x->n - 1) / BLOCK + 1;
  const float *variance = avatar_tensor_f32 (self->blocks.variance) + x->head * d;
  double s = self->scale * LOG2_E, spread = 0, limit;

  mean_of (x->mean, self->q, x->head, x->first, x->n);
  for (gint64 c = 0; c < d; c++)
    spread += (double) x->mean[c] * x->mean[c] * variance[c];
  limit = s * dot (x->mean, avatar_tensor_f32 (self->blocks.center) + x->head * d, d)
      + self->tau * sqrt (s * s * spread + AVATAR_SPARSE_EPS);
  for (gint64 j = 0; j < blocks_of (lk); j++)
    x->exact[j] = s * dot (x->mean, summary_row (self->blocks.mean, x->head, j), d) > limit
        || (j >= near && j <= far) || (j + 1) * BLOCK > self->sink;
}

/* Adds @n keys and values to the softmax and the output. @keys, @values: their rows, @ldk and @ldv
 * apart; @first_mean: the block of the first one if they are means of blocks, else -1 */
static void
attend (const AvatarSparseAttention *self, const Query *x, const float *keys, gint64 ldk,
    const float *values, gint64 ldv, gint64 n, gint64 first_mean)
{
  gint64 d = self->q.shape[2], ld = avatar_cpu_padded (d), lk = self->k.shape[0];
  AvatarCpuGemm scores = { .m = x->n,
    .n = n,
    .k = d,
    .a = avatar_tensor_f32 (self->q) + x->first * self->q.stride[0] + x->head * self->q.stride[1],
    .b = keys,
    .c = x->s,
    .lda = self->q.stride[0],
    .ldb = ldk,
    .ldc = K_BLOCK,
    .b_transposed = TRUE };
  AvatarCpuGemm output = { .m = x->n,
    .n = d,
    .k = n,
    .a = x->s,
    .b = values,
    .c = x->acc,
    .lda = K_BLOCK,
    .ldb = ldv,
    .ldc = ld,
    .beta = 1 };

  avatar_cpu_gemm (&scores);
  for (gint64 i = 0; i < x->n; i++) {
    float *s = x->s + i * K_BLOCK;

    for (gint64 j = 0; first_mean >= 0 && j < n; j++) {
      gint64 block = first_mean + j, tokens = MIN (BLOCK, lk - block * BLOCK);

      s[j] = x->exact[block] ? -INFINITY : s[j] + (float) (log (tokens) / self->scale);
    }
    x->max[i]
        = avatar_cpu_softmax_row (s, n, self->scale, x->max[i], x->sum + i, x->acc + i * ld, d);
  }
  avatar_cpu_gemm (&output);
}

/* Computes the output of a block of queries: the means of all blocks that are not exact, then each
 * run of exact ones. */
static void
attend_block (const AvatarSparseAttention *self, const Query *x)
{
  const AvatarTensor k = self->k, v = self->v, o = self->o;
  gint64 d = k.shape[2], ld = avatar_cpu_padded (d), lk = k.shape[0], n = blocks_of (lk), run;

  choose (self, x);
  memset (x->acc, 0, x->n * ld * sizeof (float));
  for (gint64 i = 0; i < x->n; i++) {
    x->max[i] = -INFINITY;
    x->sum[i] = 0;
  }
  for (gint64 j = 0; j < n; j += K_BLOCK)
    attend (self, x, summary_row (self->blocks.keys, x->head, j), d,
        summary_row (self->blocks.values, x->head, j), d, MIN (K_BLOCK, n - j), j);
  for (gint64 j = 0; j < n; j += run) {
    gint64 row = j * BLOCK;

    for (run = 0; j + run < n && run < K_BLOCK / BLOCK && x->exact[j + run]; run++)
      ;
    if (run > 0)
      attend (self, x, avatar_tensor_f32 (k) + row * k.stride[0] + x->head * k.stride[1],
          k.stride[0], avatar_tensor_f32 (v) + row * v.stride[0] + x->head * v.stride[1],
          v.stride[0], MIN (run * BLOCK, lk - row), -1);
    run = MAX (run, 1);
  }
  for (gint64 i = 0; i < x->n; i++)
    avatar_cpu_scale_row (avatar_tensor_f32 (o) + (x->first + i) * o.stride[0]
            + x->head * o.stride[1],
        x->acc + i * ld, 1.f / x->sum[i], d);
}

void
avatar_cpu_sparse_attention (AvatarQueue *queue, const AvatarSparseAttention *self, void *ws,
    const gint *cancelled)
{
  gint64 lq = self->q.shape[0], heads = self->q.shape[1], d = self->q.shape[2];
  gsize floats = thread_floats (self->k.shape[0], d);

#pragma omp parallel for schedule(dynamic) collapse(2)
  for (gint64 head = 0; head < heads; head++)
    for (gint64 block = 0; block < blocks_of (lq); block++) {
      float *memory = (float *) ws + omp_get_thread_num () * floats;
      Query x = { .head = head, .first = block * BLOCK, .n = MIN (BLOCK, lq - block * BLOCK) };

      x.s = memory;
      x.acc = x.s + BLOCK * K_BLOCK;
      x.max = x.acc + BLOCK * avatar_cpu_padded (d);
      x.sum = x.max + BLOCK;
      x.mean = x.sum + BLOCK;
      x.exact = x.mean + d;
      if (!g_atomic_int_get (cancelled))
        attend_block (self, &x);
    }
}
