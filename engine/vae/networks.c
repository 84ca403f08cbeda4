/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encoder and decoder as chains of levels (docs/dev/spec/vae-text-face-formats.md 1.5). A level's
 * result is allocated before the levels in front of it run, so that all they used is free again
 * when it is there. The last level is by far the largest: what enters it may be computed anew
 * instead of stored. */
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
  gint64 longest; /* of inputs of the network, in frames: set_limits() */
  guint64 most_input, most_between;
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
  self->most_input = self->most_between = G_MAXUINT64;
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

/* The shape of what enters level @level, for a network input x. */
static void
level_shape (AvatarVaeNetwork *self, guint level, AvatarTensor x, gint64 shape[3])
{
  for (guint i = 0; i < 3; i++)
    shape[i] = x.shape[i];
  for (guint i = 0; i < level; i++)
    if (self->levels[i].resample)
      avatar_conv3d_get_output_size (self->levels[i].resample, &shape[0], &shape[1], &shape[2]);
}

static gint64
channels_out (AvatarVaeNetwork *self, guint level)
{
  AvatarVaeBlock *block = &self->levels[level];

  return avatar_vae_resnet_channels_out (&block->resnets[block->n - 1]);
}

/* The convolution in front of level @level. */
static AvatarConv3d *
conv_before (AvatarVaeNetwork *self, guint level)
{
  return level ? self->levels[level - 1].resample : self->conv_in;
}

static void
enter_network (AvatarVaeNetwork *self, AvatarOps *ops, AvatarVaeTensor *out, AvatarTensor x)
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

static void run_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor x);

/* A tensor for what level @level gives. */
static AvatarVaeTensor
alloc_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarTensor x)
{
  gint64 s[3];

  level_shape (self, level, x, s);
  return avatar_vae_alloc (ops, s[0], s[1], s[2], channels_out (self, level));
}

/* @out: what enters level @level. */
static void
enter_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor x)
{
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeTensor before;

  if (level == 0) {
    enter_network (self, ops, out, x);
    return;
  }
  before = alloc_level (self, ops, level - 1, x);
  run_level (self, ops, level - 1, &before, x);
  avatar_op_conv3d (ops, out->t, before.t, conv_before (self, level), NULL, AVATAR_NO_TENSOR,
      &out->sums);
  avatar_ops_release (ops, mark);
}

/* The resnets of level @level behind the first @done. */
static void
run_resnets (AvatarVaeNetwork *self, AvatarOps *ops, guint level, guint done, AvatarVaeTensor *x)
{
  AvatarVaeBlock *block = &self->levels[level];

  for (guint i = done; i < block->n; i++)
    avatar_vae_resnet (ops, &block->resnets[i], x,
        level + 1 < self->n_levels ? G_MAXUINT64 : self->most_between);
}

/* @out: what level @level gives to the convolution behind it. */
static void
run_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor x)
{
  AvatarVaeResnet *first = &self->levels[level].resnets[0];
  gboolean widens = avatar_vae_resnet_widens (first);

  if (widens) {
    gint64 s[3], channels = avatar_conv3d_channels_out (conv_before (self, level));
    gsize mark = avatar_ops_mark (ops);
    AvatarVaeFrames frames;
    AvatarVaeTensor in;

    level_shape (self, level, x, s);
    in = avatar_vae_alloc (ops, s[0], s[1], s[2], channels);
    enter_level (self, ops, level, &in, x);
    frames = avatar_vae_frames_stored (&in);
    avatar_vae_resnet_into (ops, first, out, &frames);
    avatar_ops_release (ops, mark);
  } else {
    enter_level (self, ops, level, out, x);
  }
  run_resnets (self, ops, level, widens, out);
}

/* Whether what enters the last level, [.., h, w, channels], is stored. */
static gboolean
stores_input (AvatarVaeNetwork *self, AvatarOps *ops, gint64 h, gint64 w, gint64 channels)
{
  AvatarTensor longest
      = avatar_tensor (ops->dtype, NULL, 4, self->longest, (gint64) 1, (gint64) 1, (gint64) 1);
  gint64 s[3];

  if (self->most_input == G_MAXUINT64)
    return TRUE;
  level_shape (self, self->n_levels - 1, longest, s);
  return s[0] * h * w * channels * avatar_dtype_size (ops->dtype) <= self->most_input;
}

/* Level @level, which widens, from conv (before), stored or not. */
static void
widen (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out, AvatarTensor from)
{
  AvatarConv3d *conv = conv_before (self, level);
  AvatarVaeResnet *first = &self->levels[level].resnets[0];
  gint64 t = from.shape[0], h = from.shape[1], w = from.shape[2];
  gint64 channels = avatar_conv3d_channels_out (conv);
  AvatarVaeFrames frames;
  AvatarTensor moved;

  avatar_conv3d_get_output_size (conv, &t, &h, &w);
  if (stores_input (self, ops, h, w, channels)) {
    AvatarVaeTensor in = avatar_vae_alloc (ops, t, h, w, channels);
    gsize mark = avatar_ops_mark (ops);

    moved = avatar_ops_alloc (ops, 4, from.shape[0], from.shape[1], from.shape[2], from.shape[3]);
    avatar_op_copy (ops, moved, from);
    avatar_op_conv3d (ops, in.t, moved, conv, NULL, AVATAR_NO_TENSOR, &in.sums);
    avatar_ops_release (ops, mark);
    frames = avatar_vae_frames_stored (&in);
  } else {
    AvatarChannelSums sums = avatar_ops_alloc_sums (ops, channels);

    moved = avatar_ops_alloc (ops, 4, from.shape[0], from.shape[1], from.shape[2], from.shape[3]);
    avatar_op_copy (ops, moved, from);
    frames = avatar_vae_frames_made (ops, conv, moved, sums);
  }
  avatar_vae_resnet_into (ops, first, out, &frames);
}

/* The last level of a decoder into a new tensor. The levels before it run where that tensor and what
 * enters the level will lie, and what they gave is moved behind those: so their memory and the last
 * level's, which is the larger, are never held together. */
static AvatarVaeTensor
run_last_level (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor x)
{
  guint last = self->n_levels - 1;
  gboolean widens = avatar_vae_resnet_widens (&self->levels[last].resnets[0]);
  gsize start = avatar_ops_mark (ops), mark;
  AvatarVaeTensor before = alloc_level (self, ops, last - 1, x), y;

  run_level (self, ops, last - 1, &before, x);
  avatar_ops_release (ops, start);
  y = alloc_level (self, ops, last, x);
  mark = avatar_ops_mark (ops);
  /* what was released is still there, below the new tensor's end */
  g_assert (avatar_tensor_bytes (y.t) >= avatar_tensor_bytes (before.t));
  if (widens) {
    widen (self, ops, last, &y, before.t);
  } else {
    AvatarTensor from = before.t, moved;

    moved = avatar_ops_alloc (ops, 4, from.shape[0], from.shape[1], from.shape[2], from.shape[3]);
    avatar_op_copy (ops, moved, from);
    avatar_op_conv3d (ops, y.t, moved, conv_before (self, last), NULL, AVATAR_NO_TENSOR, &y.sums);
  }
  avatar_ops_release (ops, mark);
  run_resnets (self, ops, last, widens, &y);
  return y;
}

void
avatar_vae_network_run (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x)
{
  guint last = self->n_levels - 1;
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeTensor y;
  AvatarNorm norm;

  if (self->decoder && last > 0) {
    y = run_last_level (self, ops, x);
  } else {
    y = alloc_level (self, ops, last, x);
    run_level (self, ops, last, &y, x);
  }
  if (!self->decoder)
    avatar_vae_mid (ops, &self->mid, &y);
  norm = avatar_vae_norm (ops, &y.sums, self->norm_out, self->groups, TRUE);
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

void
avatar_vae_network_set_limits (AvatarVaeNetwork *self, gint64 longest, guint64 most_input,
    guint64 most_between)
{
  self->longest = longest;
  self->most_input = most_input;
  self->most_between = most_between;
}

void
avatar_vae_network_get_last_level (AvatarVaeNetwork *self, AvatarOps *ops, const gint64 in[3],
    guint64 *input, guint64 *output)
{
  guint last = self->n_levels - 1;
  AvatarTensor x = avatar_tensor (ops->dtype, NULL, 4, in[0], in[1], in[2], (gint64) 1);
  guint64 pixel_bytes;
  gint64 s[3];

  level_shape (self, last, x, s);
  pixel_bytes = s[0] * s[1] * s[2] * avatar_dtype_size (ops->dtype);
  *input = pixel_bytes * avatar_conv3d_channels_out (conv_before (self, last));
  *output = pixel_bytes * channels_out (self, last);
}
