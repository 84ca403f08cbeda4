/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The forward of YOLOv5-face, layer by layer as in its yaml. Activations are float32 [H, W, C].
 * Layers that concatenate write their inputs to columns of one tensor. */
#include "engine/image/yolo.h"

#include "engine/image/yolo-weights.h"
#include "engine/ops/conv2d.h"

#include <math.h>
#include <string.h>

struct _AvatarYolo
{
  AvatarDevice *device;
  AvatarYoloWeights weights;
};

/* One forward. */
typedef struct
{
  const AvatarYoloWeights *weights;
  AvatarOps *ops;
} Net;

static AvatarTensor
alloc_activation (Net *net, gint64 h, gint64 w, gint64 channels)
{
  return avatar_ops_alloc (net->ops, 3, h, w, channels);
}

static gint64
channels_of (const AvatarYoloConv *c)
{
  return c->w.shape[0];
}

/* Computes the module Conv: y = silu (bn (conv (x))). */
static void
conv_to (Net *net, AvatarTensor y, AvatarTensor x, const AvatarYoloConv *c, guint stride)
{
  avatar_op_conv2d (net->ops, y, x, c->w, c->b, c->kernel, stride, AVATAR_ACT_SILU);
}

static AvatarTensor
conv (Net *net, AvatarTensor x, const AvatarYoloConv *c, guint stride)
{
  AvatarTensor y = alloc_activation (net, (x.shape[0] + stride - 1) / stride,
      (x.shape[1] + stride - 1) / stride, channels_of (c));

  conv_to (net, y, x, c, stride);
  return y;
}

/* Computes the module StemBlock, which reduces each side to a quarter by a convolution and by a
 * maximum. */
static AvatarTensor
stem (Net *net, AvatarTensor x)
{
  const AvatarYoloStem *s = &net->weights->stem;
  const AvatarYoloConv *b = &s->stem_2b, *last = &s->stem_3;
  gint64 h = x.shape[0] / 4, w = x.shape[1] / 4, n = channels_of (b);
  AvatarTensor y = alloc_activation (net, h, w, channels_of (last));
  gsize mark = avatar_ops_mark (net->ops);
  AvatarTensor first = conv (net, x, &s->stem_1, 2);
  AvatarTensor joined = alloc_activation (net, h, w, n + first.shape[2]);

  conv_to (net, avatar_tensor_cols (joined, 0, n), conv (net, first, &s->stem_2a, 1), b, 2);
  avatar_op_max_pool (net->ops, avatar_tensor_cols (joined, n, first.shape[2]), first, 2, 2, 0);
  conv_to (net, y, joined, last, 1);
  avatar_ops_release (net->ops, mark);
  return y;
}

typedef enum
{
  C3_PLAIN,
  C3_SHORTCUT, /* bottlenecks add their input to their result */
} C3Kind;

/* Computes the module C3: y = cv3 (cat (bottlenecks (cv1 (x)), cv2 (x))). A bottleneck is a 1 x 1
 * and a 3 x 3 convolution. */
static void
c3_to (Net *net, AvatarTensor y, AvatarTensor x, guint index, C3Kind kind)
{
  const AvatarYoloC3 *c = &net->weights->c3[index];
  gint64 h = x.shape[0], w = x.shape[1], n = channels_of (&c->cv1), n2 = channels_of (&c->cv2);
  gsize mark = avatar_ops_mark (net->ops);
  AvatarTensor joined = alloc_activation (net, h, w, n + n2);
  AvatarTensor a = conv (net, x, &c->cv1, 1), b = alloc_activation (net, h, w, n);

  for (guint j = 0; j < c->n; j++) {
    gsize before = avatar_ops_mark (net->ops);
    AvatarTensor t = conv (net, a, &c->m[j].cv1, 1);

    conv_to (net, kind == C3_SHORTCUT ? b : a, t, &c->m[j].cv2, 1);
    if (kind == C3_SHORTCUT)
      avatar_op_axpby (net->ops, a, 1, b, 1);
    avatar_ops_release (net->ops, before);
  }
  avatar_op_copy (net->ops, avatar_tensor_cols (joined, 0, n), a);
  conv_to (net, avatar_tensor_cols (joined, n, n2), x, &c->cv2, 1);
  conv_to (net, y, joined, &c->cv3, 1);
  avatar_ops_release (net->ops, mark);
}

static AvatarTensor
c3 (Net *net, AvatarTensor x, guint index, C3Kind kind)
{
  gint64 n = channels_of (&net->weights->c3[index].cv3);
  AvatarTensor y = alloc_activation (net, x.shape[0], x.shape[1], n);

  c3_to (net, y, x, index, kind);
  return y;
}

/* Computes the module SPP, which adds the maxima of windows of 3, 5 and 7 pixels as channels. */
static AvatarTensor
spp (Net *net, AvatarTensor x)
{
  const AvatarYoloConv *cv1 = &net->weights->spp.cv1, *cv2 = &net->weights->spp.cv2;
  gint64 h = x.shape[0], w = x.shape[1], n = channels_of (cv1);
  AvatarTensor y = alloc_activation (net, h, w, channels_of (cv2));
  gsize mark = avatar_ops_mark (net->ops);
  AvatarTensor all = alloc_activation (net, h, w, 4 * n), first = avatar_tensor_cols (all, 0, n);

  conv_to (net, first, x, cv1, 1);
  for (guint i = 1; i < 4; i++)
    avatar_op_max_pool (net->ops, avatar_tensor_cols (all, i * n, n), first, 2 * i + 1, 1, i);
  conv_to (net, y, all, cv2, 1);
  avatar_ops_release (net->ops, mark);
  return y;
}

/* Computes the last convolution of a grid, without activation: [h, w, anchors * columns]. */
static AvatarTensor
detect (Net *net, AvatarTensor x, guint grid)
{
  const AvatarYoloConv *c = &net->weights->detect[grid];
  AvatarTensor y = alloc_activation (net, x.shape[0], x.shape[1], channels_of (c));

  avatar_op_conv2d (net->ops, y, x, c->w, c->b, 1, 1, AVATAR_ACT_NONE);
  return y;
}

/* Runs all layers. @rgb: [H, W, 3]; @out: [H / 8, W / 8, 48], then the same for 16 and 32. */
static void
forward (Net *net, AvatarTensor rgb, AvatarTensor out[AVATAR_YOLO_GRIDS])
{
  const AvatarYoloWeights *layers = net->weights;
  const AvatarYoloConv *c = layers->conv;
  gint64 h = rgb.shape[0], w = rgb.shape[1];
  gint64 n5 = channels_of (&layers->c3[5].cv3), n3 = channels_of (&layers->c3[3].cv3);
  gint64 n9 = channels_of (&c[9]), n13 = channels_of (&c[13]);
  gint64 n17 = channels_of (&c[17]), n20 = channels_of (&c[20]);
  /* the outputs of layers 11, 15, 18 and 21, which concatenate */
  AvatarTensor cat11 = alloc_activation (net, h / 16, w / 16, n9 + n5);
  AvatarTensor cat15 = alloc_activation (net, h / 8, w / 8, n13 + n3);
  AvatarTensor cat18 = alloc_activation (net, h / 16, w / 16, n17 + n13);
  AvatarTensor cat21 = alloc_activation (net, h / 32, w / 32, n20 + n9);
  AvatarTensor p3 = avatar_tensor_cols (cat15, n13, n3), p4 = avatar_tensor_cols (cat11, n9, n5);
  AvatarTensor h4 = avatar_tensor_cols (cat18, n17, n13), h5 = avatar_tensor_cols (cat21, n20, n9);
  AvatarTensor x;

  x = c3 (net, stem (net, rgb), 1, C3_SHORTCUT);
  c3_to (net, p3, conv (net, x, &c[2], 2), 3, C3_SHORTCUT);
  c3_to (net, p4, conv (net, p3, &c[4], 2), 5, C3_SHORTCUT);
  x = spp (net, conv (net, p4, &c[6], 2));
  conv_to (net, h5, c3 (net, x, 8, C3_PLAIN), &c[9], 1);

  avatar_op_upsample_2x (net->ops, avatar_tensor_cols (cat11, 0, n9), h5);
  conv_to (net, h4, c3 (net, cat11, 12, C3_PLAIN), &c[13], 1);
  avatar_op_upsample_2x (net->ops, avatar_tensor_cols (cat15, 0, n13), h4);
  x = c3 (net, cat15, 16, C3_PLAIN);
  out[0] = detect (net, x, 0);
  conv_to (net, avatar_tensor_cols (cat18, 0, n17), x, &c[17], 2);
  x = c3 (net, cat18, 19, C3_PLAIN);
  out[1] = detect (net, x, 1);
  conv_to (net, avatar_tensor_cols (cat21, 0, n20), x, &c[20], 2);
  x = c3 (net, cat21, 22, C3_PLAIN);
  out[2] = detect (net, x, 2);
}

static float
sigmoid (float x)
{
  return 1.f / (1.f + expf (-x));
}

/* Decodes the output for the anchor at (@x, @y) of a grid, in pixels. */
static void
decode (float *out, const float *raw, const float *anchor, float x, float y, float stride)
{
  out[0] = (sigmoid (raw[0]) * 2.f - .5f + x) * stride;
  out[1] = (sigmoid (raw[1]) * 2.f - .5f + y) * stride;
  for (guint i = 0; i < 2; i++) {
    float side = sigmoid (raw[2 + i]) * 2.f;

    out[2 + i] = side * side * anchor[i];
  }
  out[4] = sigmoid (raw[4]);
  for (guint i = 0; i < 5; i++) {
    out[5 + 2 * i] = raw[5 + 2 * i] * anchor[0] + x * stride;
    out[6 + 2 * i] = raw[6 + 2 * i] * anchor[1] + y * stride;
  }
  out[15] = sigmoid (raw[15]);
}

static void
decode_grid (AvatarYolo *self, guint grid, AvatarTensor raw, float **out)
{
  const gint64 h = raw.shape[0], w = raw.shape[1];

  for (guint a = 0; a < AVATAR_YOLO_ANCHORS; a++)
    for (gint64 i = 0; i < h * w; i++, *out += AVATAR_YOLO_COLUMNS)
      decode (*out, avatar_tensor_f32 (raw) + (i * AVATAR_YOLO_ANCHORS + a) * AVATAR_YOLO_COLUMNS,
          self->weights.anchors[grid][a], i % w, i / w, 8 << grid);
}

AvatarYolo *
avatar_yolo_new (AvatarTensorFile *file, AvatarDevice *device, GError **error)
{
  g_autoptr (AvatarYolo) self = g_new0 (AvatarYolo, 1);

  self->device = avatar_device_ref (device);
  return avatar_yolo_weights_init (&self->weights, file, device, error) ? g_steal_pointer (&self)
                                                                        : NULL;
}

void
avatar_yolo_free (AvatarYolo *self)
{
  if (!self)
    return;
  avatar_yolo_weights_clear (&self->weights);
  avatar_device_unref (self->device);
  g_free (self);
}

gint64
avatar_yolo_n_rows (gint64 height, gint64 width)
{
  gint64 n = 0;

  for (guint grid = 0; grid < AVATAR_YOLO_GRIDS; grid++)
    n += (height / (8 << grid)) * (width / (8 << grid)) * AVATAR_YOLO_ANCHORS;
  return n;
}

guint64
avatar_yolo_bytes (AvatarYolo *self)
{
  return avatar_arena_peak (self->weights.arena);
}

void
avatar_yolo_plan (AvatarYolo *self, gint64 height, gint64 width, gsize *bytes, double *flops)
{
  g_autoptr (AvatarOps) ops = avatar_ops_new (self->device, avatar_arena_new_dry_run (), NULL);
  Net net = { &self->weights, ops };
  AvatarTensor raw[AVATAR_YOLO_GRIDS];

  forward (&net, alloc_activation (&net, height, width, 3), raw);
  *bytes = avatar_arena_peak (ops->arena);
  *flops = ops->flops;
}

gboolean
avatar_yolo_run (AvatarYolo *self, const float *rgb, gint64 height, gint64 width, float *out,
    GError **error)
{
  g_autoptr (AvatarOps) ops = NULL;
  Net net = { &self->weights, NULL };
  AvatarTensor input, raw[AVATAR_YOLO_GRIDS];
  AvatarArena *arena;
  double flops;
  gsize bytes;

  g_return_val_if_fail (height > 0 && height % AVATAR_YOLO_STRIDE == 0, FALSE);
  g_return_val_if_fail (width > 0 && width % AVATAR_YOLO_STRIDE == 0, FALSE);
  avatar_yolo_plan (self, height, width, &bytes, &flops);
  arena = avatar_arena_new (self->device, bytes, "the face detector", error);
  if (!arena)
    return FALSE;
  net.ops = ops = avatar_ops_new (self->device, arena, error);
  if (!ops)
    return FALSE;
  input = alloc_activation (&net, height, width, 3);
  avatar_op_upload (ops, input, rgb);
  forward (&net, input, raw);
  if (!avatar_ops_check (ops, error))
    return FALSE;
  for (guint grid = 0; grid < AVATAR_YOLO_GRIDS; grid++)
    decode_grid (self, grid, raw[grid], &out);
  return TRUE;
}
