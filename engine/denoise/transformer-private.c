/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/transformer-private.h"

void
avatar_transformer_tap (AvatarTransformer *self, AvatarOps *ops, const char *name,
    AvatarTensor value)
{
  if (self->tap && avatar_ops_running (ops))
    self->tap (name, value, self->tap_data);
}

void
avatar_transformer_acquire (AvatarTransformer *self, AvatarOps *ops, AvatarWeightGroupKind kind,
    guint i)
{
  avatar_weights_acquire (self->weights, ops,
      avatar_transformer_weight_group (self->config, kind, i));
}

void
avatar_transformer_release (AvatarTransformer *self, AvatarOps *ops, AvatarWeightGroupKind kind,
    guint i)
{
  avatar_weights_release (self->weights, ops,
      avatar_transformer_weight_group (self->config, kind, i));
}

AvatarTensor
avatar_as_matrix (AvatarTensor w)
{
  return avatar_tensor_reshape (w, 2, w.shape[0], avatar_tensor_n (w) / w.shape[0]);
}

AvatarTensor
avatar_as_row (AvatarTensor v)
{
  return avatar_tensor_reshape (v, 2, (gint64) 1, avatar_tensor_n (v));
}

void
avatar_mlp (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarMlpWeights *mlp,
    AvatarAct act)
{
  gsize mark = avatar_ops_mark (ops);
  gint64 width = avatar_weight_tensor (mlp->fc1.weight).shape[0];
  AvatarTensor hidden = avatar_ops_alloc (ops, 2, x.shape[0], width);

  avatar_linear (ops, hidden, x, &mlp->fc1, act);
  avatar_linear (ops, y, hidden, &mlp->fc2, AVATAR_ACT_NONE);
  avatar_ops_release (ops, mark);
}

void
avatar_transformer_embed_patches (AvatarTransformer *self, AvatarOps *ops, AvatarTensor tokens,
    AvatarTensor x, const AvatarModuleWeights *conv)
{
  AvatarTensor w = avatar_as_matrix (avatar_weight_tensor (conv->weight));
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor patches = avatar_ops_alloc (ops, 2, tokens.shape[0], w.shape[1]);

  avatar_op_patchify (ops, patches, x, self->config->patch, AVATAR_PATCHIFY);
  avatar_op_linear (ops, tokens, patches, w, avatar_weight_tensor (conv->bias), AVATAR_ACT_NONE);
  avatar_ops_release (ops, mark);
}

gint64
avatar_modulation_double (const AvatarTransformerConfig *c, guint i, AvatarStreamKind stream)
{
  return (12 * (gint64) i + (stream == AVATAR_STREAM_TEXT ? 6 : 0)) * c->hidden;
}

gint64
avatar_modulation_single (const AvatarTransformerConfig *c, guint i)
{
  return (12 * (gint64) c->n_double + 3 * i) * c->hidden;
}

gint64
avatar_modulation_final (const AvatarTransformerConfig *c)
{
  return avatar_modulation_single (c, c->n_single);
}

gint64
avatar_transformer_modulation_n (const AvatarTransformerConfig *c)
{
  return avatar_modulation_final (c) + 2 * c->hidden;
}
