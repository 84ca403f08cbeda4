/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Division of a device's memory between resident weight groups and streaming slots. A plan and a
 * run use the same arithmetic. */
#pragma once

#include "engine/weights/pack.h"

#include <avatar/device.h>

G_BEGIN_DECLS

/* Number of streaming slots. The minimum allows one group to be copied while another one is
 * used; the maximum allows both streams of a double block to be copied while those of another
 * one are used. */
#define AVATAR_MIN_SLOTS 2
#define AVATAR_MAX_SLOTS 4
/* Number of staging buffers in host memory, each of the size of the largest group, for groups whose
 * packed buffers are not kept. */
#define AVATAR_STAGINGS 2

/**
 * AvatarPlacement: memory of one schedule
 * @slots: number of streaming slots, of @slot_bytes each
 * @scratches: number of buffers for expanded groups, of @scratch_bytes each
 * @residents: (owned): [n_residents] groups that stay on the device
 * @slots_bytes: size of all slots and scratches, as allocated
 * @resident_bytes: size of the residents, as allocated
 * @streamed_bytes: size of the other groups of the schedule, which are copied in every pass
 */
typedef struct
{
  guint slots, scratches, n_residents;
  guint *residents;
  gsize slot_bytes, scratch_bytes;
  guint64 slots_bytes, resident_bytes, streamed_bytes;
} AvatarPlacement;

/* @groups: array of AvatarWeightGroup of avatar_pack_plan()
 * Returns: bytes of @n_slots slots and of the scratches of @schedule, as allocated. A run needs at
 * least AVATAR_MIN_SLOTS. */
guint64 avatar_placement_slots_bytes (AvatarDevice *device, GArray *groups,
    const AvatarWeightSchedule *schedule, guint n_slots);
/* Divides @available_bytes. Nothing is allocated.
 * @self: (out caller-allocates): cleared with avatar_placement_clear()
 * @groups: array of AvatarWeightGroup of avatar_pack_plan()
 * Returns: FALSE with AVATAR_ERROR_MEMORY, which has the missing number of bytes, if
 * @available_bytes do not suffice for AVATAR_MIN_SLOTS slots. */
gboolean avatar_placement_init (AvatarPlacement *self, AvatarDevice *device, GArray *groups,
    const AvatarWeightSchedule *schedule, guint64 available_bytes, GError **error);
void avatar_placement_clear (AvatarPlacement *self);
/* Returns: bytes that can be allocated now without using the device's reserve. */
guint64 avatar_placement_available_bytes (AvatarDevice *device);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarPlacement, avatar_placement_clear)

G_END_DECLS
