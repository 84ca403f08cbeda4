/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resnets and the middle block with its attention. Residuals are added in place by the second
 * convolution, so that a level holds two tensors of its size and no more. */
#include "engine/vae/blocks.h"

#include <math.h>

#define EPS 1e-6

static AvatarTensor
find (AvatarVaeSource *source, const char *prefix, const char *suffix)
{
  g_autofree char *name = g_strconcat (prefix, suffix, NULL);
  AvatarTensor t = source->lookup (source->data, name);

  if (!avatar_tensor_given (t) && !source->error)
    g_set_error (&source->error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "tensor \"%s\" is missing, which the video VAE needs", name);
  return t;
}

AvatarVaeWeight
avatar_vae_weight (AvatarVaeSource *source, const char *format, ...)
{
  g_autofree char *prefix = NULL;
  AvatarVaeWeight self;
  va_list args;

  va_start (args, format);
  prefix = g_strdup_vprintf (format, args);
  va_end (args);
  self.weight = find (source, prefix, ".weight");
  self.bias = find (source, prefix, ".bias");
  if (self.weight.rank == 5 && self.weight.shape[2] == 1) /* a 1 x 1 x 1 convolution */
    self.weight
        = avatar_tensor_reshape (self.weight, 2, self.weight.shape[0], self.weight.shape[1]);
  return self;
}

AvatarConv3d *
avatar_vae_conv (AvatarVaeSource *source, AvatarConvShape shape, const char *format, ...)
{
  g_autofree char *prefix = NULL;
  AvatarVaeWeight w;
  AvatarConv3d *conv;
  va_list args;

  va_start (args, format);
  prefix = g_strdup_vprintf (format, args);
  va_end (args);
  w = avatar_vae_weight (source, "%s.conv", prefix);
  if (source->error)
    return NULL;
  conv = avatar_conv3d_new (source->device, w.weight, w.bias, shape, source->dry, &source->error);
  if (conv)
    source->bytes += avatar_conv3d_bytes (conv);
  return conv;
}

static const AvatarConvShape same = { 1, 1, 1, 1 };

static void
resnet_init (AvatarVaeResnet *self, AvatarVaeSource *source, const char *prefix)
{
  self->groups = source->config->groups;
  self->norm1 = avatar_vae_weight (source, "%s.norm1", prefix);
  self->norm2 = avatar_vae_weight (source, "%s.norm2", prefix);
  self->conv1 = avatar_vae_conv (source, same, "%s.conv1", prefix);
  self->conv2 = avatar_vae_conv (source, same, "%s.conv2", prefix);
  if (!source->error && self->norm1.weight.shape[0] != self->norm2.weight.shape[0])
    self->shortcut = avatar_vae_weight (source, "%s.conv_shortcut.conv", prefix);
}

static void
resnet_clear (AvatarVaeResnet *self)
{
  avatar_conv3d_free (self->conv1);
  avatar_conv3d_free (self->conv2);
}

void
avatar_vae_mid_init (AvatarVaeMid *self, AvatarVaeSource *source, const char *prefix)
{
  self->groups = source->config->groups;
  self->attention = source->config->mid_attention;
  self->causal = source->config->mid_causal;
  for (guint i = 0; i < 2; i++) {
    g_autofree char *name = g_strdup_printf ("%s.resnets.%u", prefix, i);

    resnet_init (&self->resnets[i], source, name);
  }
  if (!self->attention)
    return;
  self->norm = avatar_vae_weight (source, "%s.attentions.0.group_norm", prefix);
  self->q = avatar_vae_weight (source, "%s.attentions.0.to_q", prefix);
  self->k = avatar_vae_weight (source, "%s.attentions.0.to_k", prefix);
  self->v = avatar_vae_weight (source, "%s.attentions.0.to_v", prefix);
  self->out = avatar_vae_weight (source, "%s.attentions.0.to_out.0", prefix);
}

void
avatar_vae_mid_clear (AvatarVaeMid *self)
{
  resnet_clear (&self->resnets[0]);
  resnet_clear (&self->resnets[1]);
}

void
avatar_vae_block_init (AvatarVaeBlock *self, AvatarVaeSource *source, const char *prefix, guint n,
    const char *resample, AvatarConvShape shape)
{
  self->n = n;
  self->resnets = g_new0 (AvatarVaeResnet, n);
  for (guint i = 0; i < n; i++) {
    g_autofree char *name = g_strdup_printf ("%s.resnets.%u", prefix, i);

    resnet_init (&self->resnets[i], source, name);
  }
  if (resample)
    self->resample = avatar_vae_conv (source, shape, "%s.%s", prefix, resample);
}

void
avatar_vae_block_clear (AvatarVaeBlock *self)
{
  for (guint i = 0; i < self->n; i++)
    resnet_clear (&self->resnets[i]);
  g_free (self->resnets);
  avatar_conv3d_free (self->resample);
}

AvatarVaeTensor
avatar_vae_alloc (AvatarOps *ops, gint64 t, gint64 h, gint64 w, gint64 c)
{
  AvatarVaeTensor x;

  x.t = avatar_ops_alloc (ops, 4, t, h, w, c);
  x.sums = avatar_ops_alloc_sums (ops, c);
  return x;
}

AvatarTensor
avatar_vae_rows (AvatarTensor t)
{
  return avatar_tensor_reshape (t, 2, t.shape[0] * t.shape[1] * t.shape[2], t.shape[3]);
}

AvatarNorm
avatar_vae_norm (AvatarOps *ops, const AvatarVaeTensor *x, AvatarVaeWeight weight, guint groups,
    gboolean silu)
{
  AvatarNorm norm = { .silu = silu };

  norm.scale = avatar_ops_alloc (ops, 1, x->sums.channels);
  norm.shift = avatar_ops_alloc (ops, 1, x->sums.channels);
  avatar_op_group_norm (ops, &norm, &x->sums, weight.weight, weight.bias, groups, EPS);
  return norm;
}

static void
resnet (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *x)
{
  const gint64 *shape = x->t.shape;
  gint64 out = avatar_conv3d_channels_out (self->conv1);
  AvatarVaeTensor y = *x, h;
  AvatarNorm norm;
  gsize mark;

  if (avatar_tensor_given (self->shortcut.weight)) {
    y = avatar_vae_alloc (ops, shape[0], shape[1], shape[2], out);
    avatar_op_linear (ops, avatar_vae_rows (y.t), avatar_vae_rows (x->t), self->shortcut.weight,
        self->shortcut.bias, AVATAR_ACT_NONE);
  }
  mark = avatar_ops_mark (ops);
  h = avatar_vae_alloc (ops, shape[0], shape[1], shape[2], out);
  norm = avatar_vae_norm (ops, x, self->norm1, self->groups, TRUE);
  avatar_op_conv3d (ops, h.t, x->t, self->conv1, &norm, AVATAR_NO_TENSOR, &h.sums);
  norm = avatar_vae_norm (ops, &h, self->norm2, self->groups, TRUE);
  avatar_op_conv3d (ops, y.t, h.t, self->conv2, &norm, y.t, &y.sums);
  avatar_ops_release (ops, mark);
  *x = y;
}

/* x += out (attention (norm (x))): one head over all pixels of all frames [T H W, C]. */
static void
attention (AvatarOps *ops, AvatarVaeMid *self, AvatarVaeTensor *x)
{
  AvatarTensor rows = avatar_vae_rows (x->t);
  gint64 s = rows.shape[0], c = rows.shape[1];
  gint64 frame = self->causal ? x->t.shape[1] * x->t.shape[2] : 0;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor y = avatar_ops_alloc (ops, 2, s, c), q = avatar_ops_alloc (ops, 2, s, c);
  AvatarTensor k = avatar_ops_alloc (ops, 2, s, c), v = avatar_ops_alloc (ops, 2, s, c);
  AvatarNorm norm = avatar_vae_norm (ops, x, self->norm, self->groups, FALSE);

  avatar_op_apply_norm (ops, y, rows, &norm);
  avatar_op_linear (ops, q, y, self->q.weight, self->q.bias, AVATAR_ACT_NONE);
  avatar_op_linear (ops, k, y, self->k.weight, self->k.bias, AVATAR_ACT_NONE);
  avatar_op_linear (ops, v, y, self->v.weight, self->v.bias, AVATAR_ACT_NONE);
  avatar_op_attention (ops, avatar_tensor_split_last (y, c), avatar_tensor_split_last (q, c),
      avatar_tensor_split_last (k, c), avatar_tensor_split_last (v, c), 1 / sqrt (c), frame, 0,
      AVATAR_NO_TENSOR);
  avatar_op_linear_add (ops, rows, y, self->out.weight, self->out.bias, AVATAR_NO_TENSOR,
      AVATAR_NO_TENSOR);
  avatar_ops_release (ops, mark);
  avatar_op_channel_sums (ops, &x->sums, x->t);
}

void
avatar_vae_mid (AvatarOps *ops, AvatarVaeMid *self, AvatarVaeTensor *x)
{
  resnet (ops, &self->resnets[0], x);
  if (self->attention)
    attention (ops, self, x);
  resnet (ops, &self->resnets[1], x);
}

void
avatar_vae_resnets (AvatarOps *ops, AvatarVaeBlock *self, AvatarVaeTensor *x)
{
  for (guint i = 0; i < self->n; i++)
    resnet (ops, &self->resnets[i], x);
}
