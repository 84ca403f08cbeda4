/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interface of the denoiser for the planner and for tests. */
#pragma once

#include "engine/text/encoder.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/* Work of operations. @counts: zeros except on a "plan:" device */
typedef struct
{
  double flops, bytes;
  AvatarFlopCounts counts;
} AvatarCost;

/**
 * AvatarDenoiserPlan: memory and work of a run over a number of video frames
 * @fits: FALSE if the budget is too small; all other fields are then those of the smallest budget
 * @fixed, @arena, @slots, @expand, @resident: bytes on the device during forwards
 * @least, @peak: bytes on the device, without the context
 * @n_slots, @n_resident, @n_units: slots, resident groups and groups of the forward schedule
 * @shares: the common prefix of both branches of guidance is computed once and stored on the device
 * @keeps: tokens of the step cache are stored on the device
 * @streamed: bytes copied to the device in each forward
 * @ahead: bytes copied to the device before the first forward
 * @host: bytes on the host; @pinned: the part of it that is page-locked
 * @file: bytes of the mapped tensors
 * @n_full, @n_cached: forwards of all windows; @full, @cached: their work
 * @once: work before the first window; @forward: work of one full forward
 * @text: memory of the text encoders, which run before the first window; zeros if there are none.
 *   Their arena is a part of @arena
 */
typedef struct
{
  gboolean fits, shares, keeps;
  guint64 fixed, arena, slots, expand, resident, least, peak;
  guint n_slots, n_resident, n_units;
  guint64 streamed, ahead, pinned, host, file;
  guint64 n_full, n_cached;
  AvatarCost once, full, cached, forward;
  AvatarTextEncoderRequirements text;
} AvatarDenoiserPlan;

/* @room: bytes of device memory for the denoiser, or G_MAXUINT64 for no limit. */
gboolean avatar_denoiser_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 room, AvatarDenoiserPlan *plan,
    GError **error);
/* Predicted and actual bytes of the arena, for tests. */
void avatar_denoiser_get_arena (AvatarDenoiser *self, gsize *predicted, gsize *peak);

G_END_DECLS
