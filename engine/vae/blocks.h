/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The blocks that the VAE's encoder and decoder are made of (spec vae 1.4). */
#pragma once

#include "engine/ops/conv3d.h"
#include "engine/weights/config.h"

G_BEGIN_DECLS

/* The tensor @name, or AVATAR_NO_TENSOR. */
typedef AvatarTensor (*AvatarVaeLookup) (gpointer data, const char *name);

/**
 * AvatarVaeSource: where a network's weights come from; the first failure is kept in @error and
 * what is made after it is empty.
 * @dry: sizes only
 * @bytes: packed weights so far
 */
typedef struct
{
  AvatarDevice *device;
  const AvatarVaeConfig *config;
  AvatarVaeLookup lookup;
  gpointer data;
  gboolean dry;
  guint64 bytes;
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

/* An activation [T, H, W, C] and the sums that the next group norm needs. */
typedef struct
{
  AvatarTensor t;
  AvatarChannelSums sums;
} AvatarVaeTensor;

/* The weight and bias "@prefix.weight", "@prefix.bias". */
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

AvatarVaeTensor avatar_vae_alloc (AvatarOps *ops, gint64 t, gint64 h, gint64 w, gint64 c);
/* Pixels as rows: [T H W, C]. */
AvatarTensor avatar_vae_rows (AvatarTensor t);
/* The group norm of @x, its vectors in the arena. */
AvatarNorm avatar_vae_norm (AvatarOps *ops, const AvatarVaeTensor *x, AvatarVaeWeight weight,
    guint groups, gboolean silu);
void avatar_vae_mid (AvatarOps *ops, AvatarVaeMid *self, AvatarVaeTensor *x);
/* The resnets of a level. In place while the channels stay; else @x is replaced by a tensor above
 * it in the arena. */
void avatar_vae_resnets (AvatarOps *ops, AvatarVaeBlock *self, AvatarVaeTensor *x);

G_END_DECLS
