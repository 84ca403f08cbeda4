/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* transformers' CLIPEncoderLayer: norms in front, quick GELU. The residual stream is float32, which
 * costs little beside the weights and keeps what 16 bits would round off in every layer. */
#include "engine/image/clip-encoder.h"

#include <math.h>

#define W(...) avatar_weights_get (self->weights, __VA_ARGS__)

/* y = act (W x + b), module "@prefix encoder.layers.@i.@name" */
static void
layer_linear (const AvatarTower *self, guint i, const char *name, AvatarTensor y, AvatarTensor x,
    AvatarAct act)
{
  avatar_op_linear (self->ops, y, x, W ("%sencoder.layers.%u.%s.weight", self->prefix, i, name),
      W ("%sencoder.layers.%u.%s.bias", self->prefix, i, name), act);
}

/* x += W y + b */
static void
layer_residual (const AvatarTower *self, guint i, const char *name, AvatarTensor x, AvatarTensor y)
{
  avatar_op_linear_add (self->ops, x, y, W ("%sencoder.layers.%u.%s.weight", self->prefix, i, name),
      W ("%sencoder.layers.%u.%s.bias", self->prefix, i, name), AVATAR_NO_TENSOR, AVATAR_NO_TENSOR);
}

static void
layer_norm (const AvatarTower *self, guint i, const char *name, AvatarTensor y, AvatarTensor x)
{
  avatar_op_layer_norm (self->ops, y, x, W ("%sencoder.layers.%u.%s.weight", self->prefix, i, name),
      W ("%sencoder.layers.%u.%s.bias", self->prefix, i, name), FALSE, self->config->eps);
}

void
avatar_tower_norm (const AvatarTower *self, const char *name, AvatarTensor y, AvatarTensor x)
{
  avatar_op_layer_norm (self->ops, y, x, W ("%s%s.weight", self->prefix, name),
      W ("%s%s.bias", self->prefix, name), FALSE, self->config->eps);
}

void
avatar_tower_layer (const AvatarTower *self, guint i, AvatarTensor x, gboolean causal)
{
  AvatarOps *ops = self->ops;
  gint64 n = x.shape[0], d = x.shape[1], head = d / self->config->heads;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor h = avatar_ops_alloc (ops, 2, n, d), q = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor k = avatar_ops_alloc (ops, 2, n, d), v = avatar_ops_alloc (ops, 2, n, d);
  AvatarTensor inner;

  layer_norm (self, i, "layer_norm1", h, x);
  layer_linear (self, i, "self_attn.q_proj", q, h, AVATAR_ACT_NONE);
  layer_linear (self, i, "self_attn.k_proj", k, h, AVATAR_ACT_NONE);
  layer_linear (self, i, "self_attn.v_proj", v, h, AVATAR_ACT_NONE);
  avatar_op_attention (ops, avatar_tensor_split_last (h, head), avatar_tensor_split_last (q, head),
      avatar_tensor_split_last (k, head), avatar_tensor_split_last (v, head), 1 / sqrt (head),
      causal ? 1 : 0, 0, AVATAR_NO_TENSOR);
  layer_residual (self, i, "self_attn.out_proj", x, h);
  avatar_ops_release (ops, mark);

  h = avatar_ops_alloc (ops, 2, n, d);
  inner = avatar_ops_alloc (ops, 2, n, (gint64) self->config->mlp);
  layer_norm (self, i, "layer_norm2", h, x);
  layer_linear (self, i, "mlp.fc1", inner, h, AVATAR_ACT_QUICK_GELU);
  layer_residual (self, i, "mlp.fc2", x, inner);
  avatar_ops_release (ops, mark);
}
