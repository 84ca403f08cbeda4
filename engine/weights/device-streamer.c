/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streaming of weight groups to a device whose memory need not hold all of them.
 *
 * Slots. A slot is device memory for one group. A resident slot keeps its group. The streaming
 * slots, two to four, are shared by all other groups. engine/weights/placement.h computes how many
 * slots of both kinds fit into the memory.
 *
 * Schedule and cursor. A run uses the groups in a known order, the schedule, in many passes or in
 * one. The cursor is the position of the group that was acquired last. The distance of a group is
 * the number of positions from the cursor to the group's next use. A group that the schedule does
 * not contain may be acquired on demand; its distance is infinite.
 *
 * Threads. The compute thread calls all functions of the store. It decides which group a slot gets
 * and marks the slot as requested. The upload thread takes the requested slot whose group is
 * needed first: a group on demand, or the one with the shortest distance. It packs the group into
 * host memory, enqueues the copy to the device, and marks the slot as enqueued. It holds the lock
 * only to take a slot and to store the result.
 *
 * Queues. Copies run in the upload thread's queue, the computation in the queue of AvatarOps.
 * Fences order them on the device, so that the threads need not wait for it:
 *   - acquire lets the computation wait for the fence "copied" of the slot;
 *   - release records the fence "released", and the next copy into the slot waits for it.
 * The compute thread waits for the upload thread only if it acquires a group whose copy is not
 * enqueued, and for the device only to free a slot. The upload thread waits for the device only
 * before it overwrites a staging buffer.
 *
 * Prefetch. When a streaming slot is released, it is requested for the next group of the schedule
 * that has no slot. While one group is computed, the copies of the next groups are therefore
 * packed or running. A group that has no slot when it is acquired is a prefetch miss: it gets
 * the unused streaming slot with the longest distance.
 *
 * Eviction. Before each acquire, resident slots are freed while the device has less free memory
 * than its reserve, the allocations exceed a budget that was lowered, or another stage waits for
 * memory. The resident with the longest distance is freed first, and its group is streamed from
 * then on. If only groups in use are left, a budget that is still exceeded is an error. At the
 * end of each pass one evicted group is made resident again, if enough memory is free that it
 * will not be evicted at once. Results do not change: the packed buffer of a group is the same
 * in every slot. */
#include "engine/weights/device-streamer.h"

#include "engine/device/device.h"
#include "engine/device/memory-arbiter.h"
#include "engine/weights/placement.h"
#include "engine/weights/uploader.h"

/* Maximum number of groups that are in use, and therefore expanded, at the same time. */
#define SCRATCHES 2
/* Interval at which a waiting acquire checks for cancellation. */
#define POLL_INTERVAL (10 * G_TIME_SPAN_MILLISECOND)
/* Free memory that restoring requires, in reserves. Eviction starts below one reserve; the
 * difference prevents that groups are evicted and restored in turn. */
#define RESERVES_TO_RESTORE 3

typedef enum
{
  SLOT_RESIDENT,
  SLOT_STREAMING,
} SlotKind;

typedef enum
{
  SLOT_EMPTY,
  SLOT_REQUESTED, /* the upload thread has not finished, or not begun */
  SLOT_ENQUEUED,  /* the copy is in the upload queue, or complete */
  SLOT_FAILED,    /* the group could not be packed or copied */
} SlotState;

/* Device memory for one group. */
typedef struct
{
  guint8 *memory;
  gsize bytes;
  SlotKind kind;
  gint group; /* -1: none */
  SlotState state;
  guint n_users;         /* calls of acquire without release */
  gboolean copy_awaited; /* the compute queue waits for @copied already */
  gboolean was_released; /* @released is recorded */
  AvatarFence *copied;   /* end of the copy, in the upload queue */
  AvatarFence *released; /* end of the computation, in the compute queue */
} Slot;

/* Device memory for the expanded tensors of one group. */
typedef struct
{
  guint8 *memory;
  gint group; /* -1: unused */
} Scratch;

typedef struct
{
  AvatarWeightStore parent;
  AvatarDevice *device;
  const AvatarBackend *backend;
  GArray *groups;  /* array of AvatarWeightGroup; the last one has the fixed tensors */
  guint n_groups;  /* without the fixed tensors */
  guint8 *fixed;   /* device memory of the fixed tensors */
  gsize max_bytes; /* size of the largest packed buffer */

  /* Used by the compute thread only. */
  Scratch scratch[SCRATCHES];
  gsize scratch_bytes; /* size of each scratch of the current schedule */

  /* Protected by @lock. Only the compute thread changes the slots' list, the groups of slots and
   * the schedule; it may therefore read them without the lock. */
  GMutex lock;
  GCond changed; /* a slot was requested or finished, or @quit was set */
  GThread *upload_thread;
  gboolean quit;
  gboolean is_uploading; /* the upload thread works on a slot, without the lock */
  GPtrArray *slots;      /* array of Slot */
  Slot **slot_of;        /* [n_groups] slot of a group, or NULL */
  guint *schedule;       /* [n_schedule] groups in the order of their use */
  guint *position;       /* [n_groups] position in the schedule, or G_MAXUINT */
  guint n_schedule;
  guint cursor; /* position of the group that was acquired last */
  gboolean one_shot;
  gboolean is_started; /* a group of the schedule was acquired */
  GError *error;       /* first failure of the upload thread */
  AvatarWeightStreamerStats stats;

  gint stop_packing; /* (atomic): the group that the upload thread packs is not needed any more */

  AvatarWeightUploader *uploader; /* used by the upload thread only, while it runs */
} DeviceStreamer;

static AvatarWeightGroup *
nth_group (DeviceStreamer *self, guint i)
{
  return avatar_weight_group_nth (self->groups, i);
}

/* ----------------------------------------------------------------------------- upload thread */

/* Distance of @group from the cursor; G_MAXUINT if the schedule does not contain it. */
static guint
distance (DeviceStreamer *self, guint group)
{
  guint p = self->position[group];

  return p == G_MAXUINT ? G_MAXUINT : (p + self->n_schedule - self->cursor) % self->n_schedule;
}

/* Rank of the request for @group; the lowest is uploaded first. A group outside the schedule is
 * requested only when the compute thread waits for it. */
static guint
request_rank (DeviceStreamer *self, guint group)
{
  guint d = distance (self, group);

  return d == G_MAXUINT ? 0 : d + 1;
}

/* Called with the lock held. Returns the requested slot to upload first, or NULL. */
static Slot *
next_request (DeviceStreamer *self)
{
  Slot *best = NULL;

  for (guint i = 0; i < self->slots->len; i++) {
    Slot *s = g_ptr_array_index (self->slots, i);

    if (s->state == SLOT_REQUESTED
        && (!best || request_rank (self, s->group) < request_rank (self, best->group)))
      best = s;
  }
  return best;
}

/* Packs the group of @slot and enqueues its copy. */
static gboolean
upload_group (DeviceStreamer *self, Slot *slot, GError **error)
{
  gboolean is_repeated = slot->kind == SLOT_STREAMING && !self->one_shot;
  const AvatarWeightUpload upload = { .group = slot->group,
    .memory = slot->memory,
    .after = slot->was_released ? slot->released : NULL,
    .copied = slot->copied,
    .mode = is_repeated ? AVATAR_UPLOAD_REPEATED : AVATAR_UPLOAD_ONCE,
    .stop = &self->stop_packing };

  return avatar_weight_uploader_enqueue (self->uploader, &upload, error);
}

/* GThreadFunc of the upload thread. */
static gpointer
run_uploads (gpointer data)
{
  DeviceStreamer *self = data;

  g_mutex_lock (&self->lock);
  while (!self->quit) {
    Slot *slot = next_request (self);
    GError *error = NULL;
    gboolean ok;

    if (!slot) {
      g_cond_wait (&self->changed, &self->lock);
      continue;
    }
    self->is_uploading = TRUE;
    g_mutex_unlock (&self->lock);
    ok = upload_group (self, slot, &error);
    g_mutex_lock (&self->lock);
    self->is_uploading = FALSE;
    slot->state = ok ? SLOT_ENQUEUED : SLOT_FAILED;
    if (ok)
      self->stats.uploaded += nth_group (self, slot->group)->bytes;
    else if (!self->error && !g_atomic_int_get (&self->stop_packing))
      self->error = g_steal_pointer (&error);
    g_clear_error (&error);
    g_cond_broadcast (&self->changed);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

/* ------------------------------------------------------------------------------------- slots */

/* Waits until the device no longer uses the memory of @slot, and frees it. The upload thread
 * must not work on it. */
static void
slot_free (DeviceStreamer *self, Slot *slot)
{
  if (slot->state == SLOT_ENQUEUED)
    self->backend->fence_sync (slot->copied);
  if (slot->was_released)
    self->backend->fence_sync (slot->released);
  avatar_device_memory_free (self->device, slot->memory, slot->bytes);
  if (slot->copied)
    self->backend->fence_free (slot->copied);
  if (slot->released)
    self->backend->fence_free (slot->released);
  g_free (slot);
}

static Slot *
slot_new (DeviceStreamer *self, SlotKind kind, gsize bytes, GError **error)
{
  guint8 *memory = avatar_device_memory_new (self->device, bytes, "weights", error);
  Slot *slot;

  if (!memory)
    return NULL;
  slot = g_new0 (Slot, 1);
  slot->memory = memory;
  slot->bytes = bytes;
  slot->kind = kind;
  slot->group = -1;
  if ((slot->copied = avatar_weight_uploader_new_fence (self->uploader, error))
      && (slot->released = avatar_weight_uploader_new_fence (self->uploader, error)))
    return slot;
  slot_free (self, slot);
  return NULL;
}

/* Called with the lock held. Replaces the group of @slot by @group, and wakes the upload thread. */
static void
request (DeviceStreamer *self, Slot *slot, guint group)
{
  if (slot->group >= 0)
    self->slot_of[slot->group] = NULL;
  slot->group = group;
  slot->state = SLOT_REQUESTED;
  slot->copy_awaited = FALSE;
  self->slot_of[group] = slot;
  g_cond_broadcast (&self->changed);
}

/* Called with the lock held. Returns the next group of the schedule without a slot, or -1. A
 * one-shot schedule that was started does not continue at its beginning. */
static gint
next_missing (DeviceStreamer *self)
{
  guint end
      = self->one_shot && self->is_started ? self->n_schedule - self->cursor : self->n_schedule;

  for (guint i = 1; i < end; i++) {
    guint group = self->schedule[(self->cursor + i) % self->n_schedule];

    if (!self->slot_of[group])
      return group;
  }
  return -1;
}

/* Withdraws all requests, interrupts the upload in progress, and frees all slots. */
static void
free_slots (DeviceStreamer *self)
{
  g_mutex_lock (&self->lock);
  for (guint i = 0; i < self->slots->len; i++) {
    Slot *s = g_ptr_array_index (self->slots, i);

    if (s->state == SLOT_REQUESTED)
      s->state = SLOT_EMPTY;
  }
  g_atomic_int_set (&self->stop_packing, 1);
  while (self->is_uploading)
    g_cond_wait (&self->changed, &self->lock);
  g_atomic_int_set (&self->stop_packing, 0);
  for (guint i = 0; i < self->slots->len; i++)
    slot_free (self, g_ptr_array_index (self->slots, i));
  g_ptr_array_set_size (self->slots, 0);
  for (guint i = 0; i < self->n_groups; i++)
    self->slot_of[i] = NULL;
  g_mutex_unlock (&self->lock);
}

static void
free_scratch (DeviceStreamer *self)
{
  for (guint i = 0; i < SCRATCHES; i++) {
    avatar_device_memory_free (self->device, self->scratch[i].memory, self->scratch_bytes);
    self->scratch[i].memory = NULL;
  }
}

/* ---------------------------------------------------------------------------------- schedule */

/* Adds a resident slot for each group that the placement keeps, and requests the group. */
static gboolean
make_resident_slots (DeviceStreamer *self, const AvatarPlacement *placement, GError **error)
{
  for (guint i = 0; i < placement->n_residents; i++) {
    guint group = placement->residents[i];
    Slot *slot = slot_new (self, SLOT_RESIDENT, nth_group (self, group)->bytes, error);

    if (!slot)
      return FALSE;
    g_mutex_lock (&self->lock);
    g_ptr_array_add (self->slots, slot);
    request (self, slot, group);
    self->stats.resident++;
    g_mutex_unlock (&self->lock);
  }
  return TRUE;
}

/* Adds the streaming slots, which are empty, and allocates the scratch memory. */
static gboolean
make_streaming_slots (DeviceStreamer *self, const AvatarPlacement *placement, GError **error)
{
  for (guint i = 0; i < placement->slots; i++) {
    Slot *slot = slot_new (self, SLOT_STREAMING, placement->slot_bytes, error);

    if (!slot)
      return FALSE;
    g_mutex_lock (&self->lock);
    g_ptr_array_add (self->slots, slot);
    g_mutex_unlock (&self->lock);
  }
  self->scratch_bytes = placement->scratch_bytes;
  for (guint i = 0; i < placement->scratches; i++) {
    self->scratch[i].memory
        = avatar_device_memory_new (self->device, self->scratch_bytes, "weights", error);
    if (!self->scratch[i].memory)
      return FALSE;
  }
  return TRUE;
}

/* Called with the lock held. Requests the first groups that are not resident for the empty
 * slots. */
static void
fill_slots (DeviceStreamer *self)
{
  for (guint i = 0; i < self->slots->len; i++) {
    Slot *slot = g_ptr_array_index (self->slots, i);
    gint group = slot->kind == SLOT_RESIDENT || slot->group >= 0 ? -1 : next_missing (self);

    if (group >= 0)
      request (self, slot, group);
  }
}

/* Copies @schedule and sets the cursor to its end, so that its first group is next. */
static void
copy_schedule (DeviceStreamer *self, const AvatarWeightSchedule *schedule)
{
  g_mutex_lock (&self->lock);
  g_free (self->schedule);
  self->schedule = g_memdup2 (schedule->groups, schedule->n * sizeof *schedule->groups);
  self->n_schedule = schedule->n;
  self->cursor = schedule->n - 1;
  self->one_shot = schedule->one_shot;
  self->is_started = FALSE;
  for (guint i = 0; i < self->n_groups; i++)
    self->position[i] = G_MAXUINT;
  for (guint i = 0; i < schedule->n; i++)
    self->position[schedule->groups[i]] = i;
  g_mutex_unlock (&self->lock);
}

/* Memory for a schedule: the available bytes less the reserve, as residents in the reserve would be
 * evicted at once; but not less than the minimum, if that much is available at all. */
static guint64
find_available_bytes (DeviceStreamer *self, const AvatarWeightSchedule *schedule)
{
  guint64 min_bytes
      = avatar_placement_slots_bytes (self->device, self->groups, schedule, AVATAR_MIN_SLOTS);

  return MAX (avatar_placement_available_bytes (self->device),
      MIN (min_bytes, avatar_device_get_available_bytes (self->device)));
}

static gboolean
apply_schedule (DeviceStreamer *self, const AvatarWeightSchedule *schedule, GError **error)
{
  g_auto (AvatarPlacement) placement = { 0 };

  if (!avatar_placement_init (&placement, self->device, self->groups, schedule,
          find_available_bytes (self, schedule), error))
    return FALSE;
  copy_schedule (self, schedule);
  self->stats = (AvatarWeightStreamerStats){ .slots = placement.slots, .groups = schedule->n };
  if (!make_streaming_slots (self, &placement, error)
      || !make_resident_slots (self, &placement, error))
    return FALSE;
  g_mutex_lock (&self->lock);
  fill_slots (self);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

static void
device_streamer_drop_schedule (AvatarWeightStore *store)
{
  DeviceStreamer *self = (DeviceStreamer *) store;

  free_slots (self);
  free_scratch (self);
}

static gboolean
device_streamer_set_schedule (AvatarWeightStore *store, AvatarOps *ops,
    const AvatarWeightSchedule *schedule, GError **error)
{
  DeviceStreamer *self = (DeviceStreamer *) store;

  if (ops->dry_run)
    return TRUE;
  device_streamer_drop_schedule (store);
  if (!self->upload_thread)
    self->upload_thread = g_thread_new ("weights", run_uploads, self);
  if (apply_schedule (self, schedule, error))
    return TRUE;
  device_streamer_drop_schedule (store);
  return FALSE;
}

/* ---------------------------------------------------------------------- eviction, restoration */

/* Called with the lock held. Returns the resident slot with the longest distance that is not in
 * use, or NULL. */
static Slot *
farthest_resident (DeviceStreamer *self)
{
  Slot *best = NULL;

  for (guint i = 0; i < self->slots->len; i++) {
    Slot *s = g_ptr_array_index (self->slots, i);

    if (s->kind == SLOT_RESIDENT && s->n_users == 0 && s->state != SLOT_REQUESTED
        && (!best || distance (self, s->group) > distance (self, best->group)))
      best = s;
  }
  return best;
}

/* Returns the number of bytes to free: the largest of the bytes that the device's reserve lacks,
 * the excess over the budget, and the requests of waiting stages. */
static guint64
find_missing_bytes (DeviceStreamer *self)
{
  guint64 free_bytes, total, reserve = avatar_device_get_reserve_bytes (self->device);

  avatar_device_get_memory_info (self->device, &free_bytes, &total);
  return MAX (reserve - MIN (reserve, free_bytes),
      MAX (avatar_device_get_excess_bytes (self->device),
          avatar_device_get_pending_bytes (self->device)));
}

/* Called with the lock held. Frees resident slots until no memory is missing. If none is left, sets
 * the error of @ops if the budget is still exceeded. */
static void
evict (DeviceStreamer *self, AvatarOps *ops)
{
  while (find_missing_bytes (self) > 0) {
    Slot *slot = farthest_resident (self);

    if (!slot) {
      if (!ops->error)
        avatar_device_check_budget (self->device, &ops->error);
      return;
    }
    self->slot_of[slot->group] = NULL;
    g_ptr_array_remove (self->slots, slot);
    slot_free (self, slot);
    self->stats.resident--;
    self->stats.evicted++;
  }
}

/* Called with the lock held. Adds a resident slot for one group, if groups were evicted and enough
 * memory is free. */
static void
restore (DeviceStreamer *self)
{
  guint64 free_bytes, total, reserve = avatar_device_get_reserve_bytes (self->device);
  gint group;
  Slot *slot;

  if (self->stats.evicted <= self->stats.restored)
    return;
  avatar_device_get_memory_info (self->device, &free_bytes, &total);
  if (free_bytes < RESERVES_TO_RESTORE * reserve + self->max_bytes
      || avatar_device_get_available_bytes (self->device)
          < avatar_device_get_allocation_size (self->device, self->max_bytes))
    return;
  group = next_missing (self);
  slot = group >= 0 ? slot_new (self, SLOT_RESIDENT, nth_group (self, group)->bytes, NULL) : NULL;
  if (!slot)
    return;
  g_ptr_array_add (self->slots, slot);
  request (self, slot, group);
  self->stats.resident++;
  self->stats.restored++;
}

/* --------------------------------------------------------------------------- acquire, release */

/* Called with the lock held, which it may release while it waits. Returns the streaming slot for a
 * group that was not prefetched: an empty one, or the unused one with the longest distance, after
 * the upload thread has finished with it. */
static Slot *
find_free_slot (DeviceStreamer *self)
{
  Slot *best = NULL;

  for (guint i = 0; i < self->slots->len; i++) {
    Slot *s = g_ptr_array_index (self->slots, i);

    if (s->kind == SLOT_RESIDENT || s->n_users > 0)
      continue;
    if (s->group < 0)
      return s;
    if (!best || distance (self, s->group) > distance (self, best->group))
      best = s;
  }
  while (best && best->state == SLOT_REQUESTED)
    g_cond_wait (&self->changed, &self->lock);
  return best;
}

/* Called with the lock held. Requests nearer groups for unused slots whose groups were skipped. The
 * second branch of guidance may skip the blocks of the shared prefix; their next use is a whole
 * pass away. */
static void
refill (DeviceStreamer *self)
{
  for (guint i = 0; i < self->slots->len; i++) {
    Slot *s = g_ptr_array_index (self->slots, i);
    gboolean is_unused = s->kind == SLOT_STREAMING && s->n_users == 0 && s->state != SLOT_REQUESTED;
    gint next = is_unused ? next_missing (self) : -1;

    if (next >= 0 && (s->group < 0 || distance (self, next) < distance (self, s->group)))
      request (self, s, next);
  }
}

/* Enqueues copies of the tensors of @group in @packed that expand to the scratch memory. */
static void
expand (DeviceStreamer *self, AvatarOps *ops, guint group, guint8 *packed)
{
  AvatarWeightGroup *g = nth_group (self, group);
  Scratch *scratch = NULL;

  if (g->scratch_bytes == 0)
    return;
  for (guint i = 0; i < SCRATCHES && !scratch; i++)
    if (self->scratch[i].group < 0)
      scratch = &self->scratch[i];
  /* The placement allocates one for each group in use, of the size of the largest. */
  g_assert (scratch && scratch->memory && g->scratch_bytes <= self->scratch_bytes);
  scratch->group = group;
  for (guint i = 0; i < g->tensors->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (g->tensors, AvatarPackedTensor, i);
    AvatarTensor x, y;

    if (!p->expands)
      continue;
    x = avatar_tensor_of_shape (p->dtype, packed + p->offset, p->source.rank, p->source.shape);
    y = avatar_tensor_of_shape (p->expanded, scratch->memory + p->expand_offset, p->source.rank,
        p->source.shape);
    x.scale = (float *) (packed + p->scale_offset);
    if (avatar_dtype_size (p->dtype) > 1)
      avatar_op_copy (ops, y, x);
    else
      self->backend->expand (ops->queue, y, x);
  }
}

/* Called with the lock held, which it may release while it waits. Returns the slot of @group, which
 * it requests on a prefetch miss. */
static Slot *
find_slot (DeviceStreamer *self, guint group)
{
  Slot *slot = self->slot_of[group];

  if (slot)
    return slot;
  slot = find_free_slot (self);
  self->stats.prefetch_misses++;
  g_assert (slot); /* there are more slots than groups in use */
  request (self, slot, group);
  return slot;
}

static void
device_streamer_acquire (AvatarWeightStore *store, AvatarOps *ops, guint group)
{
  DeviceStreamer *self = (DeviceStreamer *) store;
  gboolean is_scheduled = self->position[group] != G_MAXUINT;
  Slot *slot;

  if (!avatar_ops_running (ops))
    return;
  g_mutex_lock (&self->lock);
  if (is_scheduled) {
    self->cursor = self->position[group];
    self->is_started = TRUE;
  }
  evict (self, ops);
  slot = find_slot (self, group);
  while (slot->state == SLOT_REQUESTED && avatar_ops_running (ops))
    g_cond_wait_until (&self->changed, &self->lock, g_get_monotonic_time () + POLL_INTERVAL);
  slot->n_users++;
  if (is_scheduled && !ops->error)
    refill (self);
  if (slot->state == SLOT_FAILED && !ops->error)
    ops->error = g_error_copy (self->error);
  if (!slot->copy_awaited && !ops->error) {
    self->backend->fence_wait (slot->copied, ops->queue);
    slot->copy_awaited = TRUE;
  }
  g_mutex_unlock (&self->lock);
  if (!ops->error)
    expand (self, ops, group, slot->memory);
}

/* Called with the lock held. Records that the computation no longer needs @slot, and requests the
 * next group for it. The fence is recorded also after a failure, because operations that were
 * enqueued before it may still read the weights; but not if the upload has not ended: then the
 * failure was before the first of them, and the upload thread uses @slot without the lock. */
static void
finish_use (DeviceStreamer *self, AvatarOps *ops, Slot *slot)
{
  guint group = slot->group;
  gint next;

  if (slot->state == SLOT_REQUESTED)
    return;
  self->backend->fence_record (slot->released, ops->queue);
  slot->was_released = TRUE;
  next = slot->kind == SLOT_RESIDENT || ops->error ? -1 : next_missing (self);
  if (next >= 0)
    request (self, slot, next);
  if (self->position[group] + 1 == self->n_schedule && !ops->error)
    restore (self);
}

static void
device_streamer_release (AvatarWeightStore *store, AvatarOps *ops, guint group)
{
  DeviceStreamer *self = (DeviceStreamer *) store;
  Slot *slot;

  if (ops->dry_run)
    return;
  for (guint i = 0; i < SCRATCHES; i++)
    if (self->scratch[i].group == (gint) group)
      self->scratch[i].group = -1;
  g_mutex_lock (&self->lock);
  slot = self->slot_of[group];
  if (slot && slot->n_users > 0 && --slot->n_users == 0)
    finish_use (self, ops, slot);
  g_mutex_unlock (&self->lock);
}

static guint8 *
device_streamer_get_memory (AvatarWeightStore *store, guint group, guint8 **scratch)
{
  DeviceStreamer *self = (DeviceStreamer *) store;

  *scratch = NULL;
  if (group == self->n_groups)
    return self->fixed;
  for (guint i = 0; i < SCRATCHES; i++)
    if (self->scratch[i].group == (gint) group)
      *scratch = self->scratch[i].memory;
  return self->slot_of[group] && self->slot_of[group]->n_users ? self->slot_of[group]->memory
                                                               : NULL;
}

static void
device_streamer_get_stats (AvatarWeightStore *store, AvatarWeightStreamerStats *stats)
{
  DeviceStreamer *self = (DeviceStreamer *) store;

  g_mutex_lock (&self->lock);
  *stats = self->stats;
  g_mutex_unlock (&self->lock);
}

/* ------------------------------------------------------------------------------ construction */

static void
stop_upload_thread (DeviceStreamer *self)
{
  if (!self->upload_thread)
    return;
  g_mutex_lock (&self->lock);
  self->quit = TRUE;
  g_cond_broadcast (&self->changed);
  g_mutex_unlock (&self->lock);
  g_thread_join (self->upload_thread);
}

static void
device_streamer_free (AvatarWeightStore *store)
{
  DeviceStreamer *self = (DeviceStreamer *) store;

  free_slots (self);
  stop_upload_thread (self);
  avatar_weight_uploader_free (self->uploader);
  free_scratch (self);
  avatar_device_memory_free (self->device, self->fixed, nth_group (self, self->n_groups)->bytes);
  g_ptr_array_unref (self->slots);
  g_free (self->slot_of);
  g_free (self->position);
  g_free (self->schedule);
  g_clear_error (&self->error);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  avatar_device_unref (self->device);
  g_free (self);
}

static const AvatarWeightStoreClass device_streamer_class = {
  .set_schedule = device_streamer_set_schedule,
  .drop_schedule = device_streamer_drop_schedule,
  .acquire = device_streamer_acquire,
  .release = device_streamer_release,
  .get_memory = device_streamer_get_memory,
  .get_stats = device_streamer_get_stats,
  .free = device_streamer_free,
};

/* Allocates the fixed tensors and copies them to the device. */
static gboolean
load_fixed (DeviceStreamer *self, GError **error)
{
  gsize bytes = nth_group (self, self->n_groups)->bytes;

  if (bytes == 0)
    return TRUE;
  self->fixed = avatar_device_memory_new (self->device, bytes, "fixed weights", error);
  return self->fixed && avatar_weight_uploader_copy_fixed (self->uploader, self->fixed, error);
}

AvatarWeightStore *
avatar_device_streamer_new (AvatarDevice *device, GArray *groups, guint64 pinned_bytes,
    GError **error)
{
  DeviceStreamer *self = g_new0 (DeviceStreamer, 1);

  self->parent.klass = &device_streamer_class;
  self->device = avatar_device_ref (device);
  self->backend = avatar_device_get_backend (device);
  self->groups = groups;
  self->n_groups = groups->len - 1;
  self->slots = g_ptr_array_new ();
  self->slot_of = g_new0 (Slot *, self->n_groups);
  self->position = g_new (guint, self->n_groups);
  for (guint i = 0; i < self->n_groups; i++) {
    self->max_bytes = MAX (self->max_bytes, nth_group (self, i)->bytes);
    self->position[i] = G_MAXUINT;
  }
  for (guint i = 0; i < SCRATCHES; i++)
    self->scratch[i].group = -1;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  self->uploader = avatar_weight_uploader_new (device, groups, pinned_bytes, error);
  if (self->uploader && load_fixed (self, error))
    return &self->parent;
  device_streamer_free (&self->parent);
  return NULL;
}
