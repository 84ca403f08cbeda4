/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encoder and decoder as chains of levels (spec vae 1.5). A level's result is allocated before
 * the levels in front of it run, so that all they used is free again when it is there. */
#include "engine/vae/networks.h"

struct _AvatarVaeNetwork
{
  gboolean decoder;
  guint groups, n_levels;
  AvatarVaeWeight quant; /* post_quant_conv in front of a decoder, quant_conv behind an encoder */
  AvatarConv3d *conv_in, *conv_out;
  AvatarVaeMid mid; /* before the levels of a decoder, after those of an encoder */
  AvatarVaeBlock levels[AVATAR_MAX_STAGES];
  AvatarVaeWeight norm_out;
};

static const AvatarConvShape same = { 1, 1, 1, 1 };

/* Which axes change their size after level @i: the first ones in space, the last ones in time. */
static gboolean
resamples (const AvatarVaeConfig *config, guint i, gboolean *time, gboolean *space)
{
  guint n_space = g_bit_storage (config->spatial_ratio) - 1;
  guint n_time = g_bit_storage (config->temporal_ratio) - 1;

  *space = i < n_space;
  *time = i + 1 < config->n_stages && i + 1 + n_time >= config->n_stages;
  return *space || *time;
}

static AvatarVaeNetwork *
network_new (AvatarVaeSource *source, gboolean decoder)
{
  g_autoptr (AvatarVaeNetwork) self = g_new0 (AvatarVaeNetwork, 1);
  const AvatarVaeConfig *config = source->config;
  const char *net = decoder ? "decoder" : "encoder";
  g_autofree char *mid = g_strconcat (net, ".mid_block", NULL);

  self->decoder = decoder;
  self->groups = config->groups;
  self->n_levels = config->n_stages;
  self->quant = avatar_vae_weight (source, "%s", decoder ? "post_quant_conv" : "quant_conv");
  self->conv_in = avatar_vae_conv (source, same, "%s.conv_in", net);
  avatar_vae_mid_init (&self->mid, source, mid);
  for (guint i = 0; i < self->n_levels; i++) {
    g_autofree char *prefix = g_strdup_printf ("%s.%s_blocks.%u", net, decoder ? "up" : "down", i);
    gboolean time, space, any = resamples (config, i, &time, &space);
    AvatarConvShape up = { 1, 1, time ? 2 : 1, space ? 2 : 1 };
    AvatarConvShape down = { time ? 2 : 1, space ? 2 : 1, 1, 1 };
    const char *name = decoder ? "upsamplers.0.conv" : "downsamplers.0.conv";

    avatar_vae_block_init (&self->levels[i], source, prefix,
        config->layers_per_block + (decoder ? 1 : 0), any ? name : NULL, decoder ? up : down);
  }
  self->norm_out = avatar_vae_weight (source, "%s.conv_norm_out", net);
  self->conv_out = avatar_vae_conv (source, same, "%s.conv_out", net);
  return source->error ? NULL : g_steal_pointer (&self);
}

AvatarVaeNetwork *
avatar_vae_decoder_network_new (AvatarVaeSource *source)
{
  return network_new (source, TRUE);
}

AvatarVaeNetwork *
avatar_vae_encoder_network_new (AvatarVaeSource *source)
{
  return network_new (source, FALSE);
}

void
avatar_vae_network_free (AvatarVaeNetwork *self)
{
  if (!self)
    return;
  avatar_conv3d_free (self->conv_in);
  avatar_conv3d_free (self->conv_out);
  avatar_vae_mid_clear (&self->mid);
  for (guint i = 0; i < self->n_levels; i++)
    avatar_vae_block_clear (&self->levels[i]);
  g_free (self);
}

static AvatarVaeTensor
alloc_output (AvatarOps *ops, AvatarConv3d *conv, const gint64 shape[3])
{
  gint64 t = shape[0], h = shape[1], w = shape[2];

  avatar_conv3d_output (conv, &t, &h, &w);
  return avatar_vae_alloc (ops, t, h, w, avatar_conv3d_channels_out (conv));
}

/* The shape of what enters level @level, for a network input x. */
static void
level_shape (AvatarVaeNetwork *self, guint level, AvatarTensor x, gint64 shape[3])
{
  for (guint i = 0; i < 3; i++)
    shape[i] = x.shape[i];
  for (guint i = 0; i < level; i++)
    if (self->levels[i].resample)
      avatar_conv3d_output (self->levels[i].resample, &shape[0], &shape[1], &shape[2]);
}

static void
enter (AvatarVaeNetwork *self, AvatarOps *ops, AvatarVaeTensor *out, AvatarTensor x)
{
  gsize mark = avatar_ops_mark (ops);

  if (self->decoder) {
    AvatarTensor z = avatar_ops_alloc (ops, 4, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);

    avatar_op_linear (ops, avatar_vae_rows (z), avatar_vae_rows (x), self->quant.weight,
        self->quant.bias, AVATAR_ACT_NONE);
    x = z;
  }
  avatar_op_conv3d (ops, out->t, x, self->conv_in, NULL, AVATAR_NO_TENSOR, &out->sums);
  avatar_ops_release (ops, mark);
  if (self->decoder)
    avatar_vae_mid (ops, &self->mid, out);
}

/* @out: what enters level @level. The tensors of the levels below it are freed on return. */
static void
descend (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out, AvatarTensor x)
{
  AvatarVaeBlock *block;
  AvatarVaeTensor in;
  gint64 shape[3];
  gsize mark = avatar_ops_mark (ops);

  if (level == 0) {
    enter (self, ops, out, x);
    return;
  }
  block = &self->levels[level - 1];
  level_shape (self, level - 1, x, shape);
  if (level == 1)
    in = alloc_output (ops, self->conv_in, shape);
  else
    in = avatar_vae_alloc (ops, shape[0], shape[1], shape[2],
        avatar_conv3d_channels_out (self->levels[level - 2].resample));
  descend (self, ops, level - 1, &in, x);
  avatar_vae_resnets (ops, block, &in);
  avatar_op_conv3d (ops, out->t, in.t, block->resample, NULL, AVATAR_NO_TENSOR, &out->sums);
  avatar_ops_release (ops, mark);
}

void
avatar_vae_network_run (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x)
{
  guint last = self->n_levels - 1;
  gsize mark = avatar_ops_mark (ops);
  AvatarConv3d *before = last ? self->levels[last - 1].resample : self->conv_in;
  AvatarVaeTensor y;
  AvatarNorm norm;
  gint64 shape[3];

  level_shape (self, last, x, shape);
  y = avatar_vae_alloc (ops, shape[0], shape[1], shape[2], avatar_conv3d_channels_out (before));
  descend (self, ops, last, &y, x);
  avatar_vae_resnets (ops, &self->levels[last], &y);
  if (!self->decoder)
    avatar_vae_mid (ops, &self->mid, &y);
  norm = avatar_vae_norm (ops, &y, self->norm_out, self->groups, TRUE);
  if (self->decoder) {
    avatar_op_conv3d (ops, out, y.t, self->conv_out, &norm, AVATAR_NO_TENSOR, NULL);
  } else {
    AvatarTensor moments
        = avatar_ops_alloc (ops, 4, out.shape[0], out.shape[1], out.shape[2], out.shape[3]);

    avatar_op_conv3d (ops, moments, y.t, self->conv_out, &norm, AVATAR_NO_TENSOR, NULL);
    avatar_op_linear (ops, avatar_vae_rows (out), avatar_vae_rows (moments), self->quant.weight,
        self->quant.bias, AVATAR_ACT_NONE);
  }
  avatar_ops_release (ops, mark);
}
