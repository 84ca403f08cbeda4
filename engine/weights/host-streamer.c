/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One place in the host's memory. Nothing is read ahead: the cores that would convert the next unit
 * are those that compute on this one. */
#include "engine/weights/host-streamer.h"

#include "engine/device/device.h"

struct _AvatarSlot
{
  AvatarDevice *device;
  GArray *units; /* of AvatarWeightGroup; the last is fixed */
  guint8 *memory, *fixed;
  gsize bytes;
  gint unit; /* -1: none */
};

static const AvatarWeightGroup *
unit_at (GArray *units, guint i)
{
  return &g_array_index (units, AvatarWeightGroup, i);
}

static gsize
largest (GArray *units)
{
  gsize bytes = 0;

  for (guint i = 0; i + 1 < units->len; i++)
    bytes = MAX (bytes, unit_at (units, i)->bytes);
  return bytes;
}

guint64
avatar_host_streamer_bytes (GArray *units)
{
  return largest (units) + unit_at (units, units->len - 1)->bytes;
}

AvatarHostStreamer *
avatar_host_streamer_new (AvatarDevice *device, GArray *units, GError **error)
{
  g_autoptr (AvatarHostStreamer) self = g_new0 (AvatarHostStreamer, 1);
  const AvatarWeightGroup *fixed = unit_at (units, units->len - 1);

  self->device = avatar_device_ref (device);
  self->units = units;
  self->unit = -1;
  self->bytes = largest (units);
  if (self->bytes > 0
      && !(self->memory = avatar_device_memory_new (device, self->bytes, "weights", error)))
    return NULL;
  if (fixed->bytes > 0
      && (!(self->fixed = avatar_device_memory_new (device, fixed->bytes, "fixed weights", error))
          || !avatar_pack_group (fixed, self->fixed, NULL, error)))
    return NULL;
  return g_steal_pointer (&self);
}

void
avatar_host_streamer_free (AvatarHostStreamer *self)
{
  if (!self)
    return;
  avatar_device_memory_free (self->device, self->memory, self->bytes);
  avatar_device_memory_free (self->device, self->fixed,
      unit_at (self->units, self->units->len - 1)->bytes);
  avatar_device_unref (self->device);
  g_free (self);
}

void
avatar_host_streamer_acquire (AvatarHostStreamer *self, AvatarOps *ops, guint unit)
{
  if (!avatar_ops_running (ops))
    return;
  self->unit = unit;
  if (!avatar_pack_group (unit_at (self->units, unit), self->memory, &ops->cancelled, &ops->error))
    self->unit = -1;
}

void
avatar_host_streamer_release (AvatarHostStreamer *self, guint unit)
{
  if (self->unit == (gint) unit)
    self->unit = -1;
}

guint8 *
avatar_host_streamer_memory (AvatarHostStreamer *self, guint unit)
{
  if (unit + 1 == self->units->len)
    return self->fixed;
  return self->unit == (gint) unit ? self->memory : NULL;
}
