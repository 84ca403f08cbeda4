/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How the weights of a route share out the device's memory: arithmetic that the run acts by and a
 * plan prints. */
#pragma once

#include "engine/weights/pack.h"

#include <avatar/device.h>

G_BEGIN_DECLS

/* At least: one unit in use while the next one comes; at most: both streams of a double block in
 * use and both of the next coming. */
#define AVATAR_MIN_SLOTS 2
#define AVATAR_MAX_SLOTS 4
/* Host memory of the size of the largest unit, to copy from what is not page-locked for good. */
#define AVATAR_STAGINGS 2

/**
 * AvatarPlacement:
 * @slots: places for units that come and go, of @slot_bytes each
 * @scratches: pieces of memory for expanded units, of @scratch_bytes each
 * @residents: (owned): units that keep a place, @n_residents of them
 * @slots_bytes: of all slots and scratches; @resident_bytes: of the residents, as allocated
 * @streamed_bytes: of the route's other units, which are copied in every pass
 */
typedef struct
{
  guint slots, scratches, n_residents;
  guint *residents;
  gsize slot_bytes, scratch_bytes;
  guint64 slots_bytes, resident_bytes, streamed_bytes;
} AvatarPlacement;

/* Bytes for @slots slots and the scratches of @route, the least with which it runs. */
guint64 avatar_placement_slots_bytes (AvatarDevice *device, GArray *units,
    const AvatarWeightSchedule *route, guint slots);
/* FALSE with AVATAR_ERROR_MEMORY, which says how much more would do, if @room bytes are too few.
 * @units: see avatar_pack_plan(). */
gboolean avatar_placement_init (AvatarPlacement *self, AvatarDevice *device, GArray *units,
    const AvatarWeightSchedule *route, guint64 room, GError **error);
void avatar_placement_clear (AvatarPlacement *self);
/* Bytes that could be taken now without touching the reserve. */
guint64 avatar_placement_available_bytes (AvatarDevice *device);

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (AvatarPlacement, avatar_placement_clear)

G_END_DECLS
