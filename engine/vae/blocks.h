/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Building blocks of the VAE's encoder and decoder (docs/dev/spec/vae-text-face-formats.md 1.4). */
#pragma once

#include "engine/vae/frames.h"
#include "engine/model/config.h"

G_BEGIN_DECLS

/* Returns the tensor @name as float32 in host memory, to be freed with g_free(); without data in a
 * dry run. Returns AVATAR_NO_TENSOR if it does not exist, and with @error if it cannot be read. */
typedef AvatarTensor (*AvatarVaeLookup) (gpointer data, const char *name, GError **error);

/**
 * AvatarVaeSource:
 * @ops: context whose arena receives the weights; it must outlive the network. May be a dry run
 * @config: sizes of the VAE
 * @lookup: function that reads a tensor
 * @data: passed to @lookup
 * @error: (nullable): the first failure, owned by the caller; weights bound after it are empty
 *
 * Source of a network's weights.
 */
typedef struct
{
  AvatarOps *ops;
  const AvatarVaeConfig *config;
  AvatarVaeLookup lookup;
  gpointer data;
  GError *error;
} AvatarVaeSource;

typedef struct
{
  AvatarTensor weight, bias;
} AvatarVaeWeight;

typedef struct
{
  AvatarVaeWeight norm1, norm2;
  AvatarConv3d *conv1, *conv2;
  AvatarVaeWeight shortcut; /* empty if input and output have the same channels */
  guint groups;
} AvatarVaeResnet;

typedef struct
{
  AvatarVaeResnet resnets[2];
  gboolean attention, causal;
  AvatarVaeWeight norm, q, k, v, out;
  guint groups;
} AvatarVaeMid;

/* One level of the network: resnets, then a convolution to the size of the next level. */
typedef struct
{
  guint n;
  AvatarVaeResnet *resnets;
  AvatarConv3d *resample; /* NULL in the last level */
} AvatarVaeBlock;

/* Packs the weight and bias "PREFIX.weight" and "PREFIX.bias", where PREFIX is the formatted
 * string. A 1 x 1 x 1 convolution becomes a matrix. */
AvatarVaeWeight
avatar_vae_weight (AvatarVaeSource *source, const char *format, ...) G_GNUC_PRINTF (2, 3);
/* Packs the convolution "PREFIX.conv". Returns NULL after a failure. */
AvatarConv3d *avatar_vae_conv (AvatarVaeSource *source, AvatarConvShape shape, const char *format,
    ...) G_GNUC_PRINTF (3, 4);
void avatar_vae_mid_init (AvatarVaeMid *self, AvatarVaeSource *source, const char *prefix);
void avatar_vae_mid_clear (AvatarVaeMid *self);
/* Makes a level with @n resnets.
 * @prefix: name of the level, e.g. "decoder.up_blocks.0"
 * @resample: (nullable): name of its last convolution, of the shape @shape */
void avatar_vae_block_init (AvatarVaeBlock *self, AvatarVaeSource *source, const char *prefix,
    guint n, const char *resample, AvatarConvShape shape);
void avatar_vae_block_clear (AvatarVaeBlock *self);

/* Computes the group norm of the activation with the sums @sums, with SiLU after it if @act is
 * AVATAR_ACT_SILU; AVATAR_ACT_NONE is the only other value. Its vectors are allocated in the
 * arena. */
AvatarNorm avatar_vae_norm (AvatarOps *ops, const AvatarChannelSums *sums, AvatarVaeWeight weight,
    guint groups, AvatarAct act);
/* Runs the middle block in place on @x [T, H, W, C]. */
void avatar_vae_mid (AvatarOps *ops, AvatarVaeMid *self, AvatarVaeTensor *x);
/* Returns TRUE if the resnet has other output than input channels. */
gboolean avatar_vae_resnet_has_shortcut (const AvatarVaeResnet *self);
gint64 avatar_vae_resnet_channels_out (const AvatarVaeResnet *self);
/* y = resnet (x), for a resnet with a shortcut. Reads @x [T, H, W, C] twice; @y is
 * [T, H, W, channels_out]. */
void avatar_vae_resnet_into (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *y,
    const AvatarVaeFrames *x);
/* x = resnet (x) in place, for a resnet without a shortcut. The tensor between its convolutions is
 * as large as @x [T, H, W, C]; up to @max_hidden_bytes of it are stored (but at least two groups of
 * frames), and the rest is computed twice, with bit-identical results. */
void avatar_vae_resnet (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *x,
    guint64 max_hidden_bytes);

G_END_DECLS
