/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Slots first, then resident units for as long as there is room; none where every unit is used
 * once. */
#include "engine/weights/placement.h"

#include "engine/device/device.h"

static const AvatarWeightGroup *
unit_at (GArray *units, guint i)
{
  return &g_array_index (units, AvatarWeightGroup, i);
}

/* Of the largest unit that may be entered while the route stands. */
static void
find_sizes (GArray *units, const AvatarWeightSchedule *route, gsize *slot_bytes,
    gsize *scratch_bytes)
{
  *slot_bytes = *scratch_bytes = 0;
  for (guint i = 0; i < route->n + route->n_on_demand; i++) {
    guint unit = i < route->n ? route->units[i] : route->on_demand[i - route->n];

    *slot_bytes = MAX (*slot_bytes, unit_at (units, unit)->bytes);
    *scratch_bytes = MAX (*scratch_bytes, unit_at (units, unit)->scratch);
  }
}

guint64
avatar_placement_slots_bytes (AvatarDevice *device, GArray *units,
    const AvatarWeightSchedule *route, guint slots)
{
  gsize slot, scratch;

  find_sizes (units, route, &slot, &scratch);
  return slots * avatar_device_get_allocation_size (device, slot)
      + route->at_once * avatar_device_get_allocation_size (device, scratch);
}

/* The @i-th index of 0 .. n - 1 in an order whose every beginning is spread evenly over all: the
 * van der Corput sequence; the last index first. */
static guint
spread (guint i, guint bits)
{
  guint r = 0;

  for (guint b = 0; b < bits; b++)
    r |= (i >> b & 1) << (bits - 1 - b);
  return r;
}

static void
choose_residents (AvatarPlacement *self, AvatarDevice *device, GArray *units,
    const AvatarWeightSchedule *route, guint64 room)
{
  guint bits = g_bit_storage (route->n);

  self->residents = g_new (guint, route->n);
  for (guint i = 0; i < 1u << bits; i++) {
    guint at = spread (i, bits), unit;
    guint64 bytes;

    if (at >= route->n)
      continue;
    unit = route->units[route->n - 1 - at];
    bytes = avatar_device_get_allocation_size (device, unit_at (units, unit)->bytes);
    if (route->once || bytes > room) {
      self->streamed_bytes += unit_at (units, unit)->bytes;
      continue;
    }
    room -= bytes;
    self->resident_bytes += bytes;
    self->residents[self->n_residents++] = unit;
  }
}

gboolean
avatar_placement_init (AvatarPlacement *self, AvatarDevice *device, GArray *units,
    const AvatarWeightSchedule *route, guint64 room, GError **error)
{
  guint64 least = avatar_placement_slots_bytes (device, units, route, AVATAR_MIN_SLOTS), whole = 0;

  *self = (AvatarPlacement){ .slots = AVATAR_MAX_SLOTS };
  if (room < least) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "streaming the weights needs at least %.0f MiB on %s, but only %.0f MiB are left; raise "
        "the budget by %.0f MiB, or choose a smaller video",
        least / 1048576., avatar_device_get_name (device), room / 1048576.,
        (least - room) / 1048576. + 1);
    return FALSE;
  }
  for (guint i = 0; i < route->n; i++)
    whole += avatar_device_get_allocation_size (device, unit_at (units, route->units[i])->bytes);
  if (!route->once && whole <= room - least)
    self->slots = AVATAR_MIN_SLOTS; /* for on_demand, and when memory is taken away */
  while (avatar_placement_slots_bytes (device, units, route, self->slots) > room)
    self->slots--;
  find_sizes (units, route, &self->slot_bytes, &self->scratch_bytes);
  self->scratches = self->scratch_bytes ? route->at_once : 0;
  self->slots_bytes = avatar_placement_slots_bytes (device, units, route, self->slots);
  choose_residents (self, device, units, route, room - self->slots_bytes);
  return TRUE;
}

void
avatar_placement_clear (AvatarPlacement *self)
{
  g_clear_pointer (&self->residents, g_free);
}

guint64
avatar_placement_available_bytes (AvatarDevice *device)
{
  guint64 room = avatar_device_get_available_bytes (device), free_bytes, total;
  guint64 reserve = avatar_device_get_reserve_bytes (device);

  if (!avatar_device_get_memory_info (device, &free_bytes, &total))
    return room;
  return MIN (room, free_bytes - MIN (free_bytes, reserve));
}
