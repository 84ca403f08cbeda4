/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The causal convolution and its group norm against plain loops in double precision, which pad,
 * upsample and normalise one value at a time as upstream does. */
#include "engine/backends/cpu/conv3d.h"
#include "engine/ops/conv3d.h"

#include <math.h>
#include <string.h>

#define LIMIT 4e-7

typedef struct
{
  gint64 t, h, w, in, out;
  AvatarConvShape shape;
  gboolean norm, silu, residual;
} Case;

static const Case cases[] = {
  { 1, 1, 1, 1, 1, { 1, 1, 1, 1 }, FALSE, FALSE, FALSE },
  { 4, 5, 7, 3, 16, { 1, 1, 1, 1 }, FALSE, FALSE, FALSE },
  { 3, 6, 37, 16, 16, { 1, 1, 1, 1 }, TRUE, TRUE, TRUE },
  { 2, 3, 21, 8, 20, { 1, 1, 1, 1 }, TRUE, FALSE, TRUE },
  { 5, 4, 18, 16, 3, { 1, 1, 1, 1 }, TRUE, TRUE, FALSE },
  { 2, 5, 9, 48, 32, { 1, 1, 1, 1 }, TRUE, TRUE, TRUE },
  { 5, 9, 11, 4, 6, { 1, 2, 1, 1 }, FALSE, FALSE, FALSE },
  { 6, 8, 35, 16, 16, { 2, 2, 1, 1 }, TRUE, TRUE, FALSE },
  { 7, 7, 6, 5, 33, { 2, 1, 1, 1 }, FALSE, FALSE, TRUE },
  { 3, 5, 19, 16, 16, { 1, 1, 1, 2 }, FALSE, FALSE, FALSE },
  { 5, 3, 17, 6, 18, { 1, 1, 2, 2 }, TRUE, TRUE, TRUE },
  { 1, 2, 3, 4, 4, { 1, 1, 2, 2 }, FALSE, FALSE, FALSE },
  { 4, 3, 5, 4, 16, { 1, 1, 2, 1 }, FALSE, FALSE, FALSE },
};

static AvatarTensor
random_tensor (guint rank, ...)
{
  gint64 shape[AVATAR_MAX_RANK], n = 1;
  float *data;
  va_list args;

  va_start (args, rank);
  for (guint i = 0; i < rank; i++)
    n *= shape[i] = va_arg (args, gint64);
  va_end (args);
  data = g_new (float, n);
  for (gint64 i = 0; i < n; i++)
    data[i] = g_test_rand_double_range (-1, 1);
  return avatar_tensor_of_shape (AVATAR_F32, data, rank, shape);
}

/* x [T, H, W, C] normalised in groups of 2 channels (1 if odd) by its own statistics. */
static double *
normalised (AvatarTensor x, AvatarTensor gamma, AvatarTensor beta, gint64 groups, gboolean norm,
    gboolean silu)
{
  gint64 n = avatar_tensor_n (x), c = x.shape[3], size = c / groups;
  double *y = g_new (double, n);
  const float *in = x.data;

  for (gint64 i = 0; i < n; i++)
    y[i] = in[i];
  for (gint64 g = 0; norm && g < groups; g++) {
    double mean = 0, var = 0, count = (double) n / groups;

    for (gint64 i = 0; i < n; i++)
      if (i % c / size == g)
        mean += in[i] / count;
    for (gint64 i = 0; i < n; i++)
      if (i % c / size == g)
        var += (in[i] - mean) * (in[i] - mean) / count;
    for (gint64 i = 0; i < n; i++)
      if (i % c / size == g) {
        y[i] = (in[i] - mean) / sqrt (var + 1e-6) * avatar_tensor_f32 (gamma)[i % c]
            + avatar_tensor_f32 (beta)[i % c];
        if (silu)
          y[i] = y[i] / (1 + exp (-y[i]));
      }
  }
  return y;
}

/* Index into the input of index @i of the upsampled one. */
static gint64
source (gint64 i, guint up, gboolean time)
{
  return up == 1 ? i : time ? (i + 1) / 2 : i / 2;
}

/* The sum over the taps; @size: (out): that of its terms' absolute values. */
static double
reference (const Case *c, const double *x, AvatarTensor w, gint64 t, gint64 y, gint64 x0, gint64 o,
    double *size)
{
  const AvatarConvShape *s = &c->shape;
  gint64 up_h = c->h * s->up_s, up_w = c->w * s->up_s;
  double sum = 0;

  *size = 0;
  for (gint64 k = 0; k < 27; k++) {
    gint64 it = source (MAX (0, t * s->stride_t + k / 9 - 2), s->up_t, TRUE);
    gint64 iy = source (CLAMP (y * s->stride_s + k / 3 % 3 - 1, 0, up_h - 1), s->up_s, FALSE);
    gint64 ix = source (CLAMP (x0 * s->stride_s + k % 3 - 1, 0, up_w - 1), s->up_s, FALSE);

    for (gint64 i = 0; i < c->in; i++) {
      double term = x[((it * c->h + iy) * c->w + ix) * c->in + i]
          * avatar_tensor_f32 (w)[(o * c->in + i) * 27 + k];

      sum += term;
      *size += fabs (term);
    }
  }
  return sum;
}

/* The error in the mean square against the size of what was summed, which is what float32 promises
 * something about: the sum itself may be next to 0 by cancellation, and in the case of a single
 * output nothing else makes up for that. */
static double
relative_error (const Case *c, const double *x, AvatarTensor w, AvatarTensor b,
    AvatarTensor residual, AvatarTensor y)
{
  double difference = 0, norm = 0, size;
  gint64 i = 0;

  for (gint64 t = 0; t < y.shape[0]; t++)
    for (gint64 row = 0; row < y.shape[1]; row++)
      for (gint64 column = 0; column < y.shape[2]; column++)
        for (gint64 o = 0; o < c->out; o++, i++) {
          double bias = avatar_tensor_f32 (b)[o];
          double before = c->residual ? avatar_tensor_f32 (residual)[i] : 0;
          double expected = reference (c, x, w, t, row, column, o, &size) + bias + before;

          difference += pow (avatar_tensor_f32 (y)[i] - expected, 2);
          norm += pow (size + fabs (bias) + fabs (before), 2);
        }
  return sqrt (difference / norm);
}

static void
check_sums (const AvatarChannelSums *sums, AvatarTensor y)
{
  gint64 c = sums->channels;

  for (gint64 o = 0; o < 2 * c; o++) {
    double sum = 0, scale = 0;

    for (gint64 i = o % c; i < avatar_tensor_n (y); i += c) {
      double v = avatar_tensor_f32 (y)[i];

      sum += o < c ? v : v * v;
      scale += v * v;
    }
    g_assert_cmpfloat (fabs (sums->sums[o] - sum), <=, 1e-12 * (1 + scale));
  }
  g_assert_cmpint (sums->pixels * c, ==, avatar_tensor_n (y));
}

/* Everything that takes memory, in a plan and for real. */
static void
run (AvatarOps *ops, const Case *c, AvatarTensor x, AvatarTensor gamma, AvatarTensor beta,
    AvatarConv3d *conv, AvatarTensor y, AvatarTensor residual, gint64 groups)
{
  AvatarChannelSums in = avatar_ops_alloc_sums (ops, c->in);
  AvatarChannelSums out = avatar_ops_alloc_sums (ops, c->out);
  AvatarNorm norm = { .silu = c->silu };

  norm.scale = avatar_ops_alloc (ops, 1, c->in);
  norm.shift = avatar_ops_alloc (ops, 1, c->in);
  avatar_op_channel_sums (ops, &in, x);
  avatar_op_group_norm (ops, &norm, &in, gamma, beta, groups, 1e-6);
  avatar_op_conv3d (ops, y, x, conv, c->norm ? &norm : NULL, residual, &out);
  if (!ops->dry_run)
    check_sums (&out, y);
}

static void
check_case (gconstpointer data)
{
  const Case *c = data;
  g_autoptr (GError) error = NULL;
  AvatarDevice *device = avatar_device_open ("cpu", &error);
  AvatarTensor x = random_tensor (4, c->t, c->h, c->w, c->in), y, residual = AVATAR_NO_TENSOR;
  AvatarTensor w = random_tensor (5, c->out, c->in, (gint64) 3, (gint64) 3, (gint64) 3);
  AvatarTensor b = random_tensor (1, c->out), gamma = random_tensor (1, c->in);
  AvatarTensor beta = random_tensor (1, c->in);
  gint64 groups = c->in % 2 ? c->in : c->in / 2, t = c->t, h = c->h, width = c->w;
  g_autofree double *normal = normalised (x, gamma, beta, groups, c->norm, c->silu);
  g_autoptr (AvatarOps) dry_weights = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
  g_autoptr (AvatarConv3d) dry_conv = avatar_conv3d_new (dry_weights, w, b, c->shape);
  g_autoptr (AvatarOps) weights = avatar_ops_new (device,
      avatar_arena_new (device, avatar_arena_peak (dry_weights->arena), "weights", &error), &error);
  g_autoptr (AvatarConv3d) conv = avatar_conv3d_new (weights, w, b, c->shape);
  g_autoptr (AvatarOps) dry_run = avatar_ops_new (device, avatar_arena_new_dry_run (), NULL);
  g_autoptr (AvatarOps) ops = NULL;
  double error_found;

  avatar_conv3d_get_output_size (conv, &t, &h, &width);
  y = random_tensor (4, t, h, width, c->out);
  if (c->residual) /* in place, as the blocks use it */
    residual = avatar_tensor_of_shape (AVATAR_F32, g_memdup2 (y.data, avatar_tensor_bytes (y)), 4,
        y.shape);
  run (dry_run, c, x, gamma, beta, dry_conv, y, c->residual ? y : AVATAR_NO_TENSOR, groups);
  ops = avatar_ops_new (device,
      avatar_arena_new (device, avatar_arena_peak (dry_run->arena), "the test", &error), &error);
  g_assert_no_error (error);
  run (ops, c, x, gamma, beta, conv, y, c->residual ? y : AVATAR_NO_TENSOR, groups);
  g_assert_true (avatar_ops_check (ops, &error));
  g_assert_cmpuint (avatar_arena_peak (ops->arena), ==, avatar_arena_peak (dry_run->arena));
  g_assert_cmpuint (avatar_arena_peak (weights->arena), ==, avatar_arena_peak (dry_weights->arena));
  error_found = relative_error (c, normal, w, b, residual, y);
  g_test_message ("relative L2 error %.3g (limit %g)", error_found, LIMIT);
  g_assert_cmpfloat (error_found, <=, LIMIT);
  g_free (x.data);
  g_free (y.data);
  g_free (residual.data);
  g_free (w.data);
  g_free (b.data);
  g_free (gamma.data);
  g_free (beta.data);
  avatar_device_unref (device);
}

/* The loops for each instruction set that this machine has, against those for every machine. */
static void
check_loops (const AvatarConvLoops *loops)
{
  enum
  {
    WIDTH = 39,
    IN = 5,
    OUT = 13
  };
  AvatarTensor slab = random_tensor (3, (gint64) 9, (gint64) (WIDTH + 2), (gint64) IN);
  AvatarTensor w = random_tensor (1, (gint64) (27 * IN * 16)),
               bias = random_tensor (1, (gint64) 16);
  AvatarTensor scale = random_tensor (1, (gint64) IN), shift = random_tensor (1, (gint64) IN);
  float y[2][WIDTH * OUT], filled[2][(WIDTH + 2) * IN];
  double sums[2][32];
  AvatarConvRow job = { .n_rows = 9,
    .taps_x = 3,
    .channels_in = IN,
    .channels_out = OUT,
    .x_step = IN,
    .y_step = OUT,
    .width = WIDTH,
    .weights = w.data,
    .bias = bias.data };

  for (guint i = 0; i < 9; i++)
    job.rows[i] = avatar_tensor_f32 (slab) + i * (WIDTH + 2) * IN;
  for (guint i = 0; i < 2; i++) {
    const AvatarConvLoops *l = i ? loops : &avatar_conv_loops_any;

    job.y = y[i];
    l->conv_row (&job);
    l->sum_row (sums[i], y[i], WIDTH, OUT, OUT);
    l->fill_row (filled[i], slab.data, WIDTH, IN, scale.data, shift.data, TRUE);
  }
  for (guint i = 0; i < WIDTH * OUT; i++)
    g_assert_cmpfloat (fabsf (y[0][i] - y[1][i]), <=, 2e-5f);
  for (guint i = 0; i < 32; i++)
    g_assert_cmpfloat (fabs (sums[0][i] - sums[1][i]), <=, 1e-2);
  for (guint i = 0; i < (WIDTH + 2) * IN; i++)
    g_assert_cmpfloat (fabsf (filled[0][i] - filled[1][i]), <=, 1e-6f);
  g_free (slab.data);
  g_free (w.data);
  g_free (bias.data);
  g_free (scale.data);
  g_free (shift.data);
}

static void
test_loops (void)
{
  check_loops (&avatar_conv_loops_any);
#if defined(__x86_64__)
  if (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma"))
    check_loops (&avatar_conv_loops_avx2);
  if (__builtin_cpu_supports ("avx512f") && __builtin_cpu_supports ("avx512dq")
      && __builtin_cpu_supports ("avx512vl"))
    check_loops (&avatar_conv_loops_avx512);
#endif
}

/* SiLU far outside the range where its exponential is exact. */
static void
test_silu (void)
{
  const float in[] = { -1e30f, -200, -88, -20, -1, -1e-8f, 0, 1e-8f, 1, 20, 88, 200, 1e30f };
  const gint64 n = G_N_ELEMENTS (in);
  float one = 1, zero = 0, out[G_N_ELEMENTS (in) + 2];

  avatar_conv_loops_any.fill_row (out, in, n, 1, &one, &zero, TRUE);
  for (gint64 i = 0; i < n; i++) {
    double expected = in[i] / (1 + exp (-(double) in[i]));

    g_assert_cmpfloat (fabs (out[i + 1] - expected), <=, 1e-6 * fabs (expected) + 1e-7);
  }
}

#ifdef __SANITIZE_ADDRESS__
/* Computes one pixel into memory that has no space for its last channel: the inner loops are
 * compiled without checks of every access, and must check their memory themselves. */
static void
test_short_row (void)
{
  static const float x[4] = { 1, 2, 3, 4 }, weights[4 * 16], bias[16];
  g_autofree float *y = g_new (float, 15);
  const AvatarConvRow job = { .rows = { x },
    .n_rows = 1,
    .taps_x = 1,
    .channels_in = 4,
    .channels_out = 16,
    .x_step = 4,
    .y_step = 16,
    .width = 1,
    .y = y,
    .weights = weights,
    .bias = bias };

  if (g_test_subprocess ()) {
    avatar_conv_loops_any.conv_row (&job);
    return;
  }
  g_test_trap_subprocess (NULL, 0, 0);
  g_test_trap_assert_failed ();
  g_test_trap_assert_stderr ("*heap-buffer-overflow*avatar_check_read*conv_row*");
}
#endif

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    const Case *c = &cases[i];
    g_autofree char *name = g_strdup_printf ("/conv3d/%d/stride-%u%u-up-%u%u%s%s%s", (int) i,
        c->shape.stride_t, c->shape.stride_s, c->shape.up_t, c->shape.up_s, c->norm ? "-norm" : "",
        c->silu ? "-silu" : "", c->residual ? "-residual" : "");

    g_test_add_data_func (name, c, check_case);
  }
  g_test_add_func ("/conv3d/loops", test_loops);
  g_test_add_func ("/conv3d/silu", test_silu);
#ifdef __SANITIZE_ADDRESS__
  g_test_add_func ("/conv3d/short-row", test_short_row);
#endif
  return g_test_run ();
}
