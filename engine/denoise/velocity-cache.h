/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* History of the velocities of full steps, for step caches that run no block in the other steps.
 * It has the velocity of every branch of guidance and of every latent frame of the clip, so that
 * windows may be at other positions in each step. A frame that windows share has the mean of their
 * velocities, as it has the mean of their latents. A history belongs to one denoiser and is not
 * thread-safe. */
#pragma once

#include "engine/denoise/forecast.h"
#include "engine/denoise/step-cache.h"

G_BEGIN_DECLS

typedef struct _AvatarVelocityCache AvatarVelocityCache;

/**
 * AvatarVelocityShape: sizes of a history
 * @branches: branches of guidance; @history: number of steps, up to AVATAR_FORECAST_MAX_HISTORY
 * @channels, @frames: size of a window; @plane: values of a channel of a frame
 */
typedef struct
{
  guint branches, history;
  gint64 channels, frames, plane;
} AvatarVelocityShape;

/* Makes an empty history. With AVATAR_TOKEN_STORAGE_DEVICE, for one window only, its tensors are
 * allocated in the arena of @ops. */
AvatarVelocityCache *avatar_velocity_cache_new (AvatarOps *ops, AvatarTokenStorage storage,
    const AvatarVelocityShape *shape);
/* Frees the history and its memory on the host. @self may be %NULL. */
void avatar_velocity_cache_free (AvatarVelocityCache *self);
/* Drops all steps. @latents: number of latent frames of the clip */
void avatar_velocity_cache_reset (AvatarVelocityCache *self, guint latents);
/* Appends step @step, in place of the oldest one if the history is full, and drops steps before
 * @first. Does nothing if it is the last one. */
void avatar_velocity_cache_begin (AvatarVelocityCache *self, guint step, guint first);
/* Returns the number of steps, and their indices, the oldest first. @steps: (out):
 * [AVATAR_FORECAST_MAX_HISTORY] */
guint avatar_velocity_cache_steps (const AvatarVelocityCache *self, guint *steps);
/* Stores @v [C, T, h8, w8] float32 of @branch in the last step of the history. @start: latent frame
 * of the clip at which the window starts. Waits for the device if the history is on the host.
 * Errors are kept in @ops. */
void avatar_velocity_cache_store (AvatarVelocityCache *self, AvatarOps *ops, AvatarTensor v,
    guint branch, guint start);
/* Computes @v, the sum of the velocities of all steps, the oldest first, times @weights. The order
 * is fixed, so that the sum does not depend on the storage. A dry run needs no step. */
void avatar_velocity_cache_combine (AvatarVelocityCache *self, AvatarOps *ops, AvatarTensor v,
    guint branch, guint start, const double *weights);
/* Returns the bytes on the host for a clip of @latents latent frames. */
guint64 avatar_velocity_cache_host_bytes (const AvatarVelocityCache *self, guint latents);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarVelocityCache, avatar_velocity_cache_free)

G_END_DECLS
