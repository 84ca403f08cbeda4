/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whisper's encoder, as transformers' WhisperEncoder computes it. */
#include "engine/audio/whisper.h"

#include <math.h>

#define EPS 1e-5

typedef struct
{
  AvatarOps *ops;
  const AvatarWhisperConfig *c;
  AvatarWeights *weights;
} Net;

/* y = act (W x + b), module "layers.@i.@name" */
static void
layer_linear (const Net *net, guint i, const char *name, AvatarTensor y, AvatarTensor x,
    AvatarAct act)
{
  AvatarTensor w = avatar_weights_get (net->weights, "layers.%u.%s.weight", i, name);
  AvatarTensor b = AVATAR_NO_TENSOR;
  g_autofree char *bias = g_strdup_printf ("layers.%u.%s.bias", i, name);

  if (avatar_weights_has (net->weights, bias)) /* k_proj has none */
    b = avatar_weights_get (net->weights, "%s", bias);
  avatar_op_linear (net->ops, y, x, w, b, act);
}

/* x += W y + b */
static void
layer_residual (const Net *net, guint i, const char *name, AvatarTensor x, AvatarTensor y)
{
  avatar_op_linear_add (net->ops, x, y,
      avatar_weights_get (net->weights, "layers.%u.%s.weight", i, name),
      avatar_weights_get (net->weights, "layers.%u.%s.bias", i, name), AVATAR_NO_TENSOR,
      AVATAR_NO_TENSOR);
}

static void
layer_norm (const Net *net, guint i, const char *name, AvatarTensor y, AvatarTensor x)
{
  avatar_op_layer_norm (net->ops, y, x,
      avatar_weights_get (net->weights, "layers.%u.%s.weight", i, name),
      avatar_weights_get (net->weights, "layers.%u.%s.bias", i, name), FALSE, EPS);
}

/* x += attention (norm (x)); x += mlp (norm (x)), x [positions, width] */
static void
run_layer (const Net *net, guint i, AvatarTensor x)
{
  AvatarOps *ops = net->ops;
  gint64 n = x.shape[0], d = x.shape[1], head = d / net->c->heads;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor h = avatar_ops_alloc (ops, 2, n, d), q = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor k = avatar_ops_alloc (ops, 2, n, d), v = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor inner;

  layer_norm (net, i, "self_attn_layer_norm", h, x);
  layer_linear (net, i, "self_attn.q_proj", q, h, AVATAR_ACT_NONE);
  layer_linear (net, i, "self_attn.k_proj", k, h, AVATAR_ACT_NONE);
  layer_linear (net, i, "self_attn.v_proj", v, h, AVATAR_ACT_NONE);
  avatar_op_attention (ops, avatar_tensor_split_last (h, head), avatar_tensor_split_last (q, head),
      avatar_tensor_split_last (k, head), avatar_tensor_split_last (v, head), 1 / sqrt (head), 0, 0,
      AVATAR_NO_TENSOR);
  layer_residual (net, i, "self_attn.out_proj", x, h);
  avatar_ops_release (ops, mark);

  h = avatar_ops_alloc (ops, 2, n, d);
  inner = avatar_ops_alloc (ops, 2, n, (gint64) net->c->ffn);
  layer_norm (net, i, "final_layer_norm", h, x);
  layer_linear (net, i, "fc1", inner, h, AVATAR_ACT_GELU);
  layer_residual (net, i, "fc2", x, inner);
  avatar_ops_release (ops, mark);
}

/* y [L', width] = gelu (convolution of 3 over x [L, C]) */
static void
run_conv (const Net *net, const char *name, AvatarTensor y, AvatarTensor x, gint64 stride)
{
  AvatarTensor w = avatar_weights_get (net->weights, "%s.weight", name);
  gint64 n = 3 * x.shape[1];
  gsize mark = avatar_ops_mark (net->ops);
  AvatarTensor columns = avatar_ops_alloc (net->ops, 2, y.shape[0], n);

  avatar_op_unfold (net->ops, columns, x, 3, stride, 1);
  avatar_op_linear (net->ops, y, columns, avatar_tensor_reshape (w, 2, w.shape[0], n),
      avatar_weights_get (net->weights, "%s.bias", name), AVATAR_ACT_GELU);
  avatar_ops_release (net->ops, mark);
}

static void
keep_state (const Net *net, AvatarTensor hidden, guint i, AvatarTensor x)
{
  avatar_op_copy (net->ops, avatar_tensor_slice (hidden, 1, i, 1),
      avatar_tensor_reshape (x, 3, x.shape[0], (gint64) 1, x.shape[1]));
}

void
avatar_whisper_run (AvatarOps *ops, const AvatarWhisperConfig *c, AvatarWeights *weights,
    AvatarTensor hidden, AvatarTensor mel)
{
  const Net net = { ops, c, weights };
  gint64 d = c->width, n = mel.shape[0] / 2;
  gsize mark = avatar_ops_mark (ops), inner_mark;
  AvatarTensor x = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor stem;

  g_assert (hidden.shape[0] == n && hidden.shape[1] == c->layers + 1 && hidden.shape[2] == d);
  inner_mark = avatar_ops_mark (ops);
  stem = avatar_ops_alloc (ops, 2, 2 * n, d);
  run_conv (&net, "conv1", stem, mel, 1);
  run_conv (&net, "conv2", x, stem, 2);
  avatar_ops_release (ops, inner_mark);
  avatar_op_axpby (ops, x, 1, avatar_weights_get (weights, "embed_positions.weight"), 1);
  for (guint i = 0; i < c->layers; i++) {
    keep_state (&net, hidden, i, x);
    run_layer (&net, i, x);
  }
  stem = avatar_ops_alloc (ops, 2, n, d);
  avatar_op_layer_norm (ops, stem, x, avatar_weights_get (weights, "layer_norm.weight"),
      avatar_weights_get (weights, "layer_norm.bias"), FALSE, EPS);
  keep_state (&net, hidden, c->layers, stem);
  avatar_ops_release (ops, mark);
}
