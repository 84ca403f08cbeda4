/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streaming slots come first, and residents get the rest. A one-shot schedule has no residents. */
#include "engine/weights/placement.h"

#include "engine/device/device.h"

/* Sets the sizes of the largest group that may be acquired: packed, and expanded. */
static void
find_sizes (GArray *groups, const AvatarWeightSchedule *schedule, gsize *slot_bytes,
    gsize *scratch_bytes)
{
  *slot_bytes = *scratch_bytes = 0;
  for (guint i = 0; i < schedule->n + schedule->n_on_demand; i++) {
    const AvatarWeightGroup *group = avatar_weight_group_nth (groups,
        i < schedule->n ? schedule->groups[i] : schedule->on_demand[i - schedule->n]);

    *slot_bytes = MAX (*slot_bytes, group->bytes);
    *scratch_bytes = MAX (*scratch_bytes, group->scratch_bytes);
  }
}

guint64
avatar_placement_slots_bytes (AvatarDevice *device, GArray *groups,
    const AvatarWeightSchedule *schedule, guint n_slots)
{
  gsize slot, scratch;

  find_sizes (groups, schedule, &slot, &scratch);
  return n_slots * avatar_device_get_allocation_size (device, slot)
      + schedule->max_in_use * avatar_device_get_allocation_size (device, scratch);
}

/* Element @i of the van der Corput sequence of @bits bits: any prefix of the sequence is spread
 * evenly over the range. */
static guint
spread (guint i, guint bits)
{
  guint r = 0;

  for (guint b = 0; b < bits; b++)
    r |= (i >> b & 1) << (bits - 1 - b);
  return r;
}

/* Chooses residents that are spread evenly over the schedule, beginning with its last group, so
 * that copies of the streamed groups are spread evenly over the computation. */
static void
choose_residents (AvatarPlacement *self, AvatarDevice *device, GArray *groups,
    const AvatarWeightSchedule *schedule, guint64 available_bytes)
{
  guint bits = g_bit_storage (schedule->n);

  self->residents = g_new (guint, schedule->n);
  for (guint i = 0; i < 1u << bits; i++) {
    guint from_end = spread (i, bits), group;
    guint64 bytes;

    if (from_end >= schedule->n)
      continue;
    group = schedule->groups[schedule->n - 1 - from_end];
    bytes = avatar_device_get_allocation_size (device,
        avatar_weight_group_nth (groups, group)->bytes);
    if (schedule->one_shot || bytes > available_bytes) {
      self->streamed_bytes += avatar_weight_group_nth (groups, group)->bytes;
      continue;
    }
    available_bytes -= bytes;
    self->resident_bytes += bytes;
    self->residents[self->n_residents++] = group;
  }
}

/* Number of slots: the maximum that fits. The minimum suffices if all groups of the schedule can be
 * resident: for groups on demand, and after evictions. */
static guint
choose_slots (AvatarDevice *device, GArray *groups, const AvatarWeightSchedule *schedule,
    guint64 available_bytes)
{
  guint64 min_bytes = avatar_placement_slots_bytes (device, groups, schedule, AVATAR_MIN_SLOTS);
  guint64 all_bytes = 0;
  guint n = AVATAR_MAX_SLOTS;

  for (guint i = 0; i < schedule->n; i++)
    all_bytes += avatar_device_get_allocation_size (device,
        avatar_weight_group_nth (groups, schedule->groups[i])->bytes);
  if (!schedule->one_shot && all_bytes <= available_bytes - min_bytes)
    n = AVATAR_MIN_SLOTS;
  while (avatar_placement_slots_bytes (device, groups, schedule, n) > available_bytes)
    n--;
  return n;
}

gboolean
avatar_placement_init (AvatarPlacement *self, AvatarDevice *device, GArray *groups,
    const AvatarWeightSchedule *schedule, guint64 available_bytes, GError **error)
{
  guint64 min_bytes = avatar_placement_slots_bytes (device, groups, schedule, AVATAR_MIN_SLOTS);

  *self = (AvatarPlacement){ 0 };
  if (available_bytes < min_bytes) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "streaming the weights needs at least %.0f MiB on %s, but only %.0f MiB are left; raise "
        "the budget by %.0f MiB, or choose a smaller video",
        min_bytes / 1048576., avatar_device_get_name (device), available_bytes / 1048576.,
        (min_bytes - available_bytes) / 1048576. + 1);
    return FALSE;
  }
  self->slots = choose_slots (device, groups, schedule, available_bytes);
  find_sizes (groups, schedule, &self->slot_bytes, &self->scratch_bytes);
  self->scratches = self->scratch_bytes ? schedule->max_in_use : 0;
  self->slots_bytes = avatar_placement_slots_bytes (device, groups, schedule, self->slots);
  choose_residents (self, device, groups, schedule, available_bytes - self->slots_bytes);
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
  guint64 available = avatar_device_get_available_bytes (device), free_bytes, total;
  guint64 reserve = avatar_device_get_reserve_bytes (device);

  if (!avatar_device_get_memory_info (device, &free_bytes, &total))
    return available;
  return MIN (available, free_bytes - MIN (free_bytes, reserve));
}
