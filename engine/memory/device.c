/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices and their ledgers. */
#include "engine/memory/device.h"

#include <string.h>

struct _AvatarDevice
{
  gatomicrefcount refs;
  const AvatarBackend *backend;
  char *description;
  GMutex lock; /* protects what follows */
  AvatarMemory memory;
  guint64 budget;
};

AvatarDevice *
avatar_device_open (const char *name, GError **error)
{
  AvatarDevice *self;

  if (name && strcmp (name, "cpu") != 0 && strcmp (name, "auto") != 0) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "device \"%s\" is unknown; this build has \"cpu\" (and \"auto\", the best there is)", name);
    return NULL;
  }
  self = g_new0 (AvatarDevice, 1);
  g_atomic_ref_count_init (&self->refs);
  g_mutex_init (&self->lock);
  self->backend = &avatar_backend_cpu;
  self->description = self->backend->describe ();
  return self;
}

AvatarDevice *
avatar_device_ref (AvatarDevice *self)
{
  g_atomic_ref_count_inc (&self->refs);
  return self;
}

void
avatar_device_unref (AvatarDevice *self)
{
  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  g_mutex_clear (&self->lock);
  g_free (self->description);
  g_free (self);
}

const char *
avatar_device_get_name (AvatarDevice *self)
{
  return self->backend->name;
}

const char *
avatar_device_get_description (AvatarDevice *self)
{
  return self->description;
}

const AvatarBackend *
avatar_device_get_backend (AvatarDevice *self)
{
  return self->backend;
}

void
avatar_device_get_memory (AvatarDevice *self, AvatarMemory *memory)
{
  g_mutex_lock (&self->lock);
  *memory = self->memory;
  g_mutex_unlock (&self->lock);
}

void
avatar_device_set_budget (AvatarDevice *self, guint64 bytes)
{
  g_mutex_lock (&self->lock);
  self->budget = bytes;
  g_mutex_unlock (&self->lock);
}

gboolean
avatar_ledger_take (AvatarDevice *self, guint64 bytes, const char *what, GError **error)
{
  guint64 now, budget;
  gboolean fits;

  g_mutex_lock (&self->lock);
  now = self->memory.now;
  budget = self->budget;
  fits = budget == 0 || bytes <= budget - MIN (now, budget);
  if (fits) {
    self->memory.now += bytes;
    self->memory.peak = MAX (self->memory.peak, self->memory.now);
  }
  g_mutex_unlock (&self->lock);
  if (!fits)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s needs %.1f MiB on %s beside the %.1f MiB in use, but the budget is %.1f MiB; "
        "raise it to %.1f MiB or choose a smaller video",
        what, bytes / 1048576., self->backend->name, now / 1048576., budget / 1048576.,
        (now + bytes) / 1048576.);
  return fits;
}

void
avatar_ledger_give (AvatarDevice *self, guint64 bytes)
{
  g_mutex_lock (&self->lock);
  g_warn_if_fail (self->memory.now >= bytes);
  self->memory.now -= MIN (bytes, self->memory.now);
  g_mutex_unlock (&self->lock);
}
