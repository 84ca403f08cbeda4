/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Every operation of the CUDA back-end against the CPU's, on random data that bfloat16 holds
 * exactly. Skipped without a GPU. */
#include "engine/device/device.h"
#include "engine/device/backend.h"
#include "engine/ops/sparse-attention.h"

#include <math.h>
#include <string.h>

#define ARENA ((gsize) 768 << 20)
#define MAX_OUT ((gsize) 64 << 20)

static AvatarDevice *gpu, *cpu;

/* One run of an operation on one device. */
typedef struct
{
  AvatarOps *ops;
  guint64 seed;
  float *out; /* downloaded results, one after the other */
  gsize n;
} Run;

static float
random_value (guint64 *state)
{
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (float) ((gint64) (*state >> 40) - (1 << 23)) / (1 << 23);
}

/* Uniform in -1 .. 1, rounded to bfloat16, the same on both devices. */
static AvatarTensor
input_as (Run *run, AvatarTensor t, double factor)
{
  gsize n = avatar_tensor_n (t);
  g_autofree float *host = g_new (float, n);
  g_autofree guint16 *rounded = g_new (guint16, n);

  for (gsize i = 0; i < n; i++)
    host[i] = random_value (&run->seed) * factor;
  avatar_dtype_from_f32 (rounded, AVATAR_BF16, host, n);
  avatar_dtype_to_f32 (host, rounded, AVATAR_BF16, n);
  avatar_op_upload (run->ops, t, host);
  return t;
}

#define input(run, ...) \
  input_as ((run),      \
      avatar_ops_alloc ((run)->ops, G_N_ELEMENTS (((gint64[]){ __VA_ARGS__ })), __VA_ARGS__), 1)
#define input_f32(run, ...)                                                                    \
  input_as ((run),                                                                             \
      avatar_ops_alloc_as ((run)->ops, AVATAR_F32, G_N_ELEMENTS (((gint64[]){ __VA_ARGS__ })), \
          __VA_ARGS__),                                                                        \
      1)

/* A tensor full of NaNs: what is not written is seen. */
static AvatarTensor
poisoned (Run *run, AvatarTensor t)
{
  gsize bytes = avatar_tensor_bytes (t);
  g_autofree guint8 *host = g_malloc (bytes);

  memset (host, 0xff, bytes);
  avatar_op_upload_raw (run->ops, t, host);
  return t;
}

static void
output (Run *run, AvatarTensor t)
{
  gsize n = avatar_tensor_n (t);

  g_assert_cmpuint (run->n + n, <=, MAX_OUT / sizeof (float));
  avatar_op_download (run->ops, run->out + run->n, t);
  run->n += n;
}

typedef void (*Body) (Run *run, const gint64 *p);

static void
run_on (AvatarDevice *device, Body body, const gint64 *p, Run *run)
{
  g_autoptr (GError) error = NULL;
  AvatarArena *arena = avatar_arena_new (device, ARENA, "the test", &error);

  g_assert_no_error (error);
  run->ops = avatar_ops_new (device, arena, &error);
  g_assert_no_error (error);
  run->seed = 1;
  run->n = 0;
  run->out = g_malloc0 (MAX_OUT);
  body (run, p);
  avatar_ops_check (run->ops, &error);
  g_assert_no_error (error);
  avatar_ops_free (run->ops);
}

/* The relative L2 error of the GPU must be below @limit, and finite everywhere. */
static void
compare (const char *name, Body body, const gint64 *p, double limit)
{
  Run a, b;
  double error = 0, size = 0;

  run_on (cpu, body, p, &a);
  run_on (gpu, body, p, &b);
  g_assert_cmpuint (a.n, ==, b.n);
  for (gsize i = 0; i < a.n; i++) {
    error += pow ((double) a.out[i] - b.out[i], 2);
    size += pow (a.out[i], 2);
  }
  error = sqrt (error / size);
  g_print ("# %-44s %.2e (limit %.0e)%s\n", name, error, limit, error <= limit ? "" : "  FAILED");
  if (!(error <= limit))
    g_test_fail ();
  g_free (a.out);
  g_free (b.out);
}

/* p: m, n, k, act, bias, strided */
static void
linear (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, p[0], p[2] + 32 * p[5]), w = input (run, p[1], p[2]), b, y;

  x = avatar_tensor_cols (x, 16 * p[5], p[2]);
  b = p[4] ? input (run, p[1]) : AVATAR_NO_TENSOR;
  y = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));
  avatar_op_linear (run->ops, y, x, w, b, p[3]);
  output (run, y);
}

static void
linear_f32_out (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, p[0], p[2]), w = input (run, p[1], p[2]), b = input (run, p[1]);
  AvatarTensor y = poisoned (run, avatar_ops_alloc_as (run->ops, AVATAR_F32, 2, p[0], p[1]));

  avatar_op_linear (run->ops, y, x, w, b, AVATAR_ACT_SILU);
  output (run, y);
}

/* p: m, n, k, gate, row scale */
static void
linear_add (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, p[0], p[2]), w = input (run, p[1], p[2]), b = input (run, p[1]);
  AvatarTensor y = input (run, p[0], p[1]);
  AvatarTensor gate = p[3] ? input_f32 (run, p[1]) : AVATAR_NO_TENSOR;
  AvatarTensor scale = p[4] ? input_f32 (run, p[0]) : AVATAR_NO_TENSOR;

  avatar_op_linear_add (run->ops, y, x, w, b, gate, scale);
  output (run, y);
}

/* p: m, n, plus one, vectors */
static void
layer_norm (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, p[0], p[1]);
  AvatarTensor scale = p[3] ? input_f32 (run, p[1]) : AVATAR_NO_TENSOR;
  AvatarTensor shift = p[3] ? input_f32 (run, p[1]) : AVATAR_NO_TENSOR;
  AvatarTensor y = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));

  avatar_op_layer_norm (run->ops, y, x, scale, shift, p[2], 1e-6);
  output (run, y);
}

/* p: rows, heads, d, rope */
static void
rms_norm_rope (Run *run, const gint64 *p)
{
  AvatarTensor wide = input (run, p[0], 2 * p[1] * p[2]), w = input_f32 (run, p[2]);
  AvatarTensor c = p[3] ? input_f32 (run, p[0], p[2] / 2) : AVATAR_NO_TENSOR;
  AvatarTensor s = p[3] ? input_f32 (run, p[0], p[2] / 2) : AVATAR_NO_TENSOR;
  AvatarTensor x = avatar_tensor_split_last (avatar_tensor_cols (wide, 0, p[1] * p[2]), p[2]);

  avatar_op_rms_norm_rope (run->ops, x, x, w, c, s, 1e-6);
  output (run, wide);
}

/* The type of activations: what text encoders compute in where the device has 16 bits. */
static void
use_half (Run *run)
{
  if (run->ops->backend->discrete)
    run->ops->dtype = AVATAR_F16;
}

/* p: m, n, half */
static void
rms_norm (Run *run, const gint64 *p)
{
  AvatarTensor x = input_f32 (run, p[0], p[1]), w = input_f32 (run, p[1]), y, z;

  if (p[2])
    use_half (run);
  y = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));
  z = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));
  avatar_op_rms_norm (run->ops, y, x, w, 1e-5);
  avatar_op_rms_norm (run->ops, z, y, w, 1e-5);
  output (run, y);
  output (run, z);
}

/* p: rows, heads, d, half */
static void
rope_half (Run *run, const gint64 *p)
{
  AvatarTensor wide, x, c = input_f32 (run, p[0], p[2] / 2), s = input_f32 (run, p[0], p[2] / 2);

  if (p[3])
    use_half (run);
  wide = input (run, p[0], 2 * p[1] * p[2]);
  x = avatar_tensor_split_last (avatar_tensor_cols (wide, p[1] * p[2], p[1] * p[2]), p[2]);
  avatar_op_rope_half (run->ops, x, c, s);
  output (run, wide);
}

/* p: m, n, half */
static void
silu_product (Run *run, const gint64 *p)
{
  AvatarTensor wide, y;

  if (p[2])
    use_half (run);
  wide = input (run, p[0], 2 * p[1]);
  y = input (run, p[0], p[1]);
  avatar_op_silu_product (run->ops, y, avatar_tensor_cols (wide, p[1], p[1]));
  output (run, y);
}

/* p: lq, lk, heads, d: causal, one key and value for all heads, more queries than keys */
static void
grouped_attention (Run *run, const gint64 *p)
{
  AvatarTensor q, kv, k, v, o;

  use_half (run);
  q = input (run, p[0], p[2] * p[3]);
  kv = input (run, p[1], 2 * p[3]);
  o = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[2] * p[3]));
  k = avatar_tensor_reshape (avatar_tensor_rows (kv, 0, 1), 3, (gint64) 1, (gint64) 2, p[3]);
  k.shape[0] = p[1];
  k.shape[1] = p[2];
  k.stride[0] = 2 * p[3];
  k.stride[1] = 0;
  v = k;
  v.data = (guint8 *) v.data + p[3] * avatar_dtype_size (kv.dtype);
  avatar_op_attention (run->ops, avatar_tensor_split_last (o, p[3]),
      avatar_tensor_split_last (q, p[3]), k, v, 3 / sqrt (p[3]), 1, 0, AVATAR_NO_TENSOR);
  output (run, o);
}

/* p: lq, lk, heads, q start, keys at the end that are always exact */
static void
sparse_attention (Run *run, const gint64 *p)
{
  gint64 d = 128, width = p[2] * d;
  AvatarTensor q = input (run, p[0], width), kv = input (run, p[1], 2 * width);
  AvatarTensor o = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], width));
  AvatarSparseAttention a = { .o = avatar_tensor_split_last (o, d),
    .q = avatar_tensor_split_last (q, d),
    .k = avatar_tensor_split_last (avatar_tensor_cols (kv, 0, width), d),
    .v = avatar_tensor_split_last (avatar_tensor_cols (kv, width, width), d),
    .scale = 3 / sqrt (d),
    .tau = 1,
    .q_start = p[3],
    .sink = p[1] - p[4] };

  a.blocks = avatar_ops_key_blocks (run->ops, a.k, a.v);
  avatar_op_sparse_attention (run->ops, &a);
  output (run, o);
}

/* p: m, n, k: a product of float16, added to float32 */
static void
linear_half (Run *run, const gint64 *p)
{
  AvatarTensor y = input_f32 (run, p[0], p[1]), x, w, b;

  use_half (run);
  x = input (run, p[0], p[2]);
  w = input (run, p[1], p[2]);
  b = input (run, p[1]);
  avatar_op_linear_add (run->ops, y, x, w, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR);
  avatar_op_linear_add (run->ops, y, x, w, b, AVATAR_NO_TENSOR, AVATAR_NO_TENSOR);
  output (run, y);
  x = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));
  avatar_op_linear (run->ops, x, input (run, p[0], p[2]), w, b, AVATAR_ACT_QUICK_GELU);
  output (run, x);
}

/* p: lq, lk, heads, d, causal block, q start, masked */
static void
attention (Run *run, const gint64 *p)
{
  gint64 d = p[2] * p[3];
  AvatarTensor q = input (run, p[0], d), kv = input (run, p[1], 2 * d), valid = AVATAR_NO_TENSOR;
  AvatarTensor o = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], d));

  if (p[6]) {
    g_autofree guint8 *mask = g_malloc (p[1]);

    for (gint64 i = 0; i < p[1]; i++)
      mask[i] = i % 3 != 1;
    valid = avatar_ops_alloc_as (run->ops, AVATAR_U8, 1, p[1]);
    avatar_op_upload_raw (run->ops, valid, mask);
  }
  avatar_op_attention (run->ops, avatar_tensor_split_last (o, p[3]),
      avatar_tensor_split_last (q, p[3]),
      avatar_tensor_split_last (avatar_tensor_cols (kv, 0, d), p[3]),
      avatar_tensor_split_last (avatar_tensor_cols (kv, d, d), p[3]), 3 / sqrt (p[3]), p[4], p[5],
      valid);
  output (run, o);
}

/* p: frames, rows, d, keys */
static void
frame_attention (Run *run, const gint64 *p)
{
  AvatarTensor q = input (run, p[0], p[1], p[2]), kv = input (run, p[0], p[3], 2 * p[2]);
  AvatarTensor o = poisoned (run, avatar_ops_alloc (run->ops, 3, p[0], p[1], p[2]));

  avatar_op_frame_attention (run->ops, o, q, avatar_tensor_cols (kv, 0, p[2]),
      avatar_tensor_cols (kv, p[2], p[2]), 3 / sqrt (p[2]));
  output (run, o);
}

/* p: act */
static void
act (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, 33, 200), y = input_f32 (run, 7, 13);

  avatar_op_act (run->ops, x, p[0]);
  avatar_op_act (run->ops, y, p[0]);
  output (run, x);
  output (run, y);
}

static void
sums_and_copies (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, 37, 100), y = input_f32 (run, 37, 100), z = input (run, 37, 100);
  AvatarTensor wide = input (run, 37, 300), mean, weight, cube = input (run, 3, 5, 7);
  AvatarTensor turned = cube;

  avatar_op_axpby (run->ops, y, 0.5, x, 2);
  avatar_op_axpby (run->ops, z, 0.25, y, 0);
  avatar_op_copy (run->ops, avatar_tensor_cols (wide, 100, 100), y);
  avatar_op_copy (run->ops, avatar_tensor_cols (wide, 200, 100), x);
  mean = poisoned (run, avatar_ops_alloc (run->ops, 1, (gint64) 100));
  weight = input_f32 (run, 37);
  avatar_op_mean_rows (run->ops, mean, x, AVATAR_NO_TENSOR);
  output (run, mean);
  avatar_op_axpby (run->ops, weight, 1, weight, 1);
  turned.shape[0] = 7, turned.shape[2] = 3;
  turned.stride[0] = 1, turned.stride[2] = 35;
  output (run, y);
  output (run, z);
  output (run, wide);
  avatar_op_copy (run->ops, avatar_tensor_slice (input (run, 7, 5, 4), 2, 0, 3), turned);
}

/* The bits of the CPU. p: dtype */
static void
scale_round (Run *run, const gint64 *p)
{
  AvatarTensor x = input_f32 (run, 37, 100);

  avatar_op_scale_round (run->ops, x, -2.7, p[0]);
  output (run, x);
}

/* p: the index of the value that is not finite, or -1 */
static void
find_non_finite (Run *run, const gint64 *p)
{
  AvatarTensor x = input_f32 (run, 100000);
  AvatarTensor flag = avatar_ops_alloc_as (run->ops, AVATAR_I32, 1, (gint64) 1);
  const float infinite = p[0] % 2 ? INFINITY : NAN;
  gint32 found;

  avatar_op_clear (run->ops, flag);
  if (p[0] >= 0)
    avatar_op_upload (run->ops,
        avatar_tensor (AVATAR_F32, (char *) x.data + p[0] * sizeof (float), 1, (gint64) 1),
        &infinite);
  avatar_op_find_non_finite (run->ops, flag, x);
  avatar_op_download_raw (run->ops, &found, flag);
  g_assert_cmpint (found, ==, p[0] >= 0 ? 1 : 0);
  output (run, input_f32 (run, 1));
}

/* p: channels, t, h, w, px */
static void
patchify (Run *run, const gint64 *p)
{
  const guint patch[3] = { 1, p[4], p[4] };
  gint64 rows = p[1] * (p[2] / p[4]) * (p[3] / p[4]), width = p[0] * p[4] * p[4];
  AvatarTensor x = input_f32 (run, p[0], p[1], p[2], p[3]);
  AvatarTensor y = poisoned (run, avatar_ops_alloc (run->ops, 2, rows, width));
  AvatarTensor back
      = poisoned (run, avatar_ops_alloc_as (run->ops, AVATAR_F32, 4, p[0], p[1], p[2], p[3]));

  avatar_op_patchify (run->ops, y, x, patch, AVATAR_PATCHIFY);
  avatar_op_patchify (run->ops, back, y, patch, AVATAR_UNPATCHIFY);
  output (run, y);
  output (run, back);
}

/* p: rows, channels, kernel, stride, pad */
static void
unfold_and_power (Run *run, const gint64 *p)
{
  gint64 rows = (p[0] + 2 * p[4] - p[2]) / p[3] + 1;
  AvatarTensor x = input (run, p[0], p[1]), re_im = input (run, 9, 22);
  AvatarTensor y = poisoned (run, avatar_ops_alloc (run->ops, 2, rows, p[1] * p[2]));
  AvatarTensor power = poisoned (run, avatar_ops_alloc (run->ops, 2, (gint64) 9, (gint64) 11));

  avatar_op_unfold (run->ops, y, x, p[2], p[3], p[4]);
  avatar_op_power (run->ops, power, re_im);
  output (run, y);
  output (run, power);
}

/* p: m, n, k, act: a product in 8 bits on the GPU, of the same numbers exactly on the CPU */
static void
linear_fp8 (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, p[0], p[2]), w = input (run, p[1], p[2]), b = input (run, p[1]);
  AvatarTensor y = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));

  if (run->ops->backend->discrete) {
    AvatarTensor w8 = { .dtype = AVATAR_F8_E4M3 };

    w8 = avatar_ops_operand (run->ops, w, w8);
    avatar_op_linear (run->ops, y, avatar_ops_operand (run->ops, x, w8), w8, b, p[3]);
  } else {
    avatar_op_linear (run->ops, y, x, w, b, p[3]);
  }
  output (run, y);
}

/* p: m, n, k: modulated rows straight to 8 bits, then a product */
static void
layer_norm_fp8 (Run *run, const gint64 *p)
{
  AvatarTensor x = input (run, p[0], p[2]), w = input (run, p[1], p[2]);
  AvatarTensor scale = input_f32 (run, p[2]), shift = input_f32 (run, p[2]), h;
  AvatarTensor y = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[1]));

  if (run->ops->backend->discrete)
    w = avatar_ops_operand (run->ops, w, (AvatarTensor){ .dtype = AVATAR_F8_E4M3 });
  h = avatar_ops_alloc_operand (run->ops, p[0], p[2], w);
  avatar_op_layer_norm (run->ops, h, x, scale, shift, AVATAR_NORM_ONE_PLUS_SCALE, 1e-6);
  avatar_op_linear (run->ops, y, h, w, AVATAR_NO_TENSOR, AVATAR_ACT_NONE);
  output (run, y);
}

/* p: lq, lk, heads, columns on the left of the output */
static void
attention_fp8 (Run *run, const gint64 *p)
{
  const gint64 hd = 128;
  gint64 d = p[2] * hd;
  AvatarTensor q = input (run, p[0], d), kv = input (run, p[1], 2 * d);
  AvatarTensor o = poisoned (run, avatar_ops_alloc (run->ops, 2, p[0], p[3] + d));
  AvatarTensor k = avatar_tensor_cols (kv, 0, d), v = avatar_tensor_cols (kv, d, d);

  o = avatar_tensor_cols (o, p[3], d);
  if (run->ops->backend->discrete) {
    q = avatar_ops_quantise_all (run->ops, q);
    k = avatar_ops_quantise_all (run->ops, k);
    v = avatar_ops_quantise_all (run->ops, v);
  }
  avatar_op_attention (run->ops, avatar_tensor_split_last (o, hd), avatar_tensor_split_last (q, hd),
      avatar_tensor_split_last (k, hd), avatar_tensor_split_last (v, hd), 3 / sqrt (hd), 0, 0,
      AVATAR_NO_TENSOR);
  for (gint64 i = 0; i < p[0]; i++)
    output (run, avatar_tensor_rows (o, i, 1));
}

#define CASE(body, limit, ...) \
  compare (#body " " #__VA_ARGS__, body, (const gint64[]){ __VA_ARGS__ }, limit)
#define EXACT 1e-6
#define ROUNDED 4e-3

static void
test_all (void)
{
  CASE (linear, ROUNDED, 128, 256, 512, AVATAR_ACT_NONE, 0, 0);
  CASE (linear, ROUNDED, 831, 3072, 3072, AVATAR_ACT_NONE, 1, 0);
  CASE (linear, ROUNDED, 77, 1024, 3072, AVATAR_ACT_GELU_TANH, 1, 1);
  CASE (linear, ROUNDED, 100, 480, 160, AVATAR_ACT_SILU, 1, 0);
  CASE (linear, ROUNDED, 65, 96, 64, AVATAR_ACT_RELU, 1, 1);
  CASE (linear, ROUNDED, 65, 96, 64, AVATAR_ACT_GELU, 0, 0);
  CASE (linear, ROUNDED, 1, 18432, 3072, AVATAR_ACT_NONE, 1, 0);
  CASE (linear_f32_out, 1e-4, 60, 256, 768);
  CASE (linear_add, ROUNDED, 200, 3072, 512, 1, 0);
  CASE (linear_add, ROUNDED, 200, 160, 96, 0, 1);
  CASE (linear_add, ROUNDED, 33, 160, 640, 1, 1);
  CASE (linear_add, ROUNDED, 33, 160, 640, 0, 0);
  CASE (layer_norm, ROUNDED, 300, 3072, 1, 1);
  CASE (layer_norm, ROUNDED, 300, 3072, 0, 0);
  CASE (layer_norm, ROUNDED, 77, 160, 1, 1);
  CASE (layer_norm, ROUNDED, 5, 4104, 0, 1);
  CASE (layer_norm, ROUNDED, 5, 333, 0, 1);
  CASE (rms_norm_rope, ROUNDED, 300, 24, 128, 1);
  CASE (rms_norm_rope, ROUNDED, 300, 24, 128, 0);
  CASE (rms_norm_rope, ROUNDED, 41, 5, 32, 1);
  CASE (rms_norm_rope, ROUNDED, 41, 3, 128, 1);
  CASE (rms_norm, ROUNDED, 300, 4096, 0);
  CASE (rms_norm, ROUNDED, 300, 4096, 1);
  CASE (rms_norm, ROUNDED, 7, 45, 1);
  CASE (rope_half, ROUNDED, 300, 32, 128, 1);
  CASE (rope_half, ROUNDED, 41, 3, 10, 0);
  CASE (silu_product, ROUNDED, 100, 14336, 1);
  CASE (silu_product, ROUNDED, 33, 45, 0);
  CASE (linear_half, ROUNDED, 642, 4096, 4096);
  CASE (linear_half, ROUNDED, 577, 1024, 588);
  CASE (linear_half, ROUNDED, 77, 768, 3072);
  CASE (grouped_attention, ROUNDED, 738, 737, 4, 128);
  CASE (sparse_attention, 8e-3, 700, 1403, 3, 128, 77);
  CASE (sparse_attention, 8e-3, 64, 5000, 2, 0, 0);
  CASE (grouped_attention, ROUNDED, 20, 20, 1, 64);
  CASE (attention, 8e-3, 300, 700, 3, 128, 0, 0, 0);
  CASE (attention, 8e-3, 7, 1027, 24, 128, 0, 0, 0);
  CASE (attention, 8e-3, 129, 515, 5, 32, 0, 0, 0);
  CASE (attention, 8e-3, 100, 100, 2, 128, 0, 0, 1);
  CASE (attention, 8e-3, 96, 128, 4, 16, 32, 32, 0);
  CASE (attention, 8e-3, 300, 300, 1, 256, 0, 0, 0);
  CASE (frame_attention, 8e-3, 3, 130, 1024, 16);
  CASE (frame_attention, 8e-3, 2, 65, 96, 16);
  for (gint64 a = AVATAR_ACT_NONE; a < AVATAR_N_ACTS; a++)
    CASE (act, ROUNDED, a);
  CASE (sums_and_copies, ROUNDED, 0);
  for (gint64 dtype = AVATAR_F32; dtype <= AVATAR_BF16; dtype++)
    CASE (scale_round, 0, dtype);
  CASE (find_non_finite, EXACT, -1);
  CASE (find_non_finite, EXACT, 0);
  CASE (find_non_finite, EXACT, 54321);
  CASE (find_non_finite, EXACT, 99999);
  CASE (patchify, EXACT, 16, 3, 8, 12, 2);
  CASE (unfold_and_power, ROUNDED, 50, 12, 3, 2, 1);
  if (strstr (avatar_device_get_description (gpu), "capability 9")
      || strstr (avatar_device_get_description (gpu), "capability 1")) {
    CASE (linear_fp8, 5e-2, 256, 512, 3072, AVATAR_ACT_NONE);
    CASE (linear_fp8, 5e-2, 831, 3072, 3072, AVATAR_ACT_GELU_TANH);
    CASE (linear_fp8, 5e-2, 17, 160, 640, AVATAR_ACT_SILU);
    CASE (layer_norm_fp8, 5e-2, 100, 256, 3072);
    CASE (layer_norm_fp8, 5e-2, 33, 160, 640);
  }
  if (avatar_device_get_backend (gpu)->supports_8bit_attention (avatar_device_get_handle (gpu),
          128)) {
    CASE (attention_fp8, 8e-2, 300, 700, 3, 0);
    CASE (attention_fp8, 8e-2, 129, 1027, 24, 96);
    for (gint64 lq = 1; lq <= 72; lq += lq < 18 ? 1 : 9)
      for (gint64 lk = 509; lk <= 516; lk++)
        CASE (attention_fp8, 8e-2, lq, lk, 2, 0);
    CASE (attention_fp8, 8e-2, 1, 10241, 24, 96);
    CASE (attention_fp8, 8e-2, 2, 10241, 24, 0);
  }
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  int status;

  g_test_init (&argc, &argv, NULL);
  gpu = avatar_device_open ("cuda", &error);
  if (!gpu) {
    g_print ("# no GPU: %s\n", error->message);
    return 77;
  }
  g_print ("# %s\n", avatar_device_get_description (gpu));
  cpu = avatar_device_open ("cpu", NULL);
  g_test_add_func ("/gpu/ops", test_all);
  status = g_test_run ();
  avatar_device_unref (gpu);
  avatar_device_unref (cpu);
  return status;
}
