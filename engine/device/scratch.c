/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scratch memory that the stages on a device share. */
#include "engine/device/scratch.h"

#include "engine/device/device.h"

/* Interval in which a waiting member checks for its cancellation, in microseconds. */
#define POLL_INTERVAL 20000

struct _AvatarScratch
{
  AvatarDevice *device; /* the owner of this object */
  GMutex lock;
  GCond released; /* signalled when busy becomes FALSE */
  void *memory;
  gsize size;
  guint n_members;
  gboolean busy;
};

static gpointer
scratch_new (AvatarDevice *device)
{
  AvatarScratch *self = g_new0 (AvatarScratch, 1);

  self->device = device;
  g_mutex_init (&self->lock);
  g_cond_init (&self->released);
  return self;
}

static void
scratch_free (gpointer data)
{
  AvatarScratch *self = data;

  g_assert (self->n_members == 0);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->released);
  g_free (self);
}

AvatarScratch *
avatar_device_get_scratch (AvatarDevice *device)
{
  return avatar_device_get_attached (device, scratch_new, scratch_free);
}

gsize
avatar_scratch_get_size (AvatarScratch *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return self->size;
}

/* Replaces the memory by @bytes of it. Called with the lock held while no member uses it. */
static gboolean
resize (AvatarScratch *self, gsize bytes, const char *what, GError **error)
{
  gsize old_size = self->size;

  avatar_device_memory_free (self->device, self->memory, self->size);
  self->memory = NULL;
  self->size = 0;
  if (bytes == 0)
    return TRUE;
  self->memory = avatar_device_memory_new (self->device, bytes, what, error);
  if (self->memory) {
    self->size = bytes;
    return TRUE;
  }
  /* Restore the size that the other members have joined with. */
  if (old_size > 0)
    self->memory = avatar_device_memory_new (self->device, old_size, what, NULL);
  self->size = self->memory ? old_size : 0;
  return FALSE;
}

gboolean
avatar_scratch_join (AvatarScratch *self, gsize bytes, const char *what, GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  while (self->busy)
    g_cond_wait (&self->released, &self->lock);
  if (bytes > self->size && !resize (self, bytes, what, error))
    return FALSE;
  self->n_members++;
  return TRUE;
}

void
avatar_scratch_leave (AvatarScratch *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  if (--self->n_members == 0)
    resize (self, 0, NULL, NULL);
}

void *
avatar_scratch_acquire (AvatarScratch *self, const gint *cancelled)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  while (self->busy) {
    if (g_atomic_int_get (cancelled))
      return NULL;
    g_cond_wait_until (&self->released, &self->lock, g_get_monotonic_time () + POLL_INTERVAL);
  }
  g_assert (self->n_members > 0);
  self->busy = self->memory != NULL;
  return self->memory;
}

void
avatar_scratch_release (AvatarScratch *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  self->busy = FALSE;
  g_cond_broadcast (&self->released);
}
