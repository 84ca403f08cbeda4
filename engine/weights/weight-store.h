/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Interface of the stores that keep packed weight groups in a device's memory during a run:
 * engine/weights/device-streamer.h for a discrete device, engine/weights/host-streamer.h for the
 * memory of the host. A store is used by one thread. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/pack.h"

G_BEGIN_DECLS

typedef struct _AvatarWeightStore AvatarWeightStore;

/**
 * AvatarWeightStoreClass: functions of a store, all of which are set
 * @set_schedule: see avatar_weights_set_schedule()
 * @drop_schedule: see avatar_weights_drop_schedule()
 * @acquire: see avatar_weights_acquire(); without the LoRAs of 8-bit tensors
 * @release: see avatar_weights_release()
 * @get_memory: returns the packed buffer of @group, or %NULL if the group is not acquired; the
 *   index after the last group of the list selects the fixed tensors, which are always there.
 *   @scratch: (out): memory of the group's expanded tensors, or %NULL
 * @get_stats: fills @stats, which is zeroed
 * @free: frees the store; operations of the device that read weights must be complete
 */
typedef struct
{
  gboolean (*set_schedule) (AvatarWeightStore *self, AvatarOps *ops,
      const AvatarWeightSchedule *schedule, GError **error);
  void (*drop_schedule) (AvatarWeightStore *self);
  void (*acquire) (AvatarWeightStore *self, AvatarOps *ops, guint group);
  void (*release) (AvatarWeightStore *self, AvatarOps *ops, guint group);
  guint8 *(*get_memory) (AvatarWeightStore *self, guint group, guint8 **scratch);
  void (*get_stats) (AvatarWeightStore *self, AvatarWeightStreamerStats *stats);
  void (*free) (AvatarWeightStore *self);
} AvatarWeightStoreClass;

/* First member of each store's struct. */
struct _AvatarWeightStore
{
  const AvatarWeightStoreClass *klass;
};

G_END_DECLS
