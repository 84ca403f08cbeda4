/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device memory of the denoiser: its arena, the weights of the transformer, and their release
 * between two windows when another stage needs the memory. */
#pragma once

#include "engine/denoise/window.h"
#include "engine/device/memory-arbiter.h"

G_BEGIN_DECLS

/**
 * AvatarDenoiserMemory:
 * @exec_lock: held while the denoiser works; its holder may release the device memory
 * @client: (nullable): registration at the memory arbiter; %NULL on a device that is not discrete
 * @ops: (nullable): operations on the arena; %NULL in a plan
 * @weights: weights of the transformer
 * @window: the window, whose step conditioning is computed before the forward schedule is set
 * @precompute, @forward: schedules of the weights, for the step conditioning and for forwards
 * @suspended: the memory was released
 * @begun: constants of all windows are in the arena, below @mark
 * @predicted: size of the arena (bytes)
 */
typedef struct
{
  GMutex exec_lock;
  AvatarMemoryClient *client;
  AvatarDevice *device;
  AvatarOps *ops;
  AvatarWeights *weights;
  AvatarTransformerWeights *params; /* bound to @weights */
  AvatarWindow *window;
  AvatarWeightSchedule *precompute, *forward;
  gboolean suspended, begun;
  gsize predicted, mark;
} AvatarDenoiserMemory;

void avatar_denoiser_memory_clear (AvatarDenoiserMemory *self);
/* With the lock held, between two windows: releases all device memory except weights that stay
 * there always. What was computed before the first window is on the host and is kept. */
void avatar_denoiser_memory_release (AvatarDenoiserMemory *self);
/* Allocates it again; idle stages release theirs if necessary. @for_texts: bytes for weights of the
 * text encoders, if they run next; else 0. */
gboolean
avatar_denoiser_memory_acquire (AvatarDenoiserMemory *self, guint64 for_texts, GError **error);
/* AvatarReclaimFunc of an AvatarDenoiserMemory. */
AvatarReclaimResult avatar_denoiser_memory_reclaim (gpointer memory, AvatarReclaimMode mode);
/* The most bytes that @slots slots take in either schedule. */
guint64 avatar_denoiser_memory_slots_bytes (const AvatarDenoiserMemory *self, guint slots);

G_END_DECLS
