/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Encoder and decoder as sequences of levels (docs/dev/spec/vae-text-face-formats.md 1.5). The
 * result of a level is allocated before the previous levels run, so that all their memory is free
 * again when the level has finished. The last level is by far the largest: its input may be
 * recomputed instead of stored. */
#include "engine/vae/networks.h"

struct _AvatarVaeNetwork
{
  AvatarVaeKind kind;
  guint groups, n_levels;
  AvatarVaeWeight quant; /* post_quant_conv before a decoder, quant_conv after an encoder */
  AvatarConv3d *conv_in, *conv_out;
  AvatarVaeMid mid; /* before the levels of a decoder, after those of an encoder */
  AvatarVaeBlock levels[AVATAR_MAX_STAGES];
  AvatarVaeWeight norm_out;
  gint64 max_frames; /* see avatar_vae_network_set_limits() */
  guint64 max_input_bytes, max_hidden_bytes;
};

static const AvatarConvShape same = { 1, 1, 1, 1 };

/* Returns TRUE if a convolution after level @i changes the size, and sets the axes. Height and
 * width change after the first levels, time changes after the last ones. */
static gboolean
resamples (const AvatarVaeConfig *config, guint i, gboolean *time, gboolean *space)
{
  guint n_space = g_bit_storage (config->spatial_ratio) - 1;
  guint n_time = g_bit_storage (config->temporal_ratio) - 1;

  *space = i < n_space;
  *time = i + 1 < config->n_stages && i + 1 + n_time >= config->n_stages;
  return *space || *time;
}

AvatarVaeNetwork *
avatar_vae_network_new (AvatarVaeSource *source, AvatarVaeKind kind)
{
  gboolean decoder = kind == AVATAR_VAE_DECODER;
  g_autoptr (AvatarVaeNetwork) self = g_new0 (AvatarVaeNetwork, 1);
  const AvatarVaeConfig *config = source->config;
  const char *net = decoder ? "decoder" : "encoder";
  g_autofree char *mid = g_strconcat (net, ".mid_block", NULL);

  self->kind = kind;
  self->groups = config->groups;
  self->n_levels = config->n_stages;
  self->max_input_bytes = self->max_hidden_bytes = G_MAXUINT64;
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

/* Gets the shape [T, H, W] of the input of level @level, for a network input @x. */
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

/* Returns the convolution before level @level. */
static AvatarConv3d *
conv_before (AvatarVaeNetwork *self, guint level)
{
  return level ? self->levels[level - 1].resample : self->conv_in;
}

/* Computes the input of the first level. */
static void
run_input (AvatarVaeNetwork *self, AvatarOps *ops, AvatarVaeTensor *out, AvatarTensor x)
{
  gsize mark = avatar_ops_mark (ops);

  if (self->kind == AVATAR_VAE_DECODER) {
    AvatarTensor z = avatar_ops_alloc (ops, 4, x.shape[0], x.shape[1], x.shape[2], x.shape[3]);

    avatar_op_linear (ops, avatar_vae_rows (z), avatar_vae_rows (x), self->quant.weight,
        self->quant.bias, AVATAR_ACT_NONE);
    x = z;
  }
  avatar_op_conv3d (ops, out->t, x, self->conv_in, NULL, AVATAR_NO_TENSOR, &out->sums);
  avatar_ops_release (ops, mark);
  if (self->kind == AVATAR_VAE_DECODER)
    avatar_vae_mid (ops, &self->mid, out);
}

static void run_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor x);

/* Allocates the output of level @level. */
static AvatarVaeTensor
alloc_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarTensor x)
{
  gint64 s[3];

  level_shape (self, level, x, s);
  return avatar_vae_alloc (ops, s[0], s[1], s[2], channels_out (self, level));
}

/* Computes the input of level @level into @out. */
static void
run_levels_before (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor x)
{
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeTensor before;

  if (level == 0) {
    run_input (self, ops, out, x);
    return;
  }
  before = alloc_level (self, ops, level - 1, x);
  run_level (self, ops, level - 1, &before, x);
  avatar_op_conv3d (ops, out->t, before.t, conv_before (self, level), NULL, AVATAR_NO_TENSOR,
      &out->sums);
  avatar_ops_release (ops, mark);
}

/* Runs the resnets of level @level except the first @done. */
static void
run_resnets (AvatarVaeNetwork *self, AvatarOps *ops, guint level, guint done, AvatarVaeTensor *x)
{
  AvatarVaeBlock *block = &self->levels[level];

  for (guint i = done; i < block->n; i++)
    avatar_vae_resnet (ops, &block->resnets[i], x,
        level + 1 < self->n_levels ? G_MAXUINT64 : self->max_hidden_bytes);
}

/* Runs all levels up to @level, without the convolution after it, into @out. */
static void
run_level (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor x)
{
  AvatarVaeResnet *first = &self->levels[level].resnets[0];
  gboolean has_shortcut = avatar_vae_resnet_has_shortcut (first);

  if (has_shortcut) {
    gint64 s[3], channels = avatar_conv3d_channels_out (conv_before (self, level));
    gsize mark = avatar_ops_mark (ops);
    AvatarVaeFrames frames;
    AvatarVaeTensor in;

    level_shape (self, level, x, s);
    in = avatar_vae_alloc (ops, s[0], s[1], s[2], channels);
    run_levels_before (self, ops, level, &in, x);
    frames = avatar_vae_frames_stored (&in);
    avatar_vae_resnet_into (ops, first, out, &frames);
    avatar_ops_release (ops, mark);
  } else {
    run_levels_before (self, ops, level, out, x);
  }
  run_resnets (self, ops, level, has_shortcut, out);
}

/* Returns TRUE if the input of the last level, [T, @h, @w, @channels], is to be stored. */
static gboolean
stores_input (AvatarVaeNetwork *self, AvatarOps *ops, gint64 h, gint64 w, gint64 channels)
{
  AvatarTensor largest
      = avatar_tensor (ops->dtype, NULL, 4, self->max_frames, (gint64) 1, (gint64) 1, (gint64) 1);
  gint64 s[3];

  if (self->max_input_bytes == G_MAXUINT64)
    return TRUE;
  level_shape (self, self->n_levels - 1, largest, s);
  return s[0] * h * w * channels * avatar_dtype_size (ops->dtype) <= self->max_input_bytes;
}

/* Runs the first resnet of level @level, which has a shortcut, on the output @from of the level
 * before. The input of the resnet is stored or recomputed. */
static void
run_first_resnet (AvatarVaeNetwork *self, AvatarOps *ops, guint level, AvatarVaeTensor *out,
    AvatarTensor from)
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
    frames = avatar_vae_frames_computed (ops, conv, moved, sums);
  }
  avatar_vae_resnet_into (ops, first, out, &frames);
}

/* Runs the last level of a decoder into a new tensor. The levels before it run in the memory
 * that the new tensor and the input of the last level will occupy, and their result is moved
 * after these. Their memory and that of the last level, the largest, are therefore never held
 * together. */
static AvatarVaeTensor
run_last_level (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor x)
{
  guint last = self->n_levels - 1;
  gboolean has_shortcut = avatar_vae_resnet_has_shortcut (&self->levels[last].resnets[0]);
  gsize start = avatar_ops_mark (ops), mark;
  AvatarVaeTensor before = alloc_level (self, ops, last - 1, x), y;

  run_level (self, ops, last - 1, &before, x);
  avatar_ops_release (ops, start);
  y = alloc_level (self, ops, last, x);
  mark = avatar_ops_mark (ops);
  /* the released tensor is intact: the new one, which covers it, was not written yet */
  g_assert (avatar_tensor_bytes (y.t) >= avatar_tensor_bytes (before.t));
  if (has_shortcut) {
    run_first_resnet (self, ops, last, &y, before.t);
  } else {
    AvatarTensor from = before.t, moved;

    moved = avatar_ops_alloc (ops, 4, from.shape[0], from.shape[1], from.shape[2], from.shape[3]);
    avatar_op_copy (ops, moved, from);
    avatar_op_conv3d (ops, y.t, moved, conv_before (self, last), NULL, AVATAR_NO_TENSOR, &y.sums);
  }
  avatar_ops_release (ops, mark);
  run_resnets (self, ops, last, has_shortcut, &y);
  return y;
}

void
avatar_vae_network_run (AvatarVaeNetwork *self, AvatarOps *ops, AvatarTensor out, AvatarTensor x)
{
  guint last = self->n_levels - 1;
  gsize mark = avatar_ops_mark (ops);
  AvatarVaeTensor y;
  AvatarNorm norm;

  if (self->kind == AVATAR_VAE_DECODER && last > 0) {
    y = run_last_level (self, ops, x);
  } else {
    y = alloc_level (self, ops, last, x);
    run_level (self, ops, last, &y, x);
  }
  if (self->kind == AVATAR_VAE_ENCODER)
    avatar_vae_mid (ops, &self->mid, &y);
  norm = avatar_vae_norm (ops, &y.sums, self->norm_out, self->groups, AVATAR_ACT_SILU);
  if (self->kind == AVATAR_VAE_DECODER) {
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
avatar_vae_network_set_limits (AvatarVaeNetwork *self, gint64 max_frames, guint64 max_input_bytes,
    guint64 max_hidden_bytes)
{
  self->max_frames = max_frames;
  self->max_input_bytes = max_input_bytes;
  self->max_hidden_bytes = max_hidden_bytes;
}

void
avatar_vae_network_get_last_level (AvatarVaeNetwork *self, AvatarOps *ops, const gint64 in[3],
    guint64 *input_bytes, guint64 *output_bytes)
{
  guint last = self->n_levels - 1;
  AvatarTensor x = avatar_tensor (ops->dtype, NULL, 4, in[0], in[1], in[2], (gint64) 1);
  guint64 pixel_bytes;
  gint64 s[3];

  level_shape (self, last, x, s);
  pixel_bytes = s[0] * s[1] * s[2] * avatar_dtype_size (ops->dtype);
  *input_bytes = pixel_bytes * avatar_conv3d_channels_out (conv_before (self, last));
  *output_bytes = pixel_bytes * channels_out (self, last);
}
