/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The operations of one forward of the released transformer on a GPU, one by one at their real
 * shapes: seconds of a call, how often a forward calls it, its share, and the rate. One JSON object
 * a line.
 *
 *   bench-gpu-ops DEVICE WxH/PRECISION...     PRECISION: bf16 or fp8 */
#include "engine/device/device.h"
#include "engine/ops/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define D ((gint64) 3072)
#define HEAD ((gint64) 128)
#define MLP ((gint64) 12288)
#define TEXT ((gint64) 650)
#define ARENA ((gsize) 6 << 30)
/* Long enough that the clock falls to what the card holds under load. */
#define SECONDS 0.4

typedef struct
{
  AvatarOps *ops;
  gboolean fp8;
  gint64 l, chunk;
  double sum; /* seconds of a forward */
} Bench;

typedef void (*Body) (Bench *b, gpointer data);

static AvatarTensor
random_tensor (Bench *b, AvatarDType dtype, gint64 rows, gint64 columns)
{
  AvatarTensor t = avatar_ops_alloc_as (b->ops, dtype, 2, rows, columns);
  gsize n = avatar_tensor_n (t), piece = MIN (n, (gsize) 1 << 22);
  g_autofree float *host = g_new (float, piece);
  g_autofree void *raw = g_malloc (piece * avatar_dtype_size (dtype));
  guint64 state = 1;

  for (gsize i = 0; i < piece; i++) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    host[i] = (gint32) (state >> 32) / 2147483648.f;
  }
  avatar_dtype_from_f32 (raw, dtype, host, piece);
  for (gsize i = 0; i < n; i += piece) {
    gint64 m = MIN (piece, n - i);

    avatar_op_upload_raw (b->ops,
        avatar_tensor (dtype, (guint8 *) t.data + i * avatar_dtype_size (dtype), 1, m), raw);
  }
  if (avatar_dtype_size (dtype) == 1) {
    g_autofree float *scale = g_new (float, rows);

    for (gint64 i = 0; i < rows; i++)
      scale[i] = 0.01f;
    t.scale = avatar_ops_alloc_as (b->ops, AVATAR_F32, 1, rows).data;
    avatar_op_upload_raw (b->ops, avatar_tensor (AVATAR_F32, t.scale, 1, rows), scale);
  }
  return t;
}

/* @calls: in a forward. Rates from what the operation itself counts. */
static void
timed (Bench *b, const char *name, double calls, Body body, gpointer data)
{
  gsize mark = avatar_ops_mark (b->ops);
  double seconds = 0, flops = 0, bytes = 0;
  g_autoptr (GError) error = NULL;
  gint64 start;

  for (guint pass = 0, n = 5; pass < 2; pass++) {
    body (b, data);
    avatar_ops_finish (b->ops);
    flops = b->ops->flops;
    bytes = b->ops->bytes;
    start = g_get_monotonic_time ();
    for (guint i = 0; i < n; i++) {
      avatar_ops_release (b->ops, mark);
      body (b, data);
    }
    avatar_ops_finish (b->ops);
    seconds = (g_get_monotonic_time () - start) * 1e-6 / n;
    flops = (b->ops->flops - flops) / n;
    bytes = (b->ops->bytes - bytes) / n;
    n = CLAMP (SECONDS / seconds, 5, 20000);
  }
  avatar_ops_release (b->ops, mark);
  if (!avatar_ops_check (b->ops, &error)) {
    g_print ("{\"op\": \"%s\", \"error\": \"%s\"}\n", name, error->message);
    return;
  }
  b->sum += seconds * calls;
  g_print ("{\"op\": \"%s\", \"ms\": %.4f, \"calls\": %.1f, \"forward_ms\": %.1f, "
           "\"tflops\": %.1f, \"gbytes\": %.0f}\n",
      name, seconds * 1e3, calls, seconds * calls * 1e3, flops / seconds * 1e-12,
      bytes / seconds * 1e-9);
}

typedef struct
{
  AvatarTensor x, w, b, y, gate, scale, shift, cos, sin, q, k, v;
  AvatarAct act;
} Operands;

static void
do_linear (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_op_linear (b->ops, o->y, o->x, o->w, o->b, o->act);
}

static void
do_linear_add (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_op_linear_add (b->ops, o->y, o->x, o->w, o->b, o->gate, AVATAR_NO_TENSOR);
}

static void
do_layer_norm (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_op_layer_norm (b->ops, o->y, o->x, o->scale, o->shift, AVATAR_NORM_ONE_PLUS_SCALE, 1e-6);
}

static void
do_rms_norm_rope (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_op_rms_norm_rope (b->ops, o->y, o->q, o->scale, o->cos, o->sin, 1e-6);
}

static void
do_attention (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_op_attention (b->ops, o->y, o->q, o->k, o->v, 1 / sqrt (HEAD), 0, 0, AVATAR_NO_TENSOR);
}

static void
do_quantise_all (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_ops_quantise_all (b->ops, o->x);
}

static void
do_operand (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_ops_operand (b->ops, o->x, o->w);
}

static void
linear_row (Bench *b, const char *name, double calls, gint64 m, gint64 n, gint64 k, AvatarAct act,
    gboolean add)
{
  gsize mark = avatar_ops_mark (b->ops);
  AvatarDType dtype = b->fp8 ? AVATAR_F8_E4M3 : AVATAR_BF16;
  Operands o = { .x = random_tensor (b, dtype, m, k),
    .w = random_tensor (b, dtype, n, k),
    .b = avatar_tensor_reshape (random_tensor (b, AVATAR_BF16, 1, n), 1, n),
    .gate = avatar_tensor_reshape (random_tensor (b, AVATAR_F32, 1, n), 1, n),
    .y = random_tensor (b, AVATAR_BF16, m, n),
    .act = act };

  timed (b, name, calls, add ? do_linear_add : do_linear, &o);
  avatar_ops_release (b->ops, mark);
}

/* A chunk's share of 60 blocks, in calls. */
static double
per_forward (Bench *b, double blocks)
{
  return blocks * b->l / b->chunk;
}

static void
linear_rows (Bench *b)
{
  double all = per_forward (b, 60), twos = per_forward (b, 20), ones = per_forward (b, 40);
  gint64 m = b->chunk;

  linear_row (b, "keys and values", all, m, 2 * D, D, AVATAR_ACT_NONE, FALSE);
  linear_row (b, "queries", all, m, D, D, AVATAR_ACT_NONE, FALSE);
  linear_row (b, "mlp in, gelu", all, m, MLP, D, AVATAR_ACT_GELU_TANH, FALSE);
  linear_row (b, "projection, gate, add", twos, m, D, D, AVATAR_ACT_NONE, TRUE);
  linear_row (b, "mlp out, gate, add", twos, m, D, MLP, AVATAR_ACT_NONE, TRUE);
  linear_row (b, "linear2, gate, add", ones, m, D, MLP + D, AVATAR_ACT_NONE, TRUE);
  linear_row (b, "text keys and values", 20, TEXT, 2 * D, D, AVATAR_ACT_NONE, FALSE);
  linear_row (b, "text queries", 20, TEXT, D, D, AVATAR_ACT_NONE, FALSE);
  linear_row (b, "text mlp in, gelu", 20, TEXT, MLP, D, AVATAR_ACT_GELU_TANH, FALSE);
  linear_row (b, "text projection, gate, add", 20, TEXT, D, D, AVATAR_ACT_NONE, TRUE);
  linear_row (b, "text mlp out, gate, add", 20, TEXT, D, MLP, AVATAR_ACT_NONE, TRUE);
}

static void
do_frame_attention (Bench *b, gpointer data)
{
  Operands *o = data;

  avatar_op_frame_attention (b->ops, o->y, o->q, o->k, o->v, 1. / 32);
}

/* An adapter's own operations; its products count as queries do. */
static void
adapter_rows (Bench *b)
{
  const gint64 frames = 8, keys = 16, width = 1024;
  gint64 s = (b->l - TEXT) / 34;
  gsize mark = avatar_ops_mark (b->ops);
  AvatarTensor kv = avatar_tensor_reshape (random_tensor (b, AVATAR_BF16, frames * keys, 2 * width),
      3, frames, keys, 2 * width);
  Operands o = { .q = avatar_tensor_reshape (random_tensor (b, AVATAR_BF16, frames * s, width), 3,
                     frames, s, width),
    .y = avatar_tensor_reshape (random_tensor (b, AVATAR_BF16, frames * s, width), 3, frames, s,
        width),
    .k = avatar_tensor_cols (kv, 0, width),
    .v = avatar_tensor_cols (kv, width, width) };

  timed (b, "attention to a frame's audio", 10 * 33. / frames, do_frame_attention, &o);
  avatar_ops_release (b->ops, mark);
}

static void
norm_rows (Bench *b)
{
  gsize mark = avatar_ops_mark (b->ops);
  AvatarTensor w = b->fp8 ? random_tensor (b, AVATAR_F8_E4M3, 64, 64) : AVATAR_NO_TENSOR;
  Operands o = { .x = random_tensor (b, AVATAR_BF16, b->chunk, D),
    .y = b->fp8 ? avatar_ops_alloc_operand (b->ops, b->chunk, D, w)
                : random_tensor (b, AVATAR_BF16, b->chunk, D),
    .scale = avatar_tensor_reshape (random_tensor (b, AVATAR_F32, 1, D), 1, D),
    .shift = avatar_tensor_reshape (random_tensor (b, AVATAR_F32, 1, D), 1, D),
    .cos = random_tensor (b, AVATAR_F32, b->chunk, HEAD / 2),
    .sin = random_tensor (b, AVATAR_F32, b->chunk, HEAD / 2),
    .w = w };

  timed (b, "layer norm, modulate", per_forward (b, 140), do_layer_norm, &o);
  o.scale = avatar_tensor_reshape (random_tensor (b, AVATAR_F32, 1, HEAD), 1, HEAD);
  o.q = avatar_tensor_split_last (random_tensor (b, AVATAR_BF16, b->chunk, D), HEAD);
  o.y = b->fp8 ? avatar_tensor_split_last (avatar_ops_alloc_normed (b->ops, b->chunk, D, o.scale,
                                               AVATAR_NO_TENSOR),
            HEAD)
               : o.q;
  timed (b, "rms norm, rope (queries)", per_forward (b, 60), do_rms_norm_rope, &o);
  if (!b->fp8) {
    o.q = avatar_tensor_cols (random_tensor (b, AVATAR_BF16, b->chunk, 2 * D), 0, D);
    o.y = o.q = avatar_tensor_split_last (o.q, HEAD);
  }
  timed (b, "rms norm, rope (keys)", per_forward (b, 60), do_rms_norm_rope, &o);
  if (b->fp8) {
    o.x = random_tensor (b, AVATAR_BF16, b->chunk, MLP + D);
    timed (b, "quantise rows of linear2", per_forward (b, 40), do_operand, &o);
    o.x = random_tensor (b, AVATAR_BF16, b->chunk, MLP);
    timed (b, "quantise rows of mlp out", per_forward (b, 20), do_operand, &o);
  }
  avatar_ops_release (b->ops, mark);
}

static void
attention_row (Bench *b, const char *name, double calls, gint64 queries)
{
  gsize mark = avatar_ops_mark (b->ops);
  AvatarTensor q = random_tensor (b, AVATAR_BF16, queries, D);
  AvatarTensor kv = random_tensor (b, AVATAR_BF16, b->l, 2 * D);
  AvatarTensor k = avatar_tensor_cols (kv, 0, D), v = avatar_tensor_cols (kv, D, D);
  Operands o = { .y = avatar_tensor_split_last (avatar_ops_alloc (b->ops, 2, queries, D), HEAD) };

  if (b->fp8) {
    o.x = random_tensor (b, AVATAR_BF16, b->l, D);
    if (queries == b->chunk)
      timed (b, "quantise values", 60, do_quantise_all, &o);
    q = avatar_ops_quantise_all (b->ops, q);
    k = avatar_ops_quantise_all (b->ops, k);
    v = avatar_ops_quantise_all (b->ops, v);
  }
  o.q = avatar_tensor_split_last (q, HEAD);
  o.k = avatar_tensor_split_last (k, HEAD);
  o.v = avatar_tensor_split_last (v, HEAD);
  timed (b, name, calls, do_attention, &o);
  avatar_ops_release (b->ops, mark);
}

static gboolean
run (AvatarDevice *device, const char *row)
{
  guint width, height;
  char precision[8] = "";
  g_autoptr (GError) error = NULL;
  Bench b = { 0 };
  AvatarArena *arena;

  if (sscanf (row, "%ux%u/%7s", &width, &height, precision) != 3)
    return FALSE;
  arena = avatar_arena_new (device, ARENA, "the bench", &error);
  b.ops = arena ? avatar_ops_new (device, arena, &error) : NULL;
  if (!b.ops) {
    g_printerr ("%s\n", error->message);
    return FALSE;
  }
  b.fp8 = strcmp (precision, "fp8") == 0;
  b.chunk = b.ops->row_chunk;
  b.l = 34 * (gint64) (width / 16) * (height / 16) + TEXT;
  g_print ("{\"row\": \"%s\", \"tokens\": %" G_GINT64_FORMAT "}\n", row, b.l);
  linear_rows (&b);
  norm_rows (&b);
  adapter_rows (&b);
  attention_row (&b, "attention of a chunk", per_forward (&b, 60), b.chunk);
  attention_row (&b, "attention of the text", 20, TEXT);
  g_print ("{\"row\": \"%s\", \"sum_ms\": %.1f}\n", row, b.sum * 1e3);
  avatar_ops_free (b.ops);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarDevice) device = NULL;

  if (argc < 3) {
    g_printerr ("bench-gpu-ops DEVICE WxH/PRECISION ...\n");
    return EXIT_FAILURE;
  }
  device = avatar_device_open (argv[1], &error);
  if (!device) {
    g_printerr ("%s\n", error->message);
    return 77;
  }
  g_print ("{\"device\": \"%s\"}\n", avatar_device_get_description (device));
  for (int i = 2; i < argc; i++)
    if (!run (device, argv[i]))
      return EXIT_FAILURE;
  return EXIT_SUCCESS;
}
