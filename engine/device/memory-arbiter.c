/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory arbiter. One lock over all clients is held while the reclaim function of a stage is
 * called: the stage cannot be freed meanwhile, and two stages cannot ask each other. */
#include "engine/device/memory-arbiter.h"

#include "engine/device/device.h"

/* Polling interval while waiting for memory. */
#define POLL_INTERVAL ((gint64) 20 * G_TIME_SPAN_MILLISECOND)
/* Grace period for a busy stage to evict, once the minimum is available. */
#define GRACE_PERIOD ((gint64) 500 * G_TIME_SPAN_MILLISECOND)

struct _AvatarMemoryClient
{
  AvatarDevice *device;
  AvatarReclaimFunc reclaim;
  gpointer stage;
  gint reclaimable;      /* atomic */
  guint64 pending_bytes; /* requested bytes while the client waits, else 0; protected by the lock */
};

static GMutex lock;
static GPtrArray *clients; /* AvatarMemoryClient, not owned; NULL if there is none */

AvatarMemoryClient *
avatar_memory_client_new (AvatarDevice *device, AvatarReclaimFunc reclaim, gpointer stage)
{
  AvatarMemoryClient *self = g_new0 (AvatarMemoryClient, 1);

  self->device = avatar_device_ref (avatar_device_get_member (device, 0));
  self->reclaim = reclaim;
  self->stage = stage;
  g_mutex_lock (&lock);
  if (!clients)
    clients = g_ptr_array_new ();
  g_ptr_array_add (clients, self);
  g_mutex_unlock (&lock);
  return self;
}

void
avatar_memory_client_free (AvatarMemoryClient *self)
{
  if (!self)
    return;
  g_mutex_lock (&lock);
  g_ptr_array_remove (clients, self);
  if (clients->len == 0)
    g_clear_pointer (&clients, g_ptr_array_unref);
  g_mutex_unlock (&lock);
  avatar_device_unref (self->device);
  g_free (self);
}

void
avatar_memory_client_set_reclaimable (AvatarMemoryClient *self, gboolean reclaimable)
{
  g_atomic_int_set (&self->reclaimable, reclaimable);
}

/* Asks the other clients for their memory until @bytes are available. Called with the lock held.
 * Returns %TRUE if one of them is busy. */
static gboolean
reclaim_from_others (AvatarMemoryClient *self, guint64 bytes, AvatarReclaimMode mode)
{
  gboolean busy = FALSE;

  for (guint i = 0; i < clients->len; i++) {
    AvatarMemoryClient *other = g_ptr_array_index (clients, i);

    if (other == self || other->device != self->device || !g_atomic_int_get (&other->reclaimable)
        || avatar_device_get_available_bytes (self->device) >= bytes)
      continue;
    busy |= other->reclaim (other->stage, mode) == AVATAR_RECLAIM_BUSY;
  }
  return busy;
}

void
avatar_memory_client_request (AvatarMemoryClient *self, guint64 preferred_bytes, guint64 min_bytes,
    const gint *cancelled)
{
  gint64 start = g_get_monotonic_time ();
  guint64 available = avatar_device_get_available_bytes (self->device);
  gboolean busy = TRUE;

  while (available < preferred_bytes && busy && !g_atomic_int_get (cancelled)) {
    g_mutex_lock (&lock);
    self->pending_bytes = preferred_bytes;
    busy = reclaim_from_others (self, preferred_bytes, AVATAR_RECLAIM_CHEAP);
    busy |= reclaim_from_others (self, min_bytes, AVATAR_RECLAIM_ALL);
    g_mutex_unlock (&lock);
    available = avatar_device_get_available_bytes (self->device);
    if (available >= min_bytes && g_get_monotonic_time () - start > GRACE_PERIOD)
      break;
    if (available < preferred_bytes && busy)
      g_usleep (POLL_INTERVAL);
  }
  g_mutex_lock (&lock);
  self->pending_bytes = 0;
  g_mutex_unlock (&lock);
}

gboolean
avatar_memory_client_has_waiters (AvatarMemoryClient *self)
{
  gboolean waiters = FALSE;

  g_mutex_lock (&lock);
  for (guint i = 0; i < clients->len; i++) {
    const AvatarMemoryClient *other = g_ptr_array_index (clients, i);

    waiters |= other != self && other->device == self->device && other->pending_bytes > 0;
  }
  g_mutex_unlock (&lock);
  return waiters;
}

guint64
avatar_device_get_pending_bytes (AvatarDevice *device)
{
  guint64 pending = 0, available;

  g_mutex_lock (&lock);
  for (guint i = 0; clients && i < clients->len; i++) {
    const AvatarMemoryClient *client = g_ptr_array_index (clients, i);

    if (client->device == device)
      pending = MAX (pending, client->pending_bytes);
  }
  g_mutex_unlock (&lock);
  if (pending == 0)
    return 0;
  available = avatar_device_get_available_bytes (device);
  return pending - MIN (pending, available);
}
