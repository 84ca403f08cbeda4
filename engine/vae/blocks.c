/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resnets and the middle block with its attention. The second convolution adds the residual in
 * place, so that a level needs two tensors of its size, or less if frames are computed twice. */
#include "engine/vae/blocks.h"

#include <math.h>

#define EPS 1e-6

static AvatarTensor
find (AvatarVaeSource *source, const char *prefix, const char *suffix)
{
  g_autofree char *name = g_strconcat (prefix, suffix, NULL);
  AvatarTensor t = AVATAR_NO_TENSOR;

  if (source->error)
    return t;
  t = source->lookup (source->data, name, &source->error);
  if (!avatar_tensor_is_set (t) && !source->error)
    g_set_error (&source->error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "the tensor \"%s\" of the video VAE is missing; download the file of the VAE again", name);
  return t;
}

/* Copies @host to the device and frees it. A 1 x 1 x 1 convolution becomes a matrix. */
static AvatarTensor
upload (AvatarVaeSource *source, AvatarTensor host)
{
  g_autofree float *values = host.data;
  AvatarTensor t;

  if (source->error)
    return AVATAR_NO_TENSOR;
  if (host.rank == 5)
    host = avatar_tensor_reshape (host, 2, host.shape[0], avatar_tensor_n (host) / host.shape[0]);
  t = host.rank == 2 ? avatar_ops_alloc (source->ops, 2, host.shape[0], host.shape[1])
                     : avatar_ops_alloc (source->ops, 1, host.shape[0]);
  avatar_op_upload (source->ops, t, values);
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
  self.weight = upload (source, find (source, prefix, ".weight"));
  self.bias = upload (source, find (source, prefix, ".bias"));
  return self;
}

AvatarConv3d *
avatar_vae_conv (AvatarVaeSource *source, AvatarConvShape shape, const char *format, ...)
{
  g_autofree char *prefix = NULL;
  AvatarTensor weight, bias;
  AvatarConv3d *conv = NULL;
  va_list args;

  va_start (args, format);
  prefix = g_strdup_vprintf (format, args);
  va_end (args);
  weight = find (source, prefix, ".conv.weight");
  bias = find (source, prefix, ".conv.bias");
  if (!source->error)
    conv = avatar_conv3d_new (source->ops, weight, bias, shape);
  g_free (weight.data);
  g_free (bias.data);
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

AvatarNorm
avatar_vae_norm (AvatarOps *ops, const AvatarChannelSums *sums, AvatarVaeWeight weight,
    guint groups, AvatarAct act)
{
  AvatarNorm norm = { .silu = act == AVATAR_ACT_SILU };

  norm.scale = avatar_ops_alloc_as (ops, AVATAR_F32, 1, sums->channels);
  norm.shift = avatar_ops_alloc_as (ops, AVATAR_F32, 1, sums->channels);
  avatar_op_group_norm (ops, &norm, sums, weight.weight, weight.bias, groups, EPS);
  return norm;
}

gboolean
avatar_vae_resnet_has_shortcut (const AvatarVaeResnet *self)
{
  return avatar_tensor_is_set (self->shortcut.weight);
}

gint64
avatar_vae_resnet_channels_out (const AvatarVaeResnet *self)
{
  return avatar_conv3d_channels_out (self->conv1);
}

/* Stores conv1 (silu (norm1 (x))) in y, from where conv2 reads it and overwrites it with its
 * output. */
void
avatar_vae_resnet_into (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *y,
    const AvatarVaeFrames *x)
{
  const gint64 *s = x->shape;
  gint64 out = avatar_vae_resnet_channels_out (self), at = 0;
  gsize start = avatar_ops_mark (ops), mark;
  AvatarNorm norm1 = avatar_vae_norm (ops, &x->sums, self->norm1, self->groups, AVATAR_ACT_SILU),
             norm2;
  AvatarTensor chunk, residual;
  AvatarConvStream conv;
  AvatarVaeReader reader;

  mark = avatar_ops_mark (ops);
  avatar_conv_stream_begin (ops, &conv, self->conv1, &norm1, s[0], s[1], s[2], &y->sums);
  avatar_vae_reader_begin (ops, &reader, x, NULL);
  while (chunk = avatar_vae_reader_next (ops, &reader), avatar_tensor_is_set (chunk)) {
    avatar_conv_stream_push (ops, &conv, avatar_tensor_rows (y->t, at, chunk.shape[0]), chunk,
        AVATAR_NO_TENSOR);
    at += chunk.shape[0];
  }
  avatar_conv_stream_end (ops, &conv);
  avatar_ops_release (ops, mark);

  norm2 = avatar_vae_norm (ops, &y->sums, self->norm2, self->groups, AVATAR_ACT_SILU);
  avatar_conv_stream_begin (ops, &conv, self->conv2, &norm2, s[0], s[1], s[2], &y->sums);
  avatar_vae_reader_begin (ops, &reader, x, NULL);
  residual = avatar_ops_alloc (ops, 4, MIN (s[0], reader.group), s[1], s[2], out);
  at = 0;
  while (chunk = avatar_vae_reader_next (ops, &reader), avatar_tensor_is_set (chunk)) {
    AvatarTensor rows = avatar_tensor_rows (y->t, at, chunk.shape[0]);
    AvatarTensor r = avatar_tensor_rows (residual, 0, chunk.shape[0]);

    avatar_op_linear (ops, avatar_vae_rows (r), avatar_vae_rows (chunk), self->shortcut.weight,
        self->shortcut.bias, AVATAR_ACT_NONE);
    avatar_conv_stream_push (ops, &conv, rows, rows, r);
    at += chunk.shape[0];
  }
  avatar_conv_stream_end (ops, &conv);
  avatar_ops_release (ops, start);
}

/* Returns the number of @frames frames of @frame_bytes each that are stored within @max_bytes: a
 * whole number of groups, of which the first is one frame, and at least two groups. */
static gint64
count_stored (gint64 frames, gint64 group, guint64 frame_bytes, guint64 max_bytes)
{
  gint64 fit = MIN ((guint64) frames, max_bytes / frame_bytes);

  if (fit == frames || frames <= 1 + group)
    return frames;
  return 1 + MAX (1, (fit - 1) / group) * group;
}

/* Computes conv1 (silu (norm1 (x))) and its sums. The first @stored frames are stored in @h. */
static void
run_conv1 (AvatarOps *ops, AvatarVaeResnet *self, AvatarTensor x, const AvatarNorm *norm,
    AvatarTensor h, AvatarChannelSums *sums, gint64 stored)
{
  gint64 group = avatar_conv_group (ops, x.shape[1], x.shape[2]), n;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor buffer = AVATAR_NO_TENSOR;
  AvatarConvStream conv;

  avatar_conv_stream_begin (ops, &conv, self->conv1, norm, x.shape[0], x.shape[1], x.shape[2],
      sums);
  avatar_conv_stream_push (ops, &conv, h, avatar_tensor_rows (x, 0, stored), AVATAR_NO_TENSOR);
  if (stored < x.shape[0])
    buffer = avatar_ops_alloc (ops, 4, group, x.shape[1], x.shape[2], x.shape[3]);
  for (gint64 t = stored; t < x.shape[0]; t += n) {
    n = MIN (group, x.shape[0] - t);
    avatar_conv_stream_push (ops, &conv, avatar_tensor_rows (buffer, 0, n),
        avatar_tensor_rows (x, t, n), AVATAR_NO_TENSOR);
  }
  avatar_conv_stream_end (ops, &conv);
  avatar_ops_release (ops, mark);
}

void
avatar_vae_resnet (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *x,
    guint64 max_hidden_bytes)
{
  const gint64 *s = x->t.shape;
  gint64 group = avatar_conv_group (ops, s[1], s[2]), n;
  gint64 stored = count_stored (s[0], group, avatar_tensor_bytes (x->t) / s[0], max_hidden_bytes);
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeTensor h = avatar_vae_alloc (ops, stored, s[1], s[2], s[3]);
  AvatarNorm norm1 = avatar_vae_norm (ops, &x->sums, self->norm1, self->groups, AVATAR_ACT_SILU),
             norm2;
  AvatarTensor buffer = AVATAR_NO_TENSOR;
  AvatarConvStream conv, recompute;

  run_conv1 (ops, self, x->t, &norm1, h.t, &h.sums, stored);
  norm2 = avatar_vae_norm (ops, &h.sums, self->norm2, self->groups, AVATAR_ACT_SILU);
  avatar_conv_stream_begin (ops, &conv, self->conv2, &norm2, s[0], s[1], s[2], &x->sums);
  if (stored < s[0]) {
    buffer = avatar_ops_alloc (ops, 4, group, s[1], s[2], s[3]);
    avatar_conv_stream_begin (ops, &recompute, self->conv1, &norm1, s[0], s[1], s[2], NULL);
    /* saves the frames of context, which conv2 overwrites */
    avatar_conv_stream_seek (ops, &recompute, avatar_tensor_rows (x->t, stored - 2, 2), stored);
  }
  avatar_conv_stream_push (ops, &conv, avatar_tensor_rows (x->t, 0, stored), h.t,
      avatar_tensor_rows (x->t, 0, stored));
  for (gint64 t = stored; t < s[0]; t += n) {
    AvatarTensor rows;

    n = MIN (group, s[0] - t);
    rows = avatar_tensor_rows (x->t, t, n);
    avatar_conv_stream_push (ops, &recompute, avatar_tensor_rows (buffer, 0, n), rows,
        AVATAR_NO_TENSOR);
    avatar_conv_stream_push (ops, &conv, rows, avatar_tensor_rows (buffer, 0, n), rows);
  }
  avatar_conv_stream_end (ops, &conv);
  avatar_ops_release (ops, mark);
}

/* Computes x += out (attention (norm (x))), with one head over all pixels of all frames. */
static void
attention (AvatarOps *ops, AvatarVaeMid *self, AvatarVaeTensor *x)
{
  AvatarTensor rows = avatar_vae_rows (x->t);
  gint64 s = rows.shape[0], c = rows.shape[1];
  gint64 frame = self->causal ? x->t.shape[1] * x->t.shape[2] : 0;
  gsize mark = avatar_ops_mark (ops);
  AvatarTensor y = avatar_ops_alloc (ops, 2, s, c), q = avatar_ops_alloc (ops, 2, s, c);
  AvatarTensor k = avatar_ops_alloc (ops, 2, s, c), v = avatar_ops_alloc (ops, 2, s, c);
  AvatarNorm norm = avatar_vae_norm (ops, &x->sums, self->norm, self->groups, AVATAR_ACT_NONE);

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
  avatar_vae_resnet (ops, &self->resnets[0], x, G_MAXUINT64);
  if (self->attention)
    attention (ops, self, x);
  avatar_vae_resnet (ops, &self->resnets[1], x, G_MAXUINT64);
}
