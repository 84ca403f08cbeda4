/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whisper's encoder, as transformers' WhisperEncoder computes it. */
#include "engine/audio/whisper.h"

#include "engine/weights/module-ops.h"

#include <math.h>

#define EPS 1e-5

#define OUTER(...) AVATAR_WEIGHT_ROW (AvatarWhisperWeights, __VA_ARGS__)
static const AvatarWeightRow outer_rows[] = {
  OUTER (conv1, "conv1", LINEAR, 0),
  OUTER (conv2, "conv2", LINEAR, 0),
  OUTER (positions, "embed_positions", MATRIX, 0),
  OUTER (norm, "layer_norm", NORM, 0),
};

#define LAYER(...) AVATAR_WEIGHT_ROW (AvatarWhisperLayer, __VA_ARGS__)
static const AvatarWeightRow layer_rows[] = {
  LAYER (attention_norm, "self_attn_layer_norm", NORM, 0),
  LAYER (q, "self_attn.q_proj", LINEAR, 0),
  LAYER (k, "self_attn.k_proj", MATRIX, 0), /* without a bias */
  LAYER (v, "self_attn.v_proj", LINEAR, 0),
  LAYER (out, "self_attn.out_proj", LINEAR, 0),
  LAYER (final_norm, "final_layer_norm", NORM, 0),
  LAYER (fc1, "fc1", LINEAR, 0),
  LAYER (fc2, "fc2", LINEAR, 0),
};

static const AvatarWeightTable outer = AVATAR_WEIGHT_TABLE (outer_rows);
static const AvatarWeightTable layer = AVATAR_WEIGHT_TABLE (layer_rows);

AvatarWhisperWeights *
avatar_whisper_weights_new (const AvatarWhisperConfig *config)
{
  static const guint groups[] = { AVATAR_WEIGHT_GROUP_FIXED };
  AvatarWhisperWeights *self = g_new0 (AvatarWhisperWeights, 1);

  self->list = avatar_weight_list_new (0);
  self->layers = g_new0 (AvatarWhisperLayer, config->layers);
  avatar_weight_list_add (self->list, &outer, self, groups, "%s", "");
  for (guint i = 0; i < config->layers; i++)
    avatar_weight_list_add (self->list, &layer, &self->layers[i], groups, "layers.%u.", i);
  return self;
}

void
avatar_whisper_weights_free (AvatarWhisperWeights *self)
{
  if (!self)
    return;
  avatar_weight_list_free (self->list);
  g_free (self->layers);
  g_free (self);
}

/* Computes x += attention (norm (x)), x += mlp (norm (x)), with x [positions, width]. */
static void
run_layer (AvatarOps *ops, const AvatarWhisperConfig *c, const AvatarWhisperLayer *l,
    AvatarTensor x)
{
  gint64 n = x.shape[0], d = x.shape[1], head = d / c->heads;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor h = avatar_ops_alloc (ops, 2, n, d), q = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor k = avatar_ops_alloc (ops, 2, n, d), v = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor inner;

  avatar_affine_norm (ops, h, x, &l->attention_norm, EPS);
  avatar_linear (ops, q, h, &l->q, AVATAR_ACT_NONE);
  avatar_linear (ops, k, h, &l->k, AVATAR_ACT_NONE);
  avatar_linear (ops, v, h, &l->v, AVATAR_ACT_NONE);
  avatar_op_attention (ops, avatar_tensor_split_last (h, head), avatar_tensor_split_last (q, head),
      avatar_tensor_split_last (k, head), avatar_tensor_split_last (v, head), 1 / sqrt (head), 0, 0,
      AVATAR_NO_TENSOR);
  avatar_linear_add (ops, x, h, &l->out, AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);

  h = avatar_ops_alloc (ops, 2, n, d);
  inner = avatar_ops_alloc (ops, 2, n, (gint64) c->ffn);
  avatar_affine_norm (ops, h, x, &l->final_norm, EPS);
  avatar_linear (ops, inner, h, &l->fc1, AVATAR_ACT_GELU);
  avatar_linear_add (ops, x, inner, &l->fc2, AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
}

/* Computes y = gelu (conv (x)) with a convolution of size 3, x [L, C], y [L', width]. */
static void
run_conv (AvatarOps *ops, const AvatarModuleWeights *conv, AvatarTensor y, AvatarTensor x,
    gint64 stride)
{
  AvatarTensor w = avatar_weight_tensor (conv->weight);
  gint64 n = 3 * x.shape[1];
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor columns = avatar_ops_alloc (ops, 2, y.shape[0], n);

  avatar_op_unfold (ops, columns, x, 3, stride, 1);
  avatar_op_linear (ops, y, columns, avatar_tensor_reshape (w, 2, w.shape[0], n),
      avatar_weight_tensor (conv->bias), AVATAR_ACT_GELU);
  avatar_ops_release (ops, mark);
}

/* Stores x [positions, width] as state @i of @hidden. */
static void
store_state (AvatarOps *ops, AvatarTensor hidden, guint i, AvatarTensor x)
{
  avatar_op_copy (ops, avatar_tensor_slice (hidden, 1, i, 1),
      avatar_tensor_reshape (x, 3, x.shape[0], (gint64) 1, x.shape[1]));
}

void
avatar_whisper_run (AvatarOps *ops, const AvatarWhisperConfig *c,
    const AvatarWhisperWeights *weights, AvatarTensor hidden, AvatarTensor mel)
{
  gint64 d = c->width, n = mel.shape[0] / 2;
  gsize mark = avatar_ops_mark (ops), inner_mark;
  AvatarTensor x = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor stem;

  g_assert (hidden.shape[0] == n && hidden.shape[1] == c->layers + 1 && hidden.shape[2] == d);
  inner_mark = avatar_ops_mark (ops);
  stem = avatar_ops_alloc (ops, 2, 2 * n, d);
  run_conv (ops, &weights->conv1, stem, mel, 1);
  run_conv (ops, &weights->conv2, x, stem, 2);
  avatar_ops_release (ops, inner_mark);
  avatar_op_axpby (ops, x, 1, avatar_weight_tensor (weights->positions.weight), 1);
  for (guint i = 0; i < c->layers; i++) {
    store_state (ops, hidden, i, x);
    run_layer (ops, c, &weights->layers[i], x);
  }
  stem = avatar_ops_alloc (ops, 2, n, d);
  avatar_affine_norm (ops, stem, x, &weights->norm, EPS);
  store_state (ops, hidden, c->layers, stem);
  avatar_ops_release (ops, mark);
}
