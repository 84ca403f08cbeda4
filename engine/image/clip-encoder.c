/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transformers' CLIPEncoderLayer, with norms before attention and MLP and quick GELU. The residual
 * stream is float32, which costs little compared with the weights; 16 bits would round it in every
 * layer. */
#include "engine/image/clip-encoder.h"

#include "engine/weights/module-ops.h"

#include <math.h>

#define LAYER(...) AVATAR_WEIGHT_ROW (AvatarTowerLayer, __VA_ARGS__)
static const AvatarWeightRow layer_rows[] = {
  LAYER (norm1, "layer_norm1", NORM, 0),
  LAYER (norm2, "layer_norm2", NORM, 0),
  LAYER (q, "self_attn.q_proj", LINEAR, 0),
  LAYER (k, "self_attn.k_proj", LINEAR, 0),
  LAYER (v, "self_attn.v_proj", LINEAR, 0),
  LAYER (out, "self_attn.out_proj", LINEAR, 0),
  LAYER (fc1, "mlp.fc1", LINEAR, 0),
  LAYER (fc2, "mlp.fc2", LINEAR, 0),
};

static const AvatarWeightTable table = AVATAR_WEIGHT_TABLE (layer_rows);

void
avatar_tower_add_layer (AvatarWeightList *list, AvatarTowerLayer *layer, guint group,
    const char *prefix, guint i)
{
  avatar_weight_list_add (list, &table, layer, &group, "%sencoder.layers.%u.", prefix, i);
}

void
avatar_tower_norm (const AvatarTower *self, const AvatarModuleWeights *norm, AvatarTensor y,
    AvatarTensor x)
{
  avatar_affine_norm (self->ops, y, x, norm, self->config->eps);
}

void
avatar_tower_layer (const AvatarTower *self, const AvatarTowerLayer *l, AvatarTensor x)
{
  AvatarOps *ops = self->ops;
  gint64 n = x.shape[0], d = x.shape[1], head = d / self->config->heads;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor h = avatar_ops_alloc (ops, 2, n, d), q = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor k = avatar_ops_alloc (ops, 2, n, d), v = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor inner;

  avatar_tower_norm (self, &l->norm1, h, x);
  avatar_linear (ops, q, h, &l->q, AVATAR_ACT_NONE);
  avatar_linear (ops, k, h, &l->k, AVATAR_ACT_NONE);
  avatar_linear (ops, v, h, &l->v, AVATAR_ACT_NONE);
  avatar_op_attention (ops, avatar_tensor_split_last (h, head), avatar_tensor_split_last (q, head),
      avatar_tensor_split_last (k, head), avatar_tensor_split_last (v, head), 1 / sqrt (head),
      self->mask == AVATAR_TOWER_CAUSAL ? 1 : 0, 0, AVATAR_NO_TENSOR);
  avatar_linear_add (ops, x, h, &l->out, AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);

  h = avatar_ops_alloc (ops, 2, n, d);
  inner = avatar_ops_alloc (ops, 2, n, (gint64) self->config->mlp);
  avatar_tower_norm (self, &l->norm2, h, x);
  avatar_linear (ops, inner, h, &l->fc1, AVATAR_ACT_QUICK_GELU);
  avatar_linear_add (ops, x, inner, &l->fc2, AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
}
