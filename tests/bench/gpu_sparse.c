/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention on a GPU beside cuDNN's dense attention, in one run: 24 heads of 128 and the
 * tokens of windows of the released model. Prints a line for each number of tokens, order of
 * tokens, kernel and tau: the time, how many times faster than dense, the share of exact blocks and
 * the relative L2 error against dense.
 *
 *   bench-gpu-sparse DEVICE FRAMESxHEIGHTxWIDTH...     tokens of the image, for example 34x44x48
 *
 * Each channel of a head is a wave over time and space, with wavelengths from 3 to 80 tokens, plus
 * noise: neighbours are alike, as in videos. Queries and keys have the same waves. */
#include "engine/backends/cuda/kernels/kernels.h"
#include "engine/backends/cuda/workspace.h"
#include "engine/device/device.h"
#include "engine/ops/sparse-attention.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEADS ((gint64) 24)
#define D ((gint64) 128)
#define WIDTH (HEADS * D)
#define TEXT ((gint64) 650)
#define TILE 8 /* rows and columns of a tile of tokens, in tile order */
#define SCALE 0.08838834764831845
#define NAMES      \
  {                \
    "mma", "wgmma" \
  }

typedef enum
{
  ORDER_ROWS,  /* frame, row, column */
  ORDER_TILES, /* frame, tiles of 8 x 8, row, column */
  N_ORDERS,
} Order;

typedef struct
{
  AvatarOps *ops;
  gint64 frames, height, width, image, tokens;
  AvatarTensor q, k, v, o; /* [tokens, HEADS, D] */
  AvatarKeyBlocks blocks;
  guint8 *ws;
  guint16 *host, *dense; /* [tokens, WIDTH] */
} Bench;

static guint32
next_random (guint64 *state)
{
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 32;
}

static float
uniform (guint64 *state)
{
  return (gint32) next_random (state) / 2147483648.f;
}

/* Sets t, y, x to the position of the @i-th token of the image. */
static void
position (const Bench *b, Order order, gint64 i, gint64 *t, gint64 *y, gint64 *x)
{
  gint64 s = b->height * b->width, rows;

  *t = i / s;
  i %= s;
  if (order == ORDER_ROWS) {
    *y = i / b->width;
    *x = i % b->width;
    return;
  }
  *y = i / (TILE * b->width) * TILE;
  i -= *y * b->width;
  rows = MIN (TILE, b->height - *y);
  *x = i / (TILE * rows) * TILE;
  i -= *x * rows;
  *y += i / MIN (TILE, b->width - *x);
  *x += i % MIN (TILE, b->width - *x);
}

/* Fills @host with q, k or v. @kind: 0, 1, 2 */
static void
make_values (Bench *b, Order order, guint kind)
{
  g_autofree float *wave = g_new (float, 4 * WIDTH);
  guint64 state = 5;

  for (gint64 c = 0; c < WIDTH; c++) {
    for (guint i = 0; i < 3; i++)
      wave[4 * c + i] = 2 * G_PI / (3 + 77 * pow (fabsf (uniform (&state)), 2))
          * (uniform (&state) < 0 ? -1 : 1) * (i ? 1 : 0.3f);
    wave[4 * c + 3] = uniform (&state) * G_PI + (kind == 2 ? 1 : 0);
  }
#pragma omp parallel for
  for (gint64 i = 0; i < b->tokens; i++) {
    guint64 noise = i * 7919 + kind * 104729 + 1;
    float row[24 * 128];
    gint64 t = 0, y = 0, x = 0;

    if (i < b->image)
      position (b, order, i, &t, &y, &x);
    noise = (noise + t * 131071 + y * 8191 + x) * 0x9e3779b97f4a7c15u;
    for (gint64 c = 0; c < WIDTH; c++) {
      const float *w = wave + 4 * c;

      row[c] = 0.8f * uniform (&noise);
      if (i < b->image)
        row[c] += 1.2f * sinf (w[0] * t + w[1] * y + w[2] * x + w[3]);
    }
    avatar_dtype_from_f32 (b->host + i * WIDTH, AVATAR_BF16, row, WIDTH);
  }
}

static AvatarTensor
make_tensor (Bench *b)
{
  return avatar_tensor_split_last (avatar_ops_alloc (b->ops, 2, b->tokens, WIDTH), D);
}

static void
fill (Bench *b, AvatarTensor t, Order order, guint kind)
{
  make_values (b, order, kind);
  avatar_op_upload_raw (b->ops, avatar_tensor (AVATAR_BF16, t.data, 2, b->tokens, WIDTH), b->host);
  avatar_ops_finish (b->ops);
}

static void
download (Bench *b, guint16 *to)
{
  avatar_op_download_raw (b->ops, to, avatar_tensor (AVATAR_BF16, b->o.data, 2, b->tokens, WIDTH));
}

/* Returns the relative L2 difference of the image's rows of @host and @dense. */
static double
difference (const Bench *b)
{
  double error = 0, size = 0;

#pragma omp parallel for reduction(+ : error, size)
  for (gint64 i = 0; i < b->image; i++) {
    float x[24 * 128], y[24 * 128];

    avatar_dtype_to_f32 (x, b->host + i * WIDTH, AVATAR_BF16, WIDTH);
    avatar_dtype_to_f32 (y, b->dense + i * WIDTH, AVATAR_BF16, WIDTH);
    for (gint64 c = 0; c < WIDTH; c++) {
      error += (x[c] - y[c]) * (x[c] - y[c]);
      size += y[c] * y[c];
    }
  }
  return sqrt (error / size);
}

static void
check (cudaError_t status, const char *what)
{
  if (status != cudaSuccess)
    g_error ("%s: %s", what, cudaGetErrorString (status));
}

typedef void (*Body) (Bench *b, gconstpointer data);

/* Returns the seconds of a call: the median of several, after one that is not timed. */
static double
timed (Bench *b, Body body, gconstpointer data)
{
  double seconds[9];
  guint n = G_N_ELEMENTS (seconds);

  for (guint i = 0; i <= n; i++) {
    gint64 start = g_get_monotonic_time ();

    body (b, data);
    avatar_ops_finish (b->ops);
    check (cudaDeviceSynchronize (), "timing");
    if (i > 0)
      seconds[i - 1] = (g_get_monotonic_time () - start) * 1e-6;
  }
  for (guint i = 0; i < n; i++)
    for (guint j = i + 1; j < n; j++)
      if (seconds[j] < seconds[i]) {
        double swap = seconds[i];

        seconds[i] = seconds[j];
        seconds[j] = swap;
      }
  return seconds[n / 2];
}

/* @data: rows that are computed, or NULL for all */
static void
run_dense (Bench *b, gconstpointer data)
{
  gint64 n = GPOINTER_TO_SIZE (data), first = n ? b->tokens - n : 0;

  avatar_op_attention (b->ops, avatar_tensor_rows (b->o, first, b->tokens - first),
      avatar_tensor_rows (b->q, first, b->tokens - first), b->k, b->v, SCALE, 0, 0,
      AVATAR_NO_TENSOR);
}

/**
 * Sparse:
 * @chunk: queries per call
 */
typedef struct
{
  AvatarSparseKernel kernel;
  double tau;
  gint64 chunk;
} Sparse;

static void
run_means (Bench *b, gconstpointer data)
{
  check (avatar_kernel_key_blocks (NULL, &b->blocks, b->k, b->v), "means");
}

static void
run_sparse (Bench *b, gconstpointer data)
{
  const Sparse *s = data;

  run_means (b, NULL);
  for (gint64 i = 0; i < b->image; i += s->chunk) {
    gint64 n = MIN (s->chunk, b->image - i);
    AvatarSparseAttention a = { avatar_tensor_rows (b->o, i, n), avatar_tensor_rows (b->q, i, n),
      b->k, b->v, b->blocks, SCALE, s->tau, i, b->image };

    check (avatar_kernel_sparse_attention (NULL, &a, b->ws, s->kernel), "sparse");
  }
}

/* Returns the share of blocks that were exact in the last call. */
static double
exact_share (const Bench *b)
{
  AvatarTensor q = avatar_tensor_rows (b->q, 0, b->image);
  gsize n = avatar_cuda_sparse_bits (q, b->k) / 8, count = 0;
  gint64 q_blocks = (b->image + 63) / 64, words = (b->tokens + 4095) / 4096;
  g_autofree guint64 *bits = g_new0 (guint64, n);

  check (cudaMemcpy (bits, b->ws, HEADS * q_blocks * words * 8, cudaMemcpyDeviceToHost), "bits");
  for (gint64 i = 0; i < HEADS * q_blocks * words; i++)
    count += __builtin_popcountll (bits[i]);
  return (double) count / (HEADS * q_blocks) / ((b->tokens + 63) / 64);
}

static void
sparse_line (Bench *b, Order order, const Sparse *s, double dense, double text)
{
  static const char *const names[] = NAMES, *const orders[] = { "rows", "tiles" };
  gsize bytes = avatar_tensor_bytes (b->o);
  double seconds, share;

  check (cudaMemset (b->o.data, 0xff, bytes), "poison");
  seconds = timed (b, run_sparse, s) + text;
  share = s->chunk >= b->image ? exact_share (b) : NAN;
  download (b, b->host);
  g_print ("%6" G_GINT64_FORMAT " %-5s %-7s %6" G_GINT64_FORMAT " tau %.1f %8.3f ms  x %5.2f  "
           "exact %5.1f %%  error %.4f\n",
      b->tokens, orders[order], names[s->kernel], s->chunk, s->tau, seconds * 1e3, dense / seconds,
      share * 100, difference (b));
}

static void
bench_order (Bench *b, Order order, guint kernels)
{
  const double taus[] = { 1.0, 1.5 };
  double dense, text, means;

  fill (b, b->q, order, 0);
  fill (b, b->k, order, 0);
  fill (b, b->v, order, 2);
  dense = timed (b, run_dense, NULL);
  download (b, b->dense);
  text = timed (b, run_dense, GSIZE_TO_POINTER (TEXT));
  means = timed (b, run_means, NULL);
  g_print ("%6" G_GINT64_FORMAT " dense %.3f ms (%.0f TFLOP/s), text rows %.3f ms, means %.3f ms\n",
      b->tokens, dense * 1e3, 4e-12 * b->tokens * b->tokens * WIDTH / dense, text * 1e3,
      means * 1e3);
  for (guint kernel = 0; kernel < kernels; kernel++)
    for (guint i = 0; i < G_N_ELEMENTS (taus); i++) {
      Sparse s = { kernel, taus[i], b->image };

      sparse_line (b, order, &s, dense, text);
      s.chunk = AVATAR_CUDA_ROW_CHUNK;
      if (b->image > s.chunk && i == 0 && kernel == AVATAR_SPARSE_WGMMA)
        sparse_line (b, order, &s, dense, text);
    }
}

static gboolean
bench_size (AvatarDevice *device, const char *size, guint kernels)
{
  g_autoptr (GError) error = NULL;
  Bench b = { 0 };
  AvatarArena *arena = avatar_arena_new (device, (gsize) 4 << 30, "the benchmark", &error);
  AvatarTensor q;

  if (!arena) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  b.ops = avatar_ops_new (device, arena, &error);
  if (!b.ops
      || sscanf (size, "%" G_GINT64_FORMAT "x%" G_GINT64_FORMAT "x%" G_GINT64_FORMAT, &b.frames,
             &b.height, &b.width)
          != 3)
    g_error ("cannot run %s", size);
  b.image = b.frames * b.height * b.width;
  b.tokens = b.image + TEXT;
  b.q = make_tensor (&b);
  b.k = make_tensor (&b);
  b.v = make_tensor (&b);
  b.o = make_tensor (&b);
  q = avatar_tensor_rows (b.q, 0, b.image);
  b.host = g_new (guint16, b.tokens * WIDTH);
  b.dense = g_new (guint16, b.tokens * WIDTH);
  b.blocks = avatar_ops_key_blocks (b.ops, b.k, b.v);
  b.ws = avatar_ops_alloc_as (b.ops, AVATAR_U8, 1, (gint64) avatar_cuda_sparse_workspace (q, b.k))
             .data;
  for (Order order = ORDER_ROWS; order < N_ORDERS; order++)
    bench_order (&b, order, kernels);
  avatar_ops_free (b.ops);
  g_free (b.host);
  g_free (b.dense);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open (argc > 1 ? argv[1] : "cuda", &error);
  guint kernels = AVATAR_SPARSE_MMA + 1;
  int major = 0;

  if (!device) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  cudaDeviceGetAttribute (&major, cudaDevAttrComputeCapabilityMajor, 0);
  if (major == 9 && avatar_kernel_has_sparse_hopper ())
    kernels = AVATAR_SPARSE_WGMMA + 1;
  for (int i = 2; i < argc; i++)
    if (!bench_size (device, argv[i], kernels))
      return 1;
  avatar_device_unref (device);
  return 0;
}
