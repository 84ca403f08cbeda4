/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every kernel of sparse attention against loops in double precision that make the same choice of
 * blocks, on data that bfloat16 holds exactly; and that choice against one in double precision.
 * Skipped without a GPU. */
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"

#include <math.h>
#include <string.h>

#define D ((gint64) 128)
#define BLOCK AVATAR_SPARSE_BLOCK
#define LIMIT 1e-2
#define SCALE (1 / 11.313708498984761)

/**
 * Case:
 * @sink: keys at the end that are always exact
 * @gap: elements between the heads of two rows
 */
typedef struct
{
  const char *name;
  gint64 lq, lk, heads, q_start, sink, gap;
  double tau;
} Case;

static const Case cases[] = {
  { "one block", 64, 64, 1, 0, 0, 0, 1 },
  { "few tokens", 5, 7, 2, 0, 0, 0, 1 },
  { "all exact", 128, 1024, 1, 0, 0, 0, -1e6 },
  { "means only", 128, 2048, 1, 0, 0, 0, 1e6 },
  { "odd sizes", 517, 1355, 3, 0, 77, 128, 1 },
  { "second chunk", 300, 2000, 2, 700, 100, 256, 1.5 },
  { "many words", 192, 13000, 1, 6400, 650, 0, 1 },
  { "half exact", 640, 4133, 2, 64, 37, 128, 0 },
};

/* Operands of a case: on the host as float32, and on the device as bfloat16. */
typedef struct
{
  const Case *c;
  float *q, *k, *v; /* [rows, heads, D] */
  AvatarSparseAttention a;
  void *memory[16];
  guint n_memory;
  guint64 *bits; /* [heads, blocks of queries, words] */
  float *out;
} Run;

static void
check (cudaError_t status, const char *what)
{
  if (status != cudaSuccess)
    g_error ("%s: %s", what, cudaGetErrorString (status));
}

static void *
device_memory (Run *run, gsize bytes)
{
  void *p;

  check (cudaMalloc (&p, bytes), "memory");
  check (cudaMemset (p, 0xff, bytes), "poison"); /* NaN: what is not written is seen */
  run->memory[run->n_memory++] = p;
  return p;
}

static AvatarTensor
tensor (Run *run, AvatarDType dtype, gint64 a, gint64 b, gint64 c)
{
  return avatar_tensor (dtype, device_memory (run, a * b * c * avatar_dtype_size (dtype)), 3, a, b,
      c);
}

/* Fills x [rows, heads, D] with a walk of 20 rows a step plus noise, rounded to bfloat16, and
 * returns its copy on the device, whose rows lie apart by the gap. */
static AvatarTensor
upload (Run *run, float **x, gint64 rows, guint seed)
{
  gint64 width = run->c->heads * D, stride = width + run->c->gap;
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autofree float *slow = g_new0 (float, width);
  g_autofree guint16 *rounded = g_new (guint16, rows * width);
  AvatarTensor t;

  *x = g_new (float, rows *width);
  for (gint64 i = 0; i < rows * width; i++) {
    if (i / width % 20 == 0)
      slow[i % width] = slow[i % width] * 0.7 + g_rand_double_range (rand, -1, 1);
    (*x)[i] = slow[i % width] + g_rand_double_range (rand, -0.7, 0.7);
  }
  avatar_dtype_from_f32 (rounded, AVATAR_BF16, *x, rows * width);
  avatar_dtype_to_f32 (*x, rounded, AVATAR_BF16, rows * width);
  t = avatar_tensor (AVATAR_BF16, device_memory (run, rows * stride * 2), 2, rows, stride);
  check (cudaMemcpy2D (t.data, stride * 2, rounded, width * 2, width * 2, rows,
             cudaMemcpyHostToDevice),
      "upload");
  return avatar_tensor_split_last (avatar_tensor_cols (t, 0, width), D);
}

static void
begin (Run *run, const Case *c)
{
  gint64 blocks = (c->lk + BLOCK - 1) / BLOCK, padded = (blocks + 63) / 64 * 64, stride;
  AvatarSparseAttention *a = &run->a;

  run->c = c;
  a->q = upload (run, &run->q, c->lq, 1);
  a->k = upload (run, &run->k, c->lk, 2);
  a->v = upload (run, &run->v, c->lk, 3);
  stride = c->heads * D + c->gap;
  a->o = avatar_tensor_split_last (avatar_tensor_cols (avatar_tensor (AVATAR_BF16,
                                                           device_memory (run, c->lq * stride * 2),
                                                           2, c->lq, stride),
                                       0, c->heads * D),
      D);
  a->blocks.mean = tensor (run, AVATAR_F32, c->heads, padded, D);
  a->blocks.keys = tensor (run, AVATAR_BF16, c->heads, padded, D);
  a->blocks.values = tensor (run, AVATAR_BF16, c->heads, padded, D);
  a->blocks.center = tensor (run, AVATAR_F32, 1, c->heads, D);
  a->blocks.variance = tensor (run, AVATAR_F32, 1, c->heads, D);
  a->scale = SCALE;
  a->tau = c->tau;
  a->q_start = c->q_start;
  a->sink = c->lk - c->sink;
}

static void
end (Run *run)
{
  for (guint i = 0; i < run->n_memory; i++)
    cudaFree (run->memory[i]);
  g_free (run->q);
  g_free (run->k);
  g_free (run->v);
  g_free (run->bits);
  g_free (run->out);
}

/* Runs a kernel and downloads the output and the words of exact blocks. */
static void
run_kernel (Run *run, AvatarSparseKernel kernel)
{
  const AvatarSparseAttention *a = &run->a;
  gsize ws_bytes = avatar_cuda_sparse_workspace (a->q, a->k);
  gsize bits_bytes = avatar_cuda_sparse_bits (a->q, a->k);
  gint64 width = run->c->heads * D, rows = run->c->lq;
  void *ws = device_memory (run, ws_bytes);
  g_autofree guint16 *out = g_new (guint16, rows * width);

  check (avatar_kernel_key_blocks (NULL, &a->blocks, a->k, a->v), "means of keys");
  check (avatar_kernel_sparse_attention (NULL, a, ws, kernel), "sparse attention");
  check (cudaDeviceSynchronize (), "sparse attention");
  run->bits = g_malloc (bits_bytes);
  check (cudaMemcpy (run->bits, ws, bits_bytes, cudaMemcpyDeviceToHost), "download");
  check (cudaMemcpy2D (out, width * 2, a->o.data, a->o.stride[0] * 2, width * 2, rows,
             cudaMemcpyDeviceToHost),
      "download");
  run->out = g_new (float, rows *width);
  avatar_dtype_to_f32 (run->out, out, AVATAR_BF16, rows * width);
}

/* Sets mean [blocks, D] to the means of the blocks of x [rows, heads, D] for a head. */
static double *
means (const float *x, gint64 rows, gint64 heads, gint64 h)
{
  gint64 blocks = (rows + BLOCK - 1) / BLOCK;
  double *mean = g_new0 (double, blocks *D);

  for (gint64 i = 0; i < rows; i++)
    for (gint64 c = 0; c < D; c++)
      mean[i / BLOCK * D + c]
          += x[(i * heads + h) * D + c] / (double) MIN (BLOCK, rows - i / BLOCK * BLOCK);
  return mean;
}

static double
dot (const double *a, const double *b)
{
  double sum = 0;

  for (gint64 c = 0; c < D; c++)
    sum += a[c] * b[c];
  return sum;
}

/* Returns how many choices of the kernel are wrong for block @block of the queries, which is not
 * counted where the score is next to the threshold. */
static guint
wrong_choices (const Run *run, const double *mean_q, const double *mean_k, gint64 block,
    const guint64 *bits)
{
  const Case *c = run->c;
  gint64 n = (c->lk + BLOCK - 1) / BLOCK, end = MIN (c->lq, (block + 1) * BLOCK) - 1;
  gint64 near = (c->q_start + block * BLOCK) / BLOCK - 1, far = (c->q_start + end) / BLOCK + 1;
  double s = SCALE / log (2), spread = 0, middle = 0, limit;
  const double *q = mean_q + block * D;
  guint wrong = 0;

  for (gint64 col = 0; col < D; col++) {
    double m = 0, variance = 0;

    for (gint64 j = 0; j < n; j++)
      m += mean_k[j * D + col] / n;
    for (gint64 j = 0; j < n; j++)
      variance += pow (mean_k[j * D + col] - m, 2) / n;
    middle += s * q[col] * m;
    spread += pow (s * q[col], 2) * variance;
  }
  limit = middle + c->tau * sqrt (spread + AVATAR_SPARSE_EPS);
  for (gint64 j = 0; j < n; j++) {
    double score = s * dot (q, mean_k + j * D);
    gboolean fixed = (j >= near && j <= far) || (j + 1) * BLOCK > c->lk - c->sink;
    gboolean exact = fixed || score > limit, chosen = bits[j / 64] >> (j % 64) & 1;

    wrong += exact != chosen && (fixed || fabs (score - limit) > 1e-4 * sqrt (spread + 1e-6));
  }
  return wrong;
}

/* truth [D] = the output of query @i of a head, with the blocks that the kernel chose. */
static void
truth_of (const Run *run, gint64 h, gint64 i, const double *mean_k, const double *mean_v,
    const guint64 *bits, double *truth)
{
  const Case *c = run->c;
  double total = 0;

  memset (truth, 0, D * sizeof *truth);
  for (gint64 j = 0, step; j < c->lk; j += step) {
    gint64 block = j / BLOCK;
    gboolean exact = bits[block / 64] >> (block % 64) & 1;
    double score = 0, weight;

    step = exact ? 1 : MIN (BLOCK, c->lk - j);
    for (gint64 col = 0; col < D; col++)
      score += run->q[(i * c->heads + h) * D + col]
          * (exact ? run->k[(j * c->heads + h) * D + col] : mean_k[block * D + col]);
    weight = step * exp (score * SCALE);
    total += weight;
    for (gint64 col = 0; col < D; col++)
      truth[col]
          += weight * (exact ? run->v[(j * c->heads + h) * D + col] : mean_v[block * D + col]);
  }
  for (gint64 col = 0; col < D; col++)
    truth[col] /= total;
}

/**
 * Result: sums over the output
 * @error, @size: squares of the differences and of the truth
 * @part: squares of the differences by half of the columns and quarter of a block's rows
 */
typedef struct
{
  double error, size, part[2][4];
  guint wrong, exact, blocks;
} Result;

static void
compare_head (const Run *run, gint64 h, Result *result)
{
  const Case *c = run->c;
  gint64 q_blocks = (c->lq + BLOCK - 1) / BLOCK, words = (c->lk + 4095) / 4096;
  g_autofree double *mean_q = means (run->q, c->lq, c->heads, h);
  g_autofree double *mean_k = means (run->k, c->lk, c->heads, h);
  g_autofree double *mean_v = means (run->v, c->lk, c->heads, h);

  for (gint64 i = 0; i < c->lq; i++) {
    const guint64 *bits = run->bits + (h * q_blocks + i / BLOCK) * words;
    double truth[128];

    if (i % BLOCK == 0) {
      result->wrong += wrong_choices (run, mean_q, mean_k, i / BLOCK, bits);
      for (gint64 w = 0; w < words; w++)
        result->exact += __builtin_popcountll (bits[w]);
      result->blocks += (c->lk + BLOCK - 1) / BLOCK;
    }
    truth_of (run, h, i, mean_k, mean_v, bits, truth);
    for (gint64 col = 0; col < D; col++) {
      double e = pow (run->out[(i * c->heads + h) * D + col] - truth[col], 2);

      result->error += e;
      result->part[col / 64][i % 64 / 16] += e;
      result->size += truth[col] * truth[col];
    }
  }
}

static void
check_case (const Case *c, AvatarSparseKernel kernel, const char *name)
{
  Run run = { 0 };
  Result r = { 0 };
  double error;
  gboolean ok;

  begin (&run, c);
  run_kernel (&run, kernel);
  for (gint64 h = 0; h < c->heads; h++)
    compare_head (&run, h, &r);
  error = sqrt (r.error / r.size);
  ok = error < LIMIT && r.wrong == 0;
  g_print ("# %-7s %-14s %5" G_GINT64_FORMAT " x %5" G_GINT64_FORMAT
           " tau %8.3g  exact %5.1f %%  wrong choices %u  error %.2e%s\n",
      name, c->name, c->lq, c->lk, c->tau, 100. * r.exact / r.blocks, r.wrong, error,
      ok ? "" : "  FAILED");
  if (!ok) {
    g_print ("#   by half of the columns and quarter of the rows:");
    for (guint i = 0; i < 8; i++)
      g_print (" %.2e", sqrt (r.part[i / 4][i % 4] / r.size * 8));
    g_print ("\n");
    g_test_fail ();
  }
  end (&run);
}

static void
test_kernel (gconstpointer data)
{
  static const char *const names[] = { "mma", "wgmma" };
  AvatarSparseKernel kernel = GPOINTER_TO_UINT (data);

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    check_case (&cases[i], kernel, names[kernel]);
}

int
main (int argc, char **argv)
{
  int devices = 0, major = 0;
  gboolean hopper;

  g_test_init (&argc, &argv, NULL);
  if (cudaGetDeviceCount (&devices) != cudaSuccess || devices == 0)
    return 77;
  check (cudaDeviceGetAttribute (&major, cudaDevAttrComputeCapabilityMajor, 0), "device");
  hopper = major == 9 && avatar_kernel_has_sparse_hopper ();
  if (major >= 8)
    g_test_add_data_func ("/sparse/mma", GUINT_TO_POINTER (AVATAR_SPARSE_MMA), test_kernel);
  if (hopper)
    g_test_add_data_func ("/sparse/wgmma", GUINT_TO_POINTER (AVATAR_SPARSE_WGMMA), test_kernel);
  return g_test_run ();
}
