/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/device-memory.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

/* Number of attempts to allocate memory that other stages have released. Another program, or
 * another stage, may allocate it first. */
#define ATTEMPTS 3

void
avatar_denoiser_memory_clear (AvatarDenoiserMemory *self)
{
  avatar_ops_finish (self->ops); /* operations in the queue use the weights */
  avatar_weights_free (self->weights);
  avatar_transformer_weights_free (self->params);
  avatar_ops_free (self->ops);
  g_free (self->precompute);
  g_free (self->forward);
  g_mutex_clear (&self->exec_lock);
}

void
avatar_denoiser_memory_release (AvatarDenoiserMemory *self)
{
  if (self->suspended)
    return;
  avatar_ops_finish (self->ops);
  avatar_weights_drop_schedule (self->weights);
  avatar_arena_free_memory (self->ops->arena);
  self->suspended = TRUE;
  self->has_constants = FALSE;
  if (self->client)
    avatar_memory_client_set_reclaimable (self->client, FALSE);
}

void
avatar_denoiser_memory_lock_and_release (AvatarDenoiserMemory *self)
{
  g_mutex_lock (&self->exec_lock);
  avatar_denoiser_memory_release (self);
  g_mutex_unlock (&self->exec_lock);
}

guint64
avatar_denoiser_memory_slots_bytes (const AvatarDenoiserMemory *self, guint slots)
{
  GArray *groups = avatar_weights_get_groups (self->weights);

  if (!groups)
    return 0;
  if (!self->precompute)
    return avatar_placement_slots_bytes (self->device, groups, self->forward, slots);
  return MAX (avatar_placement_slots_bytes (self->device, groups, self->precompute, slots),
      avatar_placement_slots_bytes (self->device, groups, self->forward, slots));
}

/* Sets the forward schedule. Before the first window it is set later, after precomputation. */
static gboolean
set_schedule (AvatarDenoiserMemory *self, GError **error)
{
  return !self->window->step_conditioning
      || avatar_weights_set_schedule (self->weights, self->ops, self->forward, error);
}

/* Requests memory from the arbiter until arena and slots are allocated. */
static gboolean
acquire_from_arbiter (AvatarDenoiserMemory *self, guint64 text_bytes, GError **error)
{
  AvatarArena *arena = self->ops->arena;
  guint64 bytes = avatar_device_get_allocation_size (self->device, avatar_arena_size (arena));
  guint64 min_bytes
      = bytes + MAX (avatar_denoiser_memory_slots_bytes (self, AVATAR_MIN_SLOTS), text_bytes);
  GError *reason = NULL;

  for (guint i = 0; i < ATTEMPTS && self->suspended; i++) {
    g_clear_error (&reason);
    avatar_memory_client_request (self->client,
        MAX (min_bytes, bytes + avatar_weights_file_bytes (self->weights)), min_bytes,
        &self->ops->cancelled);
    self->suspended = !avatar_arena_allocate_memory (arena, "the denoiser", &reason)
        || !set_schedule (self, &reason);
    if (self->suspended)
      avatar_arena_free_memory (arena);
  }
  if (self->suspended) {
    g_propagate_error (error, reason);
    return FALSE;
  }
  avatar_memory_client_set_reclaimable (self->client, TRUE);
  return TRUE;
}

gboolean
avatar_denoiser_memory_acquire (AvatarDenoiserMemory *self, guint64 text_bytes, GError **error)
{
  if (self->suspended && self->client)
    return acquire_from_arbiter (self, text_bytes, error);
  self->suspended
      = self->suspended && !avatar_arena_allocate_memory (self->ops->arena, "the denoiser", error);
  return !self->suspended;
}

AvatarReclaimResult
avatar_denoiser_memory_reclaim (gpointer memory, AvatarReclaimMode mode)
{
  AvatarDenoiserMemory *self = memory;

  if (!g_mutex_trylock (&self->exec_lock))
    return AVATAR_RECLAIM_BUSY;
  avatar_denoiser_memory_release (self);
  g_mutex_unlock (&self->exec_lock);
  return AVATAR_RECLAIM_DONE;
}
