/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device memory of the denoiser: its arena, the weights of the transformer, and their release
 * between two windows when another stage needs the memory. */
#pragma once

#include "engine/denoise/window.h"
#include "engine/device/memory-arbiter.h"

G_BEGIN_DECLS

/**
 * AvatarDenoiserMemory:
 * @exec_lock: held while the denoiser computes; its holder may release the device memory
 * @client: (nullable): registration at the memory arbiter; %NULL on a device that is not discrete
 * @device, @window: the denoiser's; not owned
 * @ops: (nullable): operations on the arena; %NULL in a plan
 * @weights: weights of the transformer; without data unless @has_weights
 * @params: handles, bound to @weights
 * @precompute, @forward: schedules of the weights, for the step conditioning and for forwards;
 *   @precompute is %NULL if another denoiser computes the step conditioning
 * @suspended: the memory was released
 * @has_constants: the constants of all windows are in the arena, below @mark
 * @planned_bytes: planned size of the arena
 */
typedef struct
{
  GMutex exec_lock;
  AvatarMemoryClient *client;
  AvatarDevice *device;
  AvatarOps *ops;
  AvatarWeights *weights;
  AvatarTransformerWeights *params;
  AvatarWindow *window;
  AvatarWeightSchedule *precompute, *forward;
  gboolean suspended, has_weights, has_constants;
  gsize planned_bytes, mark;
} AvatarDenoiserMemory;

/* Waits for the device and frees everything except @client. */
void avatar_denoiser_memory_clear (AvatarDenoiserMemory *self);
/* Releases all device memory except the weights that are always there. Called with the lock held,
 * between two windows. The step conditioning is on the host and remains. */
void avatar_denoiser_memory_release (AvatarDenoiserMemory *self);
/* Does the same for a denoiser that is not computing, and takes its lock. */
void avatar_denoiser_memory_lock_and_release (AvatarDenoiserMemory *self);
/* Allocates the memory again, with the lock held; idle stages release theirs if necessary.
 * @text_bytes: weights of the text encoders, if they run next; else 0. Returns FALSE with
 * AVATAR_ERROR_MEMORY or AVATAR_ERROR_CANCELLED. */
gboolean
avatar_denoiser_memory_acquire (AvatarDenoiserMemory *self, guint64 text_bytes, GError **error);
/* Releases the memory of @memory, an AvatarDenoiserMemory, for another stage. An
 * AvatarReclaimFunc: called from the thread of that stage. */
AvatarReclaimResult avatar_denoiser_memory_reclaim (gpointer memory, AvatarReclaimMode mode);
/* Returns the bytes of @slots slots in the larger one of both schedules. */
guint64 avatar_denoiser_memory_slots_bytes (const AvatarDenoiserMemory *self, guint slots);

G_END_DECLS
