/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What other rooms of the engine may ask of the denoiser. */
#pragma once

#include "engine/text/encoder.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* @counts: on a "plan:" device only */
typedef struct
{
  double flops, bytes;
  AvatarFlopCounts counts;
} AvatarCost;

/**
 * AvatarDenoiserPlan: a run over some video frames.
 * @fits: or else all figures are those of the smallest budget that would do
 * @fixed, @arena, @slots, @expand, @resident: bytes on the device while forwards are made
 * @least, @peak: bytes on the device, the context's not counted
 * @n_slots, @n_resident, @n_units: of the way of a forward
 * @shares, @keeps: tokens of both branches, and the step cache's, have a place on the device
 * @streamed: bytes copied to the device in a forward; @ahead: once, before the first
 * @pinned: of @host, what the device copies from; @file: bytes of the mapped tensors
 * @n_full, @n_cached: forwards of all windows; @full, @cached: their work; @once: what is ahead of
 *   them; @forward: one full forward
 * @text: of the text encoders, before anything else; zeros if there are none. Their arena is a part of
 *   @arena
 */
typedef struct
{
  gboolean fits, shares, keeps;
  guint64 fixed, arena, slots, expand, resident, least, peak;
  guint n_slots, n_resident, n_units;
  guint64 streamed, ahead, pinned, host, file;
  guint64 n_full, n_cached;
  AvatarCost once, full, cached, forward;
  AvatarTextEncoderNeeds text;
} AvatarDenoiserPlan;

/* @room: bytes of the device for the stage; G_MAXUINT64: no limit. */
gboolean avatar_denoiser_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 room, AvatarDenoiserPlan *plan,
    GError **error);
/* For tests: prediction and reality of the arena. */
void avatar_denoiser_get_arena (AvatarDenoiser *self, gsize *predicted, gsize *peak);

G_END_DECLS
