/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every operation of the CPU against loops in double precision, at odd sizes and strides. */
#include "engine/ops/conv2d.h"

#include <math.h>
#include <string.h>

#define LIMIT 1e-5

static AvatarDevice *device;

static AvatarOps *
make_ops (void)
{
  g_autoptr (GError) error = NULL;
  AvatarArena *arena = avatar_arena_new (device, 64 << 20, "test", &error);

  g_assert_no_error (error);
  return avatar_ops_new (device, arena, NULL);
}

static void
fill (AvatarTensor t)
{
  for (gint64 i = 0; i < avatar_tensor_n (t); i++)
    avatar_tensor_f32 (t)[i] = g_test_rand_double_range (-1, 1);
}

/* A random [m, n] matrix whose rows lie @gap apart, with poison in between. */
static AvatarTensor
matrix (AvatarOps *ops, gint64 m, gint64 n, gint64 gap)
{
  AvatarTensor t = avatar_ops_alloc (ops, 2, m, n + gap);

  for (gint64 i = 0; i < m * (n + gap); i++)
    avatar_tensor_f32 (t)[i] = NAN;
  t = avatar_tensor_cols (t, 0, n);
  for (gint64 i = 0; i < m; i++)
    fill (avatar_tensor (AVATAR_F32, avatar_tensor_f32 (t) + i * t.stride[0], 1, n));
  return t;
}

static AvatarTensor
vector (AvatarOps *ops, gint64 n)
{
  AvatarTensor t = avatar_ops_alloc (ops, 1, n);

  fill (t);
  return t;
}

static double
at (AvatarTensor t, gint64 i, gint64 j)
{
  return avatar_tensor_f32 (t)[i * t.stride[0] + j];
}

static double
at3 (AvatarTensor t, gint64 i, gint64 j, gint64 k)
{
  return avatar_tensor_f32 (t)[i * t.stride[0] + j * t.stride[1] + k];
}

typedef struct
{
  double difference, norm;
} Error;

static void
add_error (Error *e, double ours, double truth)
{
  g_assert_true (isfinite (ours));
  e->difference += (ours - truth) * (ours - truth);
  e->norm += truth * truth;
}

static void
check_error (const Error *e)
{
  g_assert_cmpfloat (sqrt (e->difference / e->norm), <, LIMIT);
}

static double
act (double x, AvatarAct a)
{
  switch (a) {
    case AVATAR_ACT_SILU:
      return x / (1 + exp (-x));
    case AVATAR_ACT_RELU:
      return x > 0 ? x : 0;
    case AVATAR_ACT_GELU:
      return 0.5 * x * (1 + erf (x / sqrt (2)));
    case AVATAR_ACT_GELU_TANH:
      return 0.5 * x * (1 + tanh (sqrt (2 / G_PI) * (x + 0.044715 * x * x * x)));
    case AVATAR_ACT_QUICK_GELU:
      return x / (1 + exp (-1.702 * x));
    case AVATAR_ACT_NONE:
      break;
  }
  return x;
}

static double
dot (AvatarTensor x, gint64 i, AvatarTensor w, gint64 j)
{
  double sum = 0;

  for (gint64 k = 0; k < x.shape[1]; k++)
    sum += at (x, i, k) * at (w, j, k);
  return sum;
}

static void
test_linear (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();

  for (guint a = AVATAR_ACT_NONE; a < AVATAR_N_ACTS; a++) {
    AvatarTensor x = matrix (ops, 37, 23, 5), w = matrix (ops, 19, 23, 0), b = vector (ops, 19);
    AvatarTensor y = matrix (ops, 37, 19, 3), z = matrix (ops, 37, 19, 2);
    AvatarTensor before = matrix (ops, 37, 19, 0), gate = vector (ops, 19);
    AvatarTensor rows = vector (ops, 37);
    Error e = { 0 }, e_add = { 0 };

    avatar_op_copy (ops, before, z);
    avatar_op_linear (ops, y, x, w, a % 2 ? b : AVATAR_NO_TENSOR, a);
    avatar_op_linear_add (ops, z, x, w, a & 1 ? b : AVATAR_NO_TENSOR,
        a & 2 ? gate : AVATAR_NO_TENSOR, a & 4 ? rows : AVATAR_NO_TENSOR);
    for (gint64 i = 0; i < 37; i++)
      for (gint64 j = 0; j < 19; j++) {
        double v = dot (x, i, w, j) + (a % 2 ? avatar_tensor_f32 (b)[j] : 0);

        add_error (&e, at (y, i, j), act (v, a));
        v *= a & 2 ? avatar_tensor_f32 (gate)[j] : 1;
        v *= a & 4 ? avatar_tensor_f32 (rows)[i] : 1;
        add_error (&e_add, at (z, i, j), at (before, i, j) + v);
      }
    check_error (&e);
    check_error (&e_add);
  }
}

/* Every activation far into both tails; NaN stays what it is. */
static void
test_acts (void)
{
  const gint64 n = 8003;

  for (guint a = AVATAR_ACT_NONE; a < AVATAR_N_ACTS; a++) {
    g_autoptr (AvatarOps) ops = make_ops ();
    AvatarTensor x = vector (ops, n);

    for (gint64 i = 0; i < n; i++)
      avatar_tensor_f32 (x)[i] = (i - 4001) * 0.01f;
    avatar_tensor_f32 (x)[17] = NAN;
    avatar_op_act (ops, x, a);
    for (gint64 i = 0; i < n; i++) {
      double v = (i - 4001) * 0.01f;

      if (i == 17)
        g_assert_true (isnan (avatar_tensor_f32 (x)[i]));
      else
        g_assert_cmpfloat_with_epsilon (avatar_tensor_f32 (x)[i], act (v, a),
            1e-6 * (1 + fabs (v)));
    }
  }
}

static void
test_norms (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  const gint64 m = 11, n = 45;

  for (guint variant = 0; variant < 4; variant++) {
    AvatarTensor x = matrix (ops, m, n, 4), y = matrix (ops, m, n, 1);
    AvatarTensor scale = variant ? vector (ops, n) : AVATAR_NO_TENSOR;
    AvatarTensor shift = variant > 1 ? vector (ops, n) : AVATAR_NO_TENSOR;
    Error e = { 0 };

    avatar_op_layer_norm (ops, y, x, scale, shift, variant == 3, 1e-6);
    for (gint64 i = 0; i < m; i++) {
      double mean = 0, var = 0;

      for (gint64 j = 0; j < n; j++)
        mean += at (x, i, j) / n;
      for (gint64 j = 0; j < n; j++)
        var += (at (x, i, j) - mean) * (at (x, i, j) - mean) / n;
      for (gint64 j = 0; j < n; j++) {
        double v = (at (x, i, j) - mean) / sqrt (var + 1e-6);

        v *= scale.rank ? avatar_tensor_f32 (scale)[j] + (variant == 3) : 1;
        v += shift.rank ? avatar_tensor_f32 (shift)[j] : 0;
        add_error (&e, at (y, i, j), v);
      }
    }
    check_error (&e);
  }
}

static void
test_rms_rope (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  const gint64 l = 9, heads = 3, d = 14;
  AvatarTensor flat = matrix (ops, l, heads * d, 7), before = matrix (ops, l, heads * d, 0);
  AvatarTensor x = avatar_tensor_split_last (flat, d), b = avatar_tensor_split_last (before, d);
  AvatarTensor w = vector (ops, d), cosine = matrix (ops, l, d / 2, 0);
  AvatarTensor sine = matrix (ops, l, d / 2, 0);
  Error e = { 0 };

  avatar_op_copy (ops, before, flat);
  avatar_op_rms_norm_rope (ops, x, x, w, cosine, sine, 1e-6);
  for (gint64 i = 0; i < l; i++)
    for (gint64 h = 0; h < heads; h++) {
      double square = 0;

      for (gint64 j = 0; j < d; j++)
        square += at3 (b, i, h, j) * at3 (b, i, h, j) / d;
      for (gint64 j = 0; j < d; j += 2) {
        double r = 1 / sqrt (square + 1e-6), c = at (cosine, i, j / 2), s = at (sine, i, j / 2);
        double p = at3 (b, i, h, j) * r * avatar_tensor_f32 (w)[j];
        double q = at3 (b, i, h, j + 1) * r * avatar_tensor_f32 (w)[j + 1];

        add_error (&e, at3 (x, i, h, j), p * c - q * s);
        add_error (&e, at3 (x, i, h, j + 1), q * c + p * s);
      }
    }
  check_error (&e);
}

typedef struct
{
  gint64 lq, lk, heads, d, block, q_start;
  gboolean valid;
} Attention;

static gboolean
may_see (const Attention *a, const guint8 *valid, gint64 i, gint64 j)
{
  if (valid)
    return (valid[i] && valid[j]) || j == 0;
  return a->block == 0 || j < ((i + a->q_start) / a->block + 1) * a->block;
}

static void
check_attention (const Attention *a)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  g_autofree guint8 *valid = g_new (guint8, a->lk);
  g_autofree double *p = g_new (double, a->lk);
  gint64 width = a->heads * a->d;
  AvatarTensor q = avatar_tensor_split_last (matrix (ops, a->lq, width, 3), a->d);
  AvatarTensor k = avatar_tensor_split_last (matrix (ops, a->lk, width, 5), a->d);
  AvatarTensor v = avatar_tensor_split_last (matrix (ops, a->lk, width, 0), a->d);
  AvatarTensor o = avatar_tensor_split_last (matrix (ops, a->lq, width, 2), a->d);
  Error e = { 0 };

  for (gint64 j = 0; j < a->lk; j++)
    valid[j] = j % 3 != 1;
  avatar_op_attention (ops, o, q, k, v, 1.7, a->block, a->q_start,
      a->valid ? avatar_tensor (AVATAR_U8, valid, 1, a->lk) : AVATAR_NO_TENSOR);
  for (gint64 h = 0; h < a->heads; h++)
    for (gint64 i = 0; i < a->lq; i++) {
      double sum = 0;

      for (gint64 j = 0; j < a->lk; j++) {
        double s = 0;

        for (gint64 c = 0; c < a->d; c++)
          s += at3 (q, i, h, c) * at3 (k, j, h, c);
        sum += p[j] = may_see (a, a->valid ? valid : NULL, i, j) ? exp (1.7 * s) : 0;
      }
      for (gint64 c = 0; c < a->d; c++) {
        double truth = 0;

        for (gint64 j = 0; j < a->lk; j++)
          truth += p[j] / sum * at3 (v, j, h, c);
        add_error (&e, at3 (o, i, h, c), truth);
      }
    }
  check_error (&e);
}

static void
test_attention (void)
{
  static const Attention all[] = {
    { .lq = 5, .lk = 7, .heads = 2, .d = 6 },
    { .lq = 131, .lk = 2100, .heads = 1, .d = 10 },
    { .lq = 300, .lk = 1025, .heads = 2, .d = 4 },
    { .lq = 60, .lk = 60, .heads = 1, .d = 8, .block = 12 },
    { .lq = 24, .lk = 60, .heads = 1, .d = 8, .block = 12, .q_start = 36 },
    { .lq = 300, .lk = 1500, .heads = 1, .d = 4, .block = 100, .q_start = 1200 },
    { .lq = 31, .lk = 31, .heads = 2, .d = 6, .valid = TRUE },
  };

  for (guint i = 0; i < G_N_ELEMENTS (all); i++)
    check_attention (&all[i]);
}

static void
test_frame_attention (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  const gint64 frames = 3, rows = 7, keys = 16, d = 9;
  AvatarTensor q = avatar_ops_alloc (ops, 3, frames, rows, d);
  AvatarTensor o = avatar_ops_alloc (ops, 3, frames, rows, d);
  AvatarTensor kv = avatar_ops_alloc (ops, 3, frames, keys, 2 * d);
  AvatarTensor k = avatar_tensor_cols (kv, 0, d), v = avatar_tensor_cols (kv, d, d);
  Error e = { 0 };

  fill (q);
  fill (kv);
  avatar_op_frame_attention (ops, o, q, k, v, 0.3);
  for (gint64 t = 0; t < frames; t++)
    for (gint64 i = 0; i < rows; i++) {
      double p[16], sum = 0;

      for (gint64 j = 0; j < keys; j++) {
        double s = 0;

        for (gint64 c = 0; c < d; c++)
          s += at3 (q, t, i, c) * at3 (k, t, j, c);
        sum += p[j] = exp (0.3 * s);
      }
      for (gint64 c = 0; c < d; c++) {
        double truth = 0;

        for (gint64 j = 0; j < keys; j++)
          truth += p[j] / sum * at3 (v, t, j, c);
        add_error (&e, at3 (o, t, i, c), truth);
      }
    }
  check_error (&e);
}

static void
test_layouts (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  const guint patch[3] = { 1, 2, 2 };
  AvatarTensor video = avatar_ops_alloc (ops, 4, (gint64) 3, (gint64) 2, (gint64) 4, (gint64) 6);
  AvatarTensor back = avatar_ops_alloc (ops, 4, (gint64) 3, (gint64) 2, (gint64) 4, (gint64) 6);
  AvatarTensor rows = matrix (ops, 12, 12, 2), x = matrix (ops, 8, 3, 1);
  AvatarTensor y = matrix (ops, 4, 9, 0), p = matrix (ops, 5, 4, 1), power = matrix (ops, 5, 2, 1);

  fill (video);
  avatar_op_patchify (ops, rows, video, patch, AVATAR_PATCHIFY);
  /* token t = 1, y = 1, x = 2; channel 2, dy = 1, dx = 0 */
  g_assert_cmpfloat (at (rows, 6 + 3 + 2, 2 * 4 + 2), ==,
      avatar_tensor_f32 (video)[((2 * 2 + 1) * 4 + 3) * 6 + 4]);
  avatar_op_patchify (ops, back, rows, patch, AVATAR_UNPATCHIFY);
  g_assert_cmpmem (back.data, avatar_tensor_bytes (back), video.data, avatar_tensor_bytes (video));
  avatar_op_unfold (ops, y, x, 3, 2, 1);
  for (gint64 i = 0; i < 4; i++)
    for (gint64 c = 0; c < 3; c++)
      for (gint64 j = 0; j < 3; j++) {
        gint64 from = 2 * i + j - 1;

        g_assert_cmpfloat (at (y, i, c * 3 + j), ==, from < 0 || from > 7 ? 0 : at (x, from, c));
      }
  avatar_op_power (ops, power, p);
  g_assert_cmpfloat_with_epsilon (at (power, 4, 1),
      at (p, 4, 1) * at (p, 4, 1) + at (p, 4, 3) * at (p, 4, 3), 1e-6);
}

static void
test_sums (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  AvatarTensor x = matrix (ops, 13, 5, 2), mean = vector (ops, 5), weight = vector (ops, 13);
  AvatarTensor a = vector (ops, 101), b = vector (ops, 101), before = vector (ops, 101);
  double total = 0, sum = 0;

  for (gint64 i = 0; i < 13; i++) {
    avatar_tensor_f32 (weight)[i] = i % 2;
    total += i % 2;
    sum += i % 2 * at (x, i, 3);
  }
  avatar_op_mean_rows (ops, mean, x, weight);
  g_assert_cmpfloat_with_epsilon (avatar_tensor_f32 (mean)[3], sum / total, 1e-6);
  avatar_op_copy (ops, before, b);
  avatar_op_axpby (ops, b, 2, a, -3);
  for (guint i = 0; i < 101; i++)
    g_assert_cmpfloat_with_epsilon (avatar_tensor_f32 (b)[i],
        2 * avatar_tensor_f32 (a)[i] - 3 * avatar_tensor_f32 (before)[i], 1e-6);
  for (guint i = 0; i < 101; i++)
    avatar_tensor_f32 (b)[i] = NAN;
  avatar_op_axpby (ops, b, 2, a, 0);
  g_assert_cmpfloat (avatar_tensor_f32 (b)[100], ==, 2 * avatar_tensor_f32 (a)[100]);
}

/* @v as a value with @bits of mantissa, the first one included; ties to even. */
static double
round_to (double v, int bits)
{
  int exponent;
  double fraction = frexp (v, &exponent);

  return ldexp (rint (ldexp (fraction, bits)), exponent - bits);
}

static void
test_scale_round (void)
{
  static const struct
  {
    AvatarDType dtype;
    int bits;
  } rows[] = { { AVATAR_F32, 24 }, { AVATAR_F16, 11 }, { AVATAR_BF16, 8 } };
  g_autoptr (AvatarOps) ops = make_ops ();
  AvatarTensor x = vector (ops, 1027), before = vector (ops, 1027);

  for (guint k = 0; k < G_N_ELEMENTS (rows); k++) {
    fill (x);
    for (guint i = 0; i < 1027; i++) /* normal numbers of float16 */
      avatar_tensor_f32 (x)[i] += avatar_tensor_f32 (x)[i] < 0 ? -0.01f : 0.01f;
    avatar_op_copy (ops, before, x);
    avatar_op_scale_round (ops, x, -2.7, rows[k].dtype);
    for (guint i = 0; i < 1027; i++)
      g_assert_cmpfloat (avatar_tensor_f32 (x)[i], ==,
          round_to (round_to ((double) avatar_tensor_f32 (before)[i] * -2.7f, 24), rows[k].bits));
  }
}

static void
test_find_non_finite (void)
{
  static const float values[] = { NAN, INFINITY, -INFINITY };
  g_autoptr (AvatarOps) ops = make_ops ();
  AvatarTensor x = vector (ops, 1027), flag = avatar_ops_alloc_as (ops, AVATAR_I32, 1, (gint64) 1);
  gint32 *found = flag.data;

  avatar_op_clear (ops, flag);
  avatar_op_find_non_finite (ops, flag, x);
  g_assert_cmpint (*found, ==, 0);
  for (guint i = 0; i < G_N_ELEMENTS (values); i++) {
    guint at = i * 513; /* the first, one in the middle, the last */

    *found = 0;
    avatar_tensor_f32 (x)[at] = values[i];
    avatar_op_find_non_finite (ops, flag, x);
    g_assert_cmpint (*found, ==, 1);
    avatar_tensor_f32 (x)[at] = 0;
    avatar_op_find_non_finite (ops, flag, x);
    g_assert_cmpint (*found, ==, 1);
  }
}

static void
test_cancel (void)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  g_autoptr (GError) error = NULL;
  AvatarTensor a = vector (ops, 8), b = vector (ops, 8);
  float before = avatar_tensor_f32 (b)[0];

  avatar_ops_cancel (ops);
  avatar_op_copy (ops, b, a);
  g_assert_cmpfloat (avatar_tensor_f32 (b)[0], ==, before);
  g_assert_false (avatar_ops_check (ops, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  avatar_ops_uncancel (ops);
  g_clear_error (&error);
  g_assert_true (avatar_ops_check (ops, &error));
}

static void
test_budget (void)
{
  g_autoptr (AvatarDevice) small = avatar_device_open ("cpu", NULL);
  g_autoptr (GError) error = NULL;
  AvatarMemory memory;
  AvatarArena *arena;

  avatar_device_set_budget (small, 1 << 20);
  g_assert_null (avatar_arena_new (small, (1 << 20) + 1, "a test", &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY);
  g_assert_nonnull (strstr (error->message, "a test"));
  arena = avatar_arena_new (small, 1 << 20, "a test", NULL);
  g_assert_nonnull (arena);
  avatar_device_get_memory (small, &memory);
  g_assert_cmpuint (memory.now, ==, 1 << 20);
  avatar_arena_free (arena);
  avatar_device_get_memory (small, &memory);
  g_assert_cmpuint (memory.now, ==, 0);
  g_assert_cmpuint (memory.peak, ==, 1 << 20);
  g_assert_null (avatar_device_open ("abacus", NULL));
}

/* A random picture, with poison in the channels between its pixels. */
static AvatarTensor
picture (AvatarOps *ops, gint64 h, gint64 w, gint64 c, gint64 gap)
{
  AvatarTensor rows = matrix (ops, h * w, c, gap),
               t = avatar_tensor (AVATAR_F32, rows.data, 3, h, w, c);

  t.stride[1] = c + gap;
  t.stride[0] = w * (c + gap);
  return t;
}

/* x at (y, x), or zero outside. */
static double
seen (AvatarTensor x, gint64 i, gint64 j, gint64 c)
{
  return i >= 0 && j >= 0 && i < x.shape[0] && j < x.shape[1] ? at3 (x, i, j, c) : 0;
}

static void
check_conv2d (gint64 h, gint64 w, gint64 in, gint64 out, gint64 kernel, gint64 stride,
    AvatarAct act)
{
  g_autoptr (AvatarOps) ops = make_ops ();
  AvatarTensor x = picture (ops, h, w, in, 3), weight = matrix (ops, out, kernel * kernel * in, 0);
  AvatarTensor y = picture (ops, (h + stride - 1) / stride, (w + stride - 1) / stride, out, 2);
  AvatarTensor b = vector (ops, out);
  Error e = { 0 };

  avatar_op_conv2d (ops, y, x, weight, b, kernel, stride, act);
  g_assert_true (avatar_ops_check (ops, NULL));
  for (gint64 i = 0; i < y.shape[0]; i++)
    for (gint64 j = 0; j < y.shape[1]; j++)
      for (gint64 o = 0; o < out; o++) {
        double sum = avatar_tensor_f32 (b)[o];

        for (gint64 k = 0; k < kernel * kernel * in; k++)
          sum += at (weight, o, k)
              * seen (x, i * stride + k / in / kernel - kernel / 2,
                  j * stride + k / in % kernel - kernel / 2, k % in);
        add_error (&e, at3 (y, i, j, o), act == AVATAR_ACT_SILU ? sum / (1 + exp (-sum)) : sum);
      }
  check_error (&e);
  g_assert_true (isnan (avatar_tensor_f32 (y)[out])); /* padding is not written */
}

static void
test_conv2d (void)
{
  check_conv2d (5, 7, 3, 4, 3, 1, AVATAR_ACT_SILU);
  check_conv2d (6, 8, 5, 2, 3, 2, AVATAR_ACT_NONE);
  check_conv2d (7, 5, 4, 6, 3, 2, AVATAR_ACT_SILU);
  check_conv2d (9, 4, 7, 5, 1, 1, AVATAR_ACT_SILU);
  check_conv2d (9, 4, 7, 5, 1, 2, AVATAR_ACT_NONE);
  check_conv2d (4, 9, 2, 3, 5, 1, AVATAR_ACT_NONE);
  check_conv2d (1, 1, 1, 1, 3, 1, AVATAR_ACT_NONE);
  check_conv2d (60, 90, 16, 8, 3, 1, AVATAR_ACT_NONE); /* in several stretches of rows */
}

static void
test_pictures (void)
{
  static const guint cases[][3] = { { 2, 2, 0 }, { 3, 1, 1 }, { 7, 1, 3 }, { 5, 2, 2 } };
  g_autoptr (AvatarOps) ops = make_ops ();
  AvatarTensor x = picture (ops, 6, 9, 5, 2), twice = picture (ops, 12, 18, 5, 1);

  for (guint k = 0; k < G_N_ELEMENTS (cases); k++) {
    gint64 kernel = cases[k][0], stride = cases[k][1], pad = cases[k][2];
    AvatarTensor y = picture (ops, (6 + stride - 1) / stride, (9 + stride - 1) / stride, 5, 1);

    avatar_op_max_pool (ops, y, x, kernel, stride, pad);
    for (gint64 i = 0; i < avatar_tensor_n (y); i++) {
      gint64 row = i / 5 / y.shape[1], column = i / 5 % y.shape[1];
      double most = -INFINITY;

      for (gint64 p = 0; p < kernel * kernel; p++) {
        gint64 from_row = row * stride - pad + p / kernel;
        gint64 from_column = column * stride - pad + p % kernel;

        if (from_row >= 0 && from_column >= 0 && from_row < 6 && from_column < 9)
          most = fmax (most, at3 (x, from_row, from_column, i % 5));
      }
      g_assert_cmpfloat (at3 (y, row, column, i % 5), ==, most);
    }
  }
  avatar_op_upsample_2x (ops, twice, x);
  for (gint64 i = 0; i < 12; i++)
    for (gint64 j = 0; j < 18; j++)
      for (gint64 c = 0; c < 5; c++)
        g_assert_cmpfloat (at3 (twice, i, j, c), ==, at3 (x, i / 2, j / 2, c));
  g_assert_true (avatar_ops_check (ops, NULL));
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cpu", NULL);
  g_test_add_func ("/ops/linear", test_linear);
  g_test_add_func ("/ops/norms", test_norms);
  g_test_add_func ("/ops/rms-rope", test_rms_rope);
  g_test_add_func ("/ops/acts", test_acts);
  g_test_add_func ("/ops/attention", test_attention);
  g_test_add_func ("/ops/frame-attention", test_frame_attention);
  g_test_add_func ("/ops/layouts", test_layouts);
  g_test_add_func ("/ops/sums", test_sums);
  g_test_add_func ("/ops/scale-round", test_scale_round);
  g_test_add_func ("/ops/find-non-finite", test_find_non_finite);
  g_test_add_func ("/ops/conv2d", test_conv2d);
  g_test_add_func ("/ops/pictures", test_pictures);
  g_test_add_func ("/ops/cancel", test_cancel);
  g_test_add_func ("/memory/budget", test_budget);
  status = g_test_run ();
  avatar_device_unref (device);
  return status;
}
