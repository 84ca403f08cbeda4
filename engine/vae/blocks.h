/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The blocks that the VAE's encoder and decoder are made of
 * (docs/dev/spec/vae-text-face-formats.md 1.4). */
#pragma once

#include "engine/vae/frames.h"
#include "engine/model/config.h"

G_BEGIN_DECLS

/* The tensor @name as float32 of the host, its data to be freed with g_free(); without data in a
 * plan. AVATAR_NO_TENSOR if there is none, with @error if it cannot be read. */
typedef AvatarTensor (*AvatarVaeLookup) (gpointer data, const char *name, GError **error);

/**
 * AvatarVaeSource: where a network's weights come from; the first failure is kept in @error and
 * what is made after it is empty.
 * @ops: of an arena that takes the weights and outlives the network; a dry one counts
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
  AvatarVaeWeight shortcut; /* none where the channels stay */
  guint groups;
} AvatarVaeResnet;

typedef struct
{
  AvatarVaeResnet resnets[2];
  gboolean attention, causal;
  AvatarVaeWeight norm, q, k, v, out;
  guint groups;
} AvatarVaeMid;

/* One level of the network: resnets, then a convolution to the next level's size. */
typedef struct
{
  guint n;
  AvatarVaeResnet *resnets;
  AvatarConv3d *resample; /* %NULL: the last level */
} AvatarVaeBlock;

/* The weight and bias "@prefix.weight", "@prefix.bias", on the device. */
AvatarVaeWeight
avatar_vae_weight (AvatarVaeSource *source, const char *format, ...) G_GNUC_PRINTF (2, 3);
AvatarConv3d *avatar_vae_conv (AvatarVaeSource *source, AvatarConvShape shape, const char *format,
    ...) G_GNUC_PRINTF (3, 4);
void avatar_vae_mid_init (AvatarVaeMid *self, AvatarVaeSource *source, const char *prefix);
void avatar_vae_mid_clear (AvatarVaeMid *self);
/* @prefix: e.g. "decoder.up_blocks.0"; @resample: the name of its last convolution or %NULL. */
void avatar_vae_block_init (AvatarVaeBlock *self, AvatarVaeSource *source, const char *prefix,
    guint n, const char *resample, AvatarConvShape shape);
void avatar_vae_block_clear (AvatarVaeBlock *self);

/* The group norm of what @sums are of, its vectors in the arena. */
AvatarNorm avatar_vae_norm (AvatarOps *ops, const AvatarChannelSums *sums, AvatarVaeWeight weight,
    guint groups, gboolean silu);
void avatar_vae_mid (AvatarOps *ops, AvatarVaeMid *self, AvatarVaeTensor *x);
/* Whether the resnet's output has other channels than its input. */
gboolean avatar_vae_resnet_widens (const AvatarVaeResnet *self);
gint64 avatar_vae_resnet_channels_out (const AvatarVaeResnet *self);
/* @y = the resnet of @x, for one that widens. Reads @x twice. */
void avatar_vae_resnet_into (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *y,
    const AvatarVaeFrames *x);
/* In place, for one that does not. Of the tensor between its two convolutions, which is as large as
 * @x, up to @most bytes are kept; what is beyond is computed twice, to the same bits. */
void avatar_vae_resnet (AvatarOps *ops, AvatarVaeResnet *self, AvatarVaeTensor *x, guint64 most);

G_END_DECLS
