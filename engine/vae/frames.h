/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Activations of the VAE, and how they are read: a group of frames after the other, from memory or
 * from the convolution that makes them. */
#pragma once

#include "engine/ops/conv3d.h"

G_BEGIN_DECLS

/* An activation [T, H, W, C] and the sums that the next group norm needs. */
typedef struct
{
  AvatarTensor t;
  AvatarChannelSums sums;
} AvatarVaeTensor;

AvatarVaeTensor avatar_vae_alloc (AvatarOps *ops, gint64 t, gint64 h, gint64 w, gint64 c);
/* Pixels as rows: [T H W, C]. */
AvatarTensor avatar_vae_rows (AvatarTensor t);

/**
 * AvatarVaeFrames: an activation that is there, or one that is computed whenever it is read, because
 * there is no room for all of it.
 * @t: it, or rank 0; @conv, @from: it is conv (from), upsampled in that
 */
typedef struct
{
  AvatarTensor t;
  AvatarConv3d *conv;
  AvatarTensor from;
  gint64 shape[4]; /* [T, H, W, C] */
  AvatarChannelSums sums;
} AvatarVaeFrames;

AvatarVaeFrames avatar_vae_frames_stored (const AvatarVaeTensor *x);
/* Of @conv (@from); computes the sums, in @sums' room, by making all frames once. */
AvatarVaeFrames avatar_vae_frames_made (AvatarOps *ops, AvatarConv3d *conv, AvatarTensor from,
    AvatarChannelSums sums);

/* One reading from the first frame to the last, in the groups of AvatarConvStream. */
typedef struct
{
  const AvatarVaeFrames *frames;
  AvatarConvStream stream;
  AvatarTensor room; /* of a group that was computed */
  gint64 next, group;
} AvatarVaeReader;

/* Takes memory from the arena: release it after the last group. @sums: (nullable): of frames that
 * are computed */
void avatar_vae_reader_begin (AvatarOps *ops, AvatarVaeReader *self, const AvatarVaeFrames *frames,
    AvatarChannelSums *sums);
/* The next group, or rank 0; valid until the one after it is asked for. */
AvatarTensor avatar_vae_reader_next (AvatarOps *ops, AvatarVaeReader *self);

G_END_DECLS
