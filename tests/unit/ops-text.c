/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations of the text encoders against loops in double precision, and large products that
 * are cut into pieces. */
#include "engine/backends/fake/fake.h"
#include "engine/ops/ops.h"

#include <math.h>

#define LIMIT 1e-6

static AvatarDevice *device;

static AvatarOps *
make_ops (AvatarDevice *on, gsize bytes)
{
  g_autoptr (GError) error = NULL;
  AvatarArena *arena = avatar_arena_new (on, bytes, "test", &error);

  g_assert_no_error (error);
  return avatar_ops_new (on, arena, NULL);
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
copy_of (AvatarOps *ops, AvatarTensor t)
{
  AvatarTensor copy = avatar_ops_alloc (ops, 2, t.shape[0], t.shape[1]);

  avatar_op_copy (ops, copy, t);
  return copy;
}

static double
at (AvatarTensor t, gint64 i, gint64 j)
{
  return avatar_tensor_f32 (t)[i * t.stride[0] + j];
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
  g_assert_cmpfloat (e->norm, >, 0);
  g_assert_cmpfloat (sqrt (e->difference / e->norm), <, LIMIT);
}

static void
test_rms_norm (void)
{
  g_autoptr (AvatarOps) ops = make_ops (device, 1 << 20);
  const gint64 m = 11, n = 45;
  AvatarTensor x = matrix (ops, m, n, 3), y = matrix (ops, m, n, 1);
  AvatarTensor w = avatar_ops_alloc (ops, 1, n);
  Error e = { 0 };

  fill (w);
  avatar_op_rms_norm (ops, y, x, w, 1e-2);
  for (gint64 i = 0; i < m; i++) {
    double squares = 0;

    for (gint64 j = 0; j < n; j++)
      squares += at (x, i, j) * at (x, i, j);
    for (gint64 j = 0; j < n; j++)
      add_error (&e, at (y, i, j),
          at (x, i, j) / sqrt (squares / n + 1e-2) * avatar_tensor_f32 (w)[j]);
  }
  check_error (&e);
}

static void
test_rope_half (void)
{
  g_autoptr (AvatarOps) ops = make_ops (device, 1 << 20);
  const gint64 rows = 7, heads = 3, d = 10, half = d / 2;
  AvatarTensor x = matrix (ops, rows, heads * d, 5), cos = matrix (ops, rows, half, 0);
  AvatarTensor sin = matrix (ops, rows, half, 2), before = copy_of (ops, x);
  Error e = { 0 };

  avatar_op_rope_half (ops, avatar_tensor_split_last (x, d), cos, sin);
  for (gint64 i = 0; i < rows; i++)
    for (gint64 c = 0; c < heads * d; c++) {
      gint64 j = c % half;
      gboolean second = c % d >= half;
      double other = at (before, i, second ? c - half : c + half);

      add_error (&e, at (x, i, c),
          at (before, i, c) * at (cos, i, j) + (second ? other : -other) * at (sin, i, j));
    }
  check_error (&e);
}

static void
test_silu_product (void)
{
  g_autoptr (AvatarOps) ops = make_ops (device, 1 << 20);
  const gint64 m = 9, n = 37;
  AvatarTensor x = matrix (ops, m, n, 3), y = matrix (ops, m, n, 1), before = copy_of (ops, y);
  Error e = { 0 };

  avatar_op_silu_product (ops, y, x);
  for (gint64 i = 0; i < m; i++)
    for (gint64 j = 0; j < n; j++) {
      double g = at (before, i, j);

      add_error (&e, at (y, i, j), g / (1 + exp (-g)) * at (x, i, j));
    }
  check_error (&e);
}

/* Query @i attends to keys 0 .. i, or to all. */
static void
attend (double *o, AvatarTensor q, AvatarTensor k, AvatarTensor v, gint64 i, gint64 first, gint64 d)
{
  gint64 seen = MIN (i + 1, k.shape[0]);
  double sum = 0;

  for (gint64 c = 0; c < d; c++)
    o[c] = 0;
  for (gint64 j = 0; j < seen; j++) {
    double score = 0;

    for (gint64 c = 0; c < d; c++)
      score += at (q, i, first + c) * at (k, j, c);
    score = exp (2 * score);
    sum += score;
    for (gint64 c = 0; c < d; c++)
      o[c] += score * at (v, j, c);
  }
  for (gint64 c = 0; c < d; c++)
    o[c] /= sum;
}

/* One key and value head for three query heads, and one query more than keys, which attends to
 * all. */
static void
test_grouped_attention (void)
{
  g_autoptr (AvatarOps) ops = make_ops (device, 16 << 20);
  const gint64 lk = 140, lq = lk + 1, heads = 3, d = 8;
  AvatarTensor q = matrix (ops, lq, heads * d, 4), k = matrix (ops, lk, d, 3);
  AvatarTensor v = matrix (ops, lk, d, 0), o = matrix (ops, lq, heads * d, 1);
  AvatarTensor k3 = avatar_tensor_split_last (k, d), v3 = avatar_tensor_split_last (v, d);
  Error e = { 0 };

  k3.shape[1] = v3.shape[1] = heads;
  k3.stride[1] = v3.stride[1] = 0;
  avatar_op_attention (ops, avatar_tensor_split_last (o, d), avatar_tensor_split_last (q, d), k3,
      v3, 2, 1, 0, AVATAR_NO_TENSOR);
  for (gint64 i = 0; i < lq; i++)
    for (gint64 h = 0; h < heads; h++) {
      double truth[8];

      attend (truth, q, k, v, i, h * d, d);
      for (gint64 c = 0; c < d; c++)
        add_error (&e, at (o, i, h * d + c), truth[c]);
    }
  check_error (&e);
}

/* 5.2 GFLOP, more than one piece; only every 61st column is compared. */
static void
test_pieces (void)
{
  g_autoptr (AvatarOps) ops = make_ops (device, 192 << 20);
  const gint64 m = 640, n = 2048, k = 2000;
  AvatarTensor x = matrix (ops, m, k, 0), w = matrix (ops, n, k, 0), y = matrix (ops, m, n, 3);
  AvatarTensor z = matrix (ops, m, n, 0), before = copy_of (ops, z);
  AvatarTensor rows = avatar_ops_alloc (ops, 1, m);
  Error e = { 0 }, e_add = { 0 };

  fill (rows);
  avatar_op_linear (ops, y, x, w, AVATAR_NO_TENSOR, AVATAR_ACT_RELU);
  avatar_op_linear_add (ops, z, x, w, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR, rows);
  for (gint64 i = 0; i < m; i += 3)
    for (gint64 j = 0; j < n; j += 61) {
      double sum = 0;

      for (gint64 c = 0; c < k; c++)
        sum += at (x, i, c) * at (w, j, c);
      add_error (&e, at (y, i, j), MAX (sum, 0));
      add_error (&e_add, at (z, i, j), at (before, i, j) + sum * avatar_tensor_f32 (rows)[i]);
    }
  check_error (&e);
  check_error (&e_add);
}

static void
cancel (gpointer ops)
{
  avatar_ops_cancel (ops);
}

/* 170 GFLOP in one operation; a cancel ends it after the current piece. */
static void
test_cancel (void)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) sim = avatar_device_open ("sim:1024", &error);
  g_autoptr (AvatarOps) ops = make_ops (sim, 320 << 20);
  AvatarTensor x = avatar_ops_alloc (ops, 2, (gint64) 5000, (gint64) 4096);
  AvatarTensor w = avatar_ops_alloc (ops, 2, (gint64) 4096, (gint64) 4096);
  AvatarTensor y = avatar_ops_alloc (ops, 2, (gint64) 5000, (gint64) 4096);
  float *last = avatar_tensor_f32 (y) + avatar_tensor_n (y) - 1;

  *last = 1;
  avatar_fake_call_at (2, cancel, ops);
  avatar_op_linear (ops, y, x, w, AVATAR_NO_TENSOR, AVATAR_ACT_NONE);
  g_assert_cmpuint (avatar_fake_count_operations (), ==, 2);
  g_assert_false (avatar_ops_check (ops, &error));
  g_assert_error (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED);
  g_assert_cmpfloat (*last, ==, 1); /* it was not there yet */
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  device = avatar_device_open ("cpu", NULL);
  g_test_add_func ("/ops-text/rms-norm", test_rms_norm);
  g_test_add_func ("/ops-text/rope-half", test_rope_half);
  g_test_add_func ("/ops-text/silu-product", test_silu_product);
  g_test_add_func ("/ops-text/grouped-attention", test_grouped_attention);
  g_test_add_func ("/ops-text/pieces", test_pieces);
  g_test_add_func ("/ops-text/cancel", test_cancel);
  result = g_test_run ();
  avatar_device_unref (device);
  return result;
}
