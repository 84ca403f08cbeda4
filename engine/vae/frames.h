/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Activations of the VAE. They are read one group of frames at a time, from memory or from the
 * convolution that computes them. */
#pragma once

#include "engine/ops/conv3d.h"

G_BEGIN_DECLS

/* An activation [T, H, W, C] and the sums that the next group norm needs. */
typedef struct
{
  AvatarTensor t;
  AvatarChannelSums sums;
} AvatarVaeTensor;

/* Allocates an activation [@t, @h, @w, @c] and its sums from the arena. */
AvatarVaeTensor avatar_vae_alloc (AvatarOps *ops, gint64 t, gint64 h, gint64 w, gint64 c);
/* Returns a view of @t [T, H, W, C] as a matrix with one row for each pixel, [T H W, C]. */
AvatarTensor avatar_vae_rows (AvatarTensor t);

/**
 * AvatarVaeFrames:
 * @t: the stored activation, or rank 0
 * @conv: (nullable): the convolution that computes the activation if it is not stored
 * @conv_input: the input of @conv
 * @shape: [T, H, W, C]
 * @sums: the sums of all frames
 *
 * An activation that is either stored, or recomputed whenever it is read.
 */
typedef struct
{
  AvatarTensor t;
  AvatarConv3d *conv;
  AvatarTensor conv_input;
  gint64 shape[4];
  AvatarChannelSums sums;
} AvatarVaeFrames;

AvatarVaeFrames avatar_vae_frames_stored (const AvatarVaeTensor *x);
/* Returns the frames conv (conv_input), which are recomputed when they are read. Computes all of
 * them once for their sums, which are stored in @sums. */
AvatarVaeFrames avatar_vae_frames_computed (AvatarOps *ops, AvatarConv3d *conv,
    AvatarTensor conv_input, AvatarChannelSums sums);

/* Reads frames from the first to the last, in the groups of AvatarConvStream. */
typedef struct
{
  const AvatarVaeFrames *frames;
  AvatarConvStream stream;
  AvatarTensor buffer; /* one computed group */
  gint64 next, group;  /* next frame; frames in a group */
} AvatarVaeReader;

/* Starts a reader, which allocates from the arena; the caller releases the arena after the last
 * group.
 * @sums: (nullable): receives the sums of computed frames */
void avatar_vae_reader_begin (AvatarOps *ops, AvatarVaeReader *self, const AvatarVaeFrames *frames,
    AvatarChannelSums *sums);
/* Returns the next group [n, H, W, C], which is valid until the next call, or rank 0 at the end. */
AvatarTensor avatar_vae_reader_next (AvatarOps *ops, AvatarVaeReader *self);

G_END_DECLS
