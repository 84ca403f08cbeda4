/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The denoiser's turns: between two windows its memory may go to another stage, and is taken anew. What
 * was computed ahead of the windows lies on the host and is not lost. */
#include "engine/denoise/denoiser-private.h"

#include "engine/device/device.h"
#include "engine/weights/placement.h"

/* How often memory is asked for that others were just to give back. */
#define ATTEMPTS 3

void
avatar_denoiser_release_memory (AvatarDenoiser *self)
{
  if (self->suspended)
    return;
  avatar_ops_finish (self->ops);
  avatar_weights_drop_schedule (self->weights);
  avatar_arena_free_memory (self->ops->arena);
  self->suspended = TRUE;
  self->begun = FALSE;
  if (self->memory_client)
    avatar_memory_client_set_reclaimable (self->memory_client, FALSE);
}

/* For weights on their way, at least. */
static guint64
least_for_weights (AvatarDenoiser *self)
{
  GArray *units = avatar_weights_get_groups (self->weights);
  g_autofree AvatarWeightSchedule *ahead
      = avatar_transformer_weight_schedule (self->transformer.config, TRUE);
  g_autofree AvatarWeightSchedule *forward
      = avatar_transformer_weight_schedule (self->transformer.config, FALSE);

  return MAX (avatar_placement_slots_bytes (self->device, units, ahead, AVATAR_MIN_SLOTS),
      avatar_placement_slots_bytes (self->device, units, forward, AVATAR_MIN_SLOTS));
}

static gboolean
take_route (AvatarDenoiser *self, GError **error)
{
  g_autofree AvatarWeightSchedule *forward
      = avatar_transformer_weight_schedule (self->transformer.config, FALSE);

  /* before the first window it is taken when what is computed ahead has been */
  return !self->window.moments
      || avatar_weights_set_schedule (self->weights, self->ops, forward, error);
}

/* In turns with other stages. */
static gboolean
take_turn (AvatarDenoiser *self, guint64 for_texts, GError **error)
{
  AvatarArena *arena = self->ops->arena;
  guint64 bytes = avatar_device_get_allocation_size (self->device, avatar_arena_size (arena));
  guint64 least = bytes + MAX (least_for_weights (self), for_texts);
  GError *reason = NULL;

  for (guint i = 0; i < ATTEMPTS && self->suspended; i++) {
    g_clear_error (&reason);
    avatar_memory_client_request (self->memory_client,
        MAX (least, bytes + avatar_weights_file_bytes (self->weights)), least,
        &self->ops->cancelled);
    self->suspended = !avatar_arena_allocate_memory (arena, "the denoiser", &reason)
        || !take_route (self, &reason);
    if (self->suspended)
      avatar_arena_free_memory (arena);
  }
  if (self->suspended) {
    g_propagate_error (error, reason);
    return FALSE;
  }
  avatar_memory_client_set_reclaimable (self->memory_client, TRUE);
  return TRUE;
}

gboolean
avatar_denoiser_acquire_memory (AvatarDenoiser *self, guint64 for_texts, GError **error)
{
  if (self->suspended && self->memory_client)
    return take_turn (self, for_texts, error);
  self->suspended
      = self->suspended && !avatar_arena_allocate_memory (self->ops->arena, "the denoiser", error);
  return !self->suspended;
}

AvatarReclaimResult
avatar_denoiser_reclaim (gpointer denoiser, gboolean all)
{
  AvatarDenoiser *self = denoiser;

  if (!g_mutex_trylock (&self->turn))
    return AVATAR_RECLAIM_BUSY;
  avatar_denoiser_release_memory (self);
  g_mutex_unlock (&self->turn);
  return AVATAR_RECLAIM_DONE;
}
