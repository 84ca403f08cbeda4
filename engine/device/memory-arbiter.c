/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Taking turns. One lock over all tenants is held while another stage's function is called: so a
 * stage cannot go away meanwhile, and two do not ask each other. */
#include "engine/device/memory-arbiter.h"

#include "engine/device/device.h"

/* How often who waits looks again. */
#define LOOK ((gint64) 20 * G_TIME_SPAN_MILLISECOND)
/* How long a stage at work has for giving up what it can do without, when the least is there. */
#define PATIENCE ((gint64) 500 * G_TIME_SPAN_MILLISECOND)

struct _AvatarMemoryClient
{
  AvatarDevice *device;
  AvatarReclaimFunc yield;
  gpointer stage;
  gint holds;    /* atomic */
  guint64 wants; /* locked; 0: it does not wait */
};

static GMutex lock;
static GPtrArray *tenants; /* of AvatarMemoryClient, not owned */

AvatarMemoryClient *
avatar_memory_client_new (AvatarDevice *device, AvatarReclaimFunc yield, gpointer stage)
{
  AvatarMemoryClient *self = g_new0 (AvatarMemoryClient, 1);

  self->device = avatar_device_ref (device);
  self->yield = yield;
  self->stage = stage;
  g_mutex_lock (&lock);
  if (!tenants)
    tenants = g_ptr_array_new ();
  g_ptr_array_add (tenants, self);
  g_mutex_unlock (&lock);
  return self;
}

void
avatar_memory_client_free (AvatarMemoryClient *self)
{
  if (!self)
    return;
  g_mutex_lock (&lock);
  g_ptr_array_remove (tenants, self);
  if (tenants->len == 0)
    g_clear_pointer (&tenants, g_ptr_array_unref);
  g_mutex_unlock (&lock);
  avatar_device_unref (self->device);
  g_free (self);
}

void
avatar_memory_client_set_reclaimable (AvatarMemoryClient *self, gboolean holds)
{
  g_atomic_int_set (&self->holds, holds);
}

/* Locked. Asks all others; returns whether one of them is at work. */
static gboolean
ask_others (AvatarMemoryClient *self, guint64 wanted, gboolean all)
{
  gboolean busy = FALSE;

  for (guint i = 0; i < tenants->len; i++) {
    AvatarMemoryClient *other = g_ptr_array_index (tenants, i);

    if (other == self || other->device != self->device || !g_atomic_int_get (&other->holds)
        || avatar_device_get_available_bytes (self->device) >= wanted)
      continue;
    busy |= other->yield (other->stage, all) == AVATAR_RECLAIM_BUSY;
  }
  return busy;
}

void
avatar_memory_client_request (AvatarMemoryClient *self, guint64 best, guint64 least,
    const gint *cancelled)
{
  gint64 start = g_get_monotonic_time ();
  guint64 room = avatar_device_get_available_bytes (self->device);
  gboolean busy = TRUE;

  while (room < best && busy && !g_atomic_int_get (cancelled)) {
    g_mutex_lock (&lock);
    self->wants = best;
    busy = ask_others (self, best, FALSE);
    busy |= ask_others (self, least, TRUE);
    g_mutex_unlock (&lock);
    room = avatar_device_get_available_bytes (self->device);
    if (room >= least && g_get_monotonic_time () - start > PATIENCE)
      break;
    if (room < best && busy)
      g_usleep (LOOK);
  }
  g_mutex_lock (&lock);
  self->wants = 0;
  g_mutex_unlock (&lock);
}

gboolean
avatar_memory_client_has_waiters (AvatarMemoryClient *self)
{
  gboolean wanted = FALSE;

  g_mutex_lock (&lock);
  for (guint i = 0; i < tenants->len; i++) {
    const AvatarMemoryClient *other = g_ptr_array_index (tenants, i);

    wanted |= other != self && other->device == self->device && other->wants > 0;
  }
  g_mutex_unlock (&lock);
  return wanted;
}

guint64
avatar_device_get_pending_bytes (AvatarDevice *device)
{
  guint64 wants = 0, room;

  g_mutex_lock (&lock);
  for (guint i = 0; tenants && i < tenants->len; i++) {
    const AvatarMemoryClient *other = g_ptr_array_index (tenants, i);

    if (other->device == device)
      wants = MAX (wants, other->wants);
  }
  g_mutex_unlock (&lock);
  if (wants == 0)
    return 0;
  room = avatar_device_get_available_bytes (device);
  return wants - MIN (wants, room);
}
