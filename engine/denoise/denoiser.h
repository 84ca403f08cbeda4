/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interface of the denoiser for the planner and for tests. */
#pragma once

#include "engine/text/encoder.h"

#include <avatar/denoise.h>

G_BEGIN_DECLS

/**
 * AvatarCost: work of operations
 * @flops: floating-point operations; a multiply-add counts 2
 * @bytes: bytes that are read and written
 * @counts: floating-point operations by kind; zeros except on a "plan:" device
 */
typedef struct
{
  double flops, bytes;
  AvatarFlopCounts counts;
} AvatarCost;

/**
 * AvatarDenoiserPlan: memory and work of a run over a number of video frames
 * @fits: FALSE if the budget is too small; all other fields are then those of the smallest budget
 * @shares_prefix: the shared prefix of both branches of guidance is computed once and stored on the
 *   device
 * @cache_on_device: the tokens of the step cache are stored on the device
 * @fixed_bytes, @arena_bytes, @slots_bytes, @expand_bytes, @resident_bytes: memory on the device
 *   during forwards: weights that are always there, activations, slots, memory to expand 8-bit
 *   weights in, resident groups
 * @min_bytes, @peak_bytes: smallest sufficient memory and highest memory on the device, without the
 *   context
 * @n_slots, @n_resident, @n_groups: slots, resident groups and groups of the forward schedule
 * @streamed_bytes: bytes that are copied to the device in each forward
 * @precompute_bytes: bytes that are copied to the device once, before the first forward
 * @pinned_bytes: page-locked memory on the host
 * @host_bytes: other memory on the host
 * @file_bytes: bytes of the mapped tensors
 * @n_full, @n_cached: full and cached forwards of all windows; @full, @cached: their work
 * @precompute: work before the first window; @forward: work of one full forward
 * @text: memory of the text encoders, which run before the first window; zeros if there are none.
 *   Their arena is a part of @arena_bytes
 */
typedef struct
{
  gboolean fits, shares_prefix, cache_on_device;
  guint64 fixed_bytes, arena_bytes, slots_bytes, expand_bytes, resident_bytes;
  guint64 min_bytes, peak_bytes;
  guint n_slots, n_resident, n_groups;
  guint64 streamed_bytes, precompute_bytes, pinned_bytes, host_bytes, file_bytes;
  guint64 n_full, n_cached;
  AvatarCost precompute, full, cached, forward;
  AvatarTextEncoderRequirements text;
} AvatarDenoiserPlan;

/* Plans a run over @frames video frames. @available_bytes: device memory for the denoiser, or
 * G_MAXUINT64 for no limit; @plan: (out). Allocates no device memory. May be called from any
 * thread. Returns FALSE with @error if the settings are impossible; memory that is too small is not
 * an error. */
gboolean avatar_denoiser_plan (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 available_bytes,
    AvatarDenoiserPlan *plan, GError **error);
/* Plans the part of such a run that the second member of @device, a group, computes: the branch of
 * guidance without audio. @settings must have guidance. */
gboolean avatar_denoiser_plan_branch (AvatarModel *model, AvatarDevice *device,
    const AvatarDenoiseSettings *settings, guint frames, guint64 available_bytes,
    AvatarDenoiserPlan *plan, GError **error);
/* Gets the planned size and the peak use of the arena in bytes, for tests. */
void avatar_denoiser_get_arena (AvatarDenoiser *self, gsize *planned, gsize *peak);

G_END_DECLS
