/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No group is packed in advance: packing would compete for the same cores as the computation. */
#include "engine/weights/host-streamer.h"

#include "engine/device/device.h"

typedef struct
{
  AvatarWeightStore parent;
  AvatarDevice *device;
  GArray *groups; /* array of AvatarWeightGroup; the last one has the fixed tensors */
  guint8 *memory, *fixed;
  gsize bytes; /* size of @memory */
  gint group;  /* the group in @memory; -1: none */
} HostStreamer;

static gsize
largest_group (GArray *groups)
{
  gsize bytes = 0;

  for (guint i = 0; i + 1 < groups->len; i++)
    bytes = MAX (bytes, avatar_weight_group_nth (groups, i)->bytes);
  return bytes;
}

guint64
avatar_host_streamer_bytes (GArray *groups)
{
  return largest_group (groups) + avatar_weight_group_nth (groups, groups->len - 1)->bytes;
}

static void
host_streamer_free (AvatarWeightStore *store)
{
  HostStreamer *self = (HostStreamer *) store;

  avatar_device_memory_free (self->device, self->memory, self->bytes);
  avatar_device_memory_free (self->device, self->fixed,
      avatar_weight_group_nth (self->groups, self->groups->len - 1)->bytes);
  avatar_device_unref (self->device);
  g_free (self);
}

/* The order of use is not needed: groups are packed when they are acquired. */
static gboolean
host_streamer_set_schedule (AvatarWeightStore *store, AvatarOps *ops,
    const AvatarWeightSchedule *schedule, GError **error)
{
  return TRUE;
}

static void
host_streamer_drop_schedule (AvatarWeightStore *store)
{
}

static void
host_streamer_acquire (AvatarWeightStore *store, AvatarOps *ops, guint group)
{
  HostStreamer *self = (HostStreamer *) store;

  if (!avatar_ops_running (ops))
    return;
  self->group = group;
  if (!avatar_pack_group (avatar_weight_group_nth (self->groups, group), self->memory,
          &ops->cancelled, &ops->error))
    self->group = -1;
}

static void
host_streamer_release (AvatarWeightStore *store, AvatarOps *ops, guint group)
{
  HostStreamer *self = (HostStreamer *) store;

  if (self->group == (gint) group)
    self->group = -1;
}

static guint8 *
host_streamer_get_memory (AvatarWeightStore *store, guint group, guint8 **scratch)
{
  HostStreamer *self = (HostStreamer *) store;

  *scratch = NULL;
  if (group + 1 == self->groups->len)
    return self->fixed;
  return self->group == (gint) group ? self->memory : NULL;
}

static void
host_streamer_get_stats (AvatarWeightStore *store, AvatarWeightStreamerStats *stats)
{
}

static const AvatarWeightStoreClass host_streamer_class = {
  .set_schedule = host_streamer_set_schedule,
  .drop_schedule = host_streamer_drop_schedule,
  .acquire = host_streamer_acquire,
  .release = host_streamer_release,
  .get_memory = host_streamer_get_memory,
  .get_stats = host_streamer_get_stats,
  .free = host_streamer_free,
};

/* Allocates and packs the fixed tensors. */
static gboolean
load_fixed (HostStreamer *self, GError **error)
{
  const AvatarWeightGroup *fixed = avatar_weight_group_nth (self->groups, self->groups->len - 1);

  if (fixed->bytes == 0)
    return TRUE;
  self->fixed = avatar_device_memory_new (self->device, fixed->bytes, "fixed weights", error);
  return self->fixed && avatar_pack_group (fixed, self->fixed, NULL, error);
}

AvatarWeightStore *
avatar_host_streamer_new (AvatarDevice *device, GArray *groups, GError **error)
{
  HostStreamer *self = g_new0 (HostStreamer, 1);
  gboolean ok = TRUE;

  self->parent.klass = &host_streamer_class;
  self->device = avatar_device_ref (device);
  self->groups = groups;
  self->group = -1;
  self->bytes = largest_group (groups);
  if (self->bytes > 0) {
    self->memory = avatar_device_memory_new (device, self->bytes, "weights", error);
    ok = self->memory != NULL;
  }
  if (ok && load_fixed (self, error))
    return &self->parent;
  host_streamer_free (&self->parent);
  return NULL;
}
