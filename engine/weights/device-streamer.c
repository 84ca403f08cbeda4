/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Residency of weights. The run enters and leaves units from one thread; a second one, the feeder,
 * packs images and gives copies to a queue of its own. Device and host wait for each other through
 * fences only: a unit's copy starts when the work on what its slot held before is done, and the
 * work on it when it has arrived. */
#include "engine/weights/device-streamer.h"

#include "engine/device/device.h"
#include "engine/device/memory-arbiter.h"

#include <string.h>

/* As many units are used at once, which is as many as are expanded at once. */
#define SCRATCHES 2
/* How often who waits for a unit looks whether it was cancelled. */
#define LOOK (10 * G_TIME_SPAN_MILLISECOND)
/* Units are given up when less than the device's reserve is free, and taken back well above. */
#define RESERVES_TO_TAKE_BACK 3

typedef enum
{
  PLACE_EMPTY,
  PLACE_ASKED, /* of the feeder */
  PLACE_SENT,  /* the copy was given to the queue */
  PLACE_FAILED,
} PlaceState;

/* Memory on the device for one unit. */
typedef struct
{
  guint8 *memory;
  gsize bytes;
  gboolean resident; /* keeps its unit */
  gint unit;         /* -1: none */
  PlaceState state;
  guint entered;
  gboolean waited; /* the run's queue has waited for the copy */
  gboolean used;   /* work was given to the run's queue: see released */
  AvatarFence *copied, *released;
} Place;

typedef struct
{
  guint8 *memory;
  gint unit; /* -1: free */
} Scratch;

/* Host memory from which one copy may be under way. */
typedef struct
{
  guint8 *memory;
  gboolean pinned, used;
  AvatarFence *copied;
} Staging;

struct _AvatarResidency
{
  AvatarDevice *device;
  const AvatarBackend *backend;
  GArray *units; /* of AvatarWeightGroup; the last is fixed */
  guint n;       /* without it */
  guint8 *fixed;
  gsize largest;       /* bytes of the largest unit */
  gsize scratch_bytes; /* of each scratch there is now */
  Scratch scratch[SCRATCHES];

  GMutex lock; /* protects what follows */
  GCond changed;
  GThread *feeder;
  gboolean quit, busy;
  GPtrArray *places;       /* of Place */
  Place **place_of;        /* [n] */
  guint *route, *position; /* [n_route]; [n]: where in the route, or G_MAXUINT */
  guint n_route, at;       /* at: of the unit entered last */
  gboolean once;           /* the route is run through once */
  gboolean begun;          /* a unit of it was entered */
  GError *error;
  AvatarWeightStreamerStats stats;
  gint stop; /* atomic: what the feeder packs is not wanted any more */

  /* the feeder's own */
  AvatarQueue *queue;
  guint8 **images; /* [n] pinned, or NULL */
  guint64 pinned_left;
  Staging staging[AVATAR_STAGINGS];
  guint next_staging;
};

static AvatarWeightGroup *
unit_at (AvatarWeightStreamer *self, guint i)
{
  return &g_array_index (self->units, AvatarWeightGroup, i);
}

AvatarWeightStreamer *
avatar_weight_streamer_new (AvatarDevice *device, GArray *units, guint64 pinned_bytes)
{
  AvatarWeightStreamer *self = g_new0 (AvatarWeightStreamer, 1);

  self->device = avatar_device_ref (device);
  self->backend = avatar_device_get_backend (device);
  self->units = units;
  self->n = units->len - 1;
  self->pinned_left = pinned_bytes;
  self->places = g_ptr_array_new ();
  self->place_of = g_new0 (Place *, self->n);
  self->position = g_new (guint, self->n);
  self->images = g_new0 (guint8 *, self->n);
  for (guint i = 0; i < self->n; i++) {
    self->largest = MAX (self->largest, unit_at (self, i)->bytes);
    self->position[i] = G_MAXUINT;
  }
  for (guint i = 0; i < SCRATCHES; i++)
    self->scratch[i].unit = -1;
  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  return self;
}

/* --------------------------------------------------------------------------------- the feeder */

/* The image of @unit on the host. @staging: (out): the one it lies in, or %NULL. */
static const guint8 *
find_image (AvatarWeightStreamer *self, guint unit, gboolean keep, Staging **staging,
    gboolean *pinned, GError **error)
{
  AvatarBackendDevice *handle = avatar_device_get_handle (self->device);
  gsize bytes = unit_at (self, unit)->bytes;
  Staging *s = &self->staging[self->next_staging];

  *staging = NULL;
  *pinned = TRUE;
  if (self->images[unit])
    return self->images[unit];
  if (keep && bytes <= self->pinned_left) {
    guint8 *image = self->backend->host_new (handle, bytes);

    if (!image)
      self->pinned_left = 0; /* the system gives no more: the rest comes through staging */
    if (image && !avatar_pack_group (unit_at (self, unit), image, &self->stop, error)) {
      self->backend->host_free (handle, image, bytes);
      return NULL;
    }
    if (image) {
      self->pinned_left -= bytes;
      return self->images[unit] = image;
    }
  }
  if (!s->memory) {
    s->memory = self->backend->host_new (handle, self->largest);
    s->pinned = s->memory != NULL;
    s->copied = self->backend->fence_new (handle);
    if (!s->memory)
      s->memory = g_malloc (self->largest);
  }
  self->next_staging = (self->next_staging + 1) % AVATAR_STAGINGS;
  if (s->used)
    self->backend->fence_sync (s->copied);
  if (!avatar_pack_group (unit_at (self, unit), s->memory, &self->stop, error))
    return NULL;
  *staging = s;
  *pinned = s->pinned;
  return s->memory;
}

static gboolean
send (AvatarWeightStreamer *self, Place *place, GError **error)
{
  Staging *staging;
  gboolean pinned;
  gsize bytes = unit_at (self, place->unit)->bytes;
  const guint8 *image
      = find_image (self, place->unit, !place->resident && !self->once, &staging, &pinned, error);

  if (!image)
    return FALSE;
  if (place->used)
    self->backend->fence_wait (place->released, self->queue);
  self->backend->upload (self->queue, place->memory, image, bytes,
      pinned ? AVATAR_HOST_PINNED : AVATAR_HOST_PAGEABLE);
  self->backend->fence_record (place->copied, self->queue);
  if (staging) {
    self->backend->fence_record (staging->copied, self->queue);
    staging->used = TRUE;
  }
  return self->backend->queue_check (self->queue, error);
}

/* How far ahead in the route @unit is; far if it is not of the route. */
static guint
distance (AvatarWeightStreamer *self, guint unit)
{
  guint p = self->position[unit];

  return p == G_MAXUINT ? G_MAXUINT : (p + self->n_route - self->at) % self->n_route;
}

/* What the run needs first: a unit out of the order is asked for only when it is needed now. */
static Place *
next_asked (AvatarWeightStreamer *self)
{
  Place *best = NULL;

  for (guint i = 0; i < self->places->len; i++) {
    Place *p = g_ptr_array_index (self->places, i);

    if (p->state == PLACE_ASKED
        && (!best || distance (self, p->unit) + 1 < distance (self, best->unit) + 1))
      best = p;
  }
  return best;
}

static gpointer
feed (gpointer data)
{
  AvatarWeightStreamer *self = data;

  g_mutex_lock (&self->lock);
  while (!self->quit) {
    Place *place = next_asked (self);
    GError *error = NULL;
    gboolean sent;

    if (!place) {
      g_cond_wait (&self->changed, &self->lock);
      continue;
    }
    self->busy = TRUE;
    g_mutex_unlock (&self->lock);
    sent = send (self, place, &error);
    g_mutex_lock (&self->lock);
    self->busy = FALSE;
    place->state = sent ? PLACE_SENT : PLACE_FAILED;
    if (sent)
      self->stats.uploaded += unit_at (self, place->unit)->bytes;
    else if (!self->error && !g_atomic_int_get (&self->stop))
      self->error = g_steal_pointer (&error);
    g_clear_error (&error);
    g_cond_broadcast (&self->changed);
  }
  g_mutex_unlock (&self->lock);
  return NULL;
}

/* ----------------------------------------------------------------------------------- places */

/* Waits for the feeder and for the device, and gives the place's memory back. */
static void
place_free (AvatarWeightStreamer *self, Place *place)
{
  if (place->state == PLACE_SENT)
    self->backend->fence_sync (place->copied);
  if (place->used)
    self->backend->fence_sync (place->released);
  avatar_device_memory_free (self->device, place->memory, place->bytes);
  if (place->copied)
    self->backend->fence_free (place->copied);
  if (place->released)
    self->backend->fence_free (place->released);
  g_free (place);
}

static Place *
place_new (AvatarWeightStreamer *self, gsize bytes, gboolean resident, GError **error)
{
  AvatarBackendDevice *handle = avatar_device_get_handle (self->device);
  Place *place;
  guint8 *memory = avatar_device_memory_new (self->device, bytes, "weights", error);

  if (!memory)
    return NULL;
  place = g_new0 (Place, 1);
  place->memory = memory;
  place->bytes = bytes;
  place->resident = resident;
  place->unit = -1;
  place->copied = self->backend->fence_new (handle);
  place->released = self->backend->fence_new (handle);
  if (place->copied && place->released)
    return place;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE, "%s cannot make a fence",
      avatar_device_get_name (self->device));
  place_free (self, place);
  return NULL;
}

/* Locked. */
static void
ask (AvatarWeightStreamer *self, Place *place, guint unit)
{
  if (place->unit >= 0)
    self->place_of[place->unit] = NULL;
  place->unit = unit;
  place->state = PLACE_ASKED;
  place->waited = FALSE;
  self->place_of[unit] = place;
  g_cond_broadcast (&self->changed);
}

/* Locked: the next unit of the route that is nowhere, or -1. What is run through once does not begin
 * again behind its end. */
static gint
next_missing (AvatarWeightStreamer *self)
{
  guint end = self->once && self->begun ? self->n_route - self->at : self->n_route;

  for (guint i = 1; i < end; i++) {
    guint unit = self->route[(self->at + i) % self->n_route];

    if (!self->place_of[unit])
      return unit;
  }
  return -1;
}

static void
free_places (AvatarWeightStreamer *self)
{
  g_mutex_lock (&self->lock);
  for (guint i = 0; i < self->places->len; i++) {
    Place *p = g_ptr_array_index (self->places, i);

    if (p->state == PLACE_ASKED)
      p->state = PLACE_EMPTY;
  }
  g_atomic_int_set (&self->stop, 1);
  while (self->busy)
    g_cond_wait (&self->changed, &self->lock);
  g_atomic_int_set (&self->stop, 0);
  for (guint i = 0; i < self->places->len; i++)
    place_free (self, g_ptr_array_index (self->places, i));
  g_ptr_array_set_size (self->places, 0);
  memset (self->place_of, 0, self->n * sizeof *self->place_of);
  g_mutex_unlock (&self->lock);
}

static void
free_scratch (AvatarWeightStreamer *self)
{
  for (guint i = 0; i < SCRATCHES; i++) {
    avatar_device_memory_free (self->device, self->scratch[i].memory, self->scratch_bytes);
    self->scratch[i].memory = NULL;
  }
}

void
avatar_weight_streamer_free (AvatarWeightStreamer *self)
{
  AvatarBackendDevice *handle;

  if (!self)
    return;
  handle = avatar_device_get_handle (self->device);
  free_places (self);
  if (self->feeder) {
    g_mutex_lock (&self->lock);
    self->quit = TRUE;
    g_cond_broadcast (&self->changed);
    g_mutex_unlock (&self->lock);
    g_thread_join (self->feeder);
  }
  if (self->queue)
    self->backend->queue_free (self->queue);
  for (guint i = 0; i < self->n; i++)
    if (self->images[i])
      self->backend->host_free (handle, self->images[i], unit_at (self, i)->bytes);
  for (guint i = 0; i < AVATAR_STAGINGS; i++) {
    Staging *s = &self->staging[i];

    if (s->copied)
      self->backend->fence_free (s->copied);
    if (s->memory && s->pinned)
      self->backend->host_free (handle, s->memory, self->largest);
    else
      g_free (s->memory);
  }
  free_scratch (self);
  avatar_device_memory_free (self->device, self->fixed, unit_at (self, self->n)->bytes);
  g_ptr_array_unref (self->places);
  g_free (self->place_of);
  g_free (self->position);
  g_free (self->route);
  g_free (self->images);
  g_clear_error (&self->error);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->changed);
  avatar_device_unref (self->device);
  g_free (self);
}

gboolean
avatar_weight_streamer_load_fixed (AvatarWeightStreamer *self, GError **error)
{
  AvatarWeightGroup *unit = unit_at (self, self->n);
  g_autofree guint8 *image = NULL;

  self->queue = self->backend->queue_new (avatar_device_get_handle (self->device), error);
  if (!self->queue)
    return FALSE;
  if (unit->bytes == 0)
    return TRUE;
  self->fixed = avatar_device_memory_new (self->device, unit->bytes, "fixed weights", error);
  image = g_malloc0 (unit->bytes);
  if (!self->fixed || !avatar_pack_group (unit, image, NULL, error))
    return FALSE;
  self->backend->upload (self->queue, self->fixed, image, unit->bytes, AVATAR_HOST_PAGEABLE);
  return self->backend->queue_sync (self->queue, error);
}

/* ------------------------------------------------------------------------------------ routes */

/* A place for every resident unit. */
static gboolean
make_residents (AvatarWeightStreamer *self, const AvatarPlacement *placing, GError **error)
{
  for (guint i = 0; i < placing->n_residents; i++) {
    guint unit = placing->residents[i];
    Place *place = place_new (self, unit_at (self, unit)->bytes, TRUE, error);

    if (!place)
      return FALSE;
    g_mutex_lock (&self->lock);
    g_ptr_array_add (self->places, place);
    ask (self, place, unit);
    self->stats.resident++;
    g_mutex_unlock (&self->lock);
  }
  return TRUE;
}

static gboolean
make_slots (AvatarWeightStreamer *self, const AvatarPlacement *placing, GError **error)
{
  for (guint i = 0; i < placing->slots; i++) {
    Place *place = place_new (self, placing->slot_bytes, FALSE, error);

    if (!place)
      return FALSE;
    g_mutex_lock (&self->lock);
    g_ptr_array_add (self->places, place);
    g_mutex_unlock (&self->lock);
  }
  self->scratch_bytes = placing->scratch_bytes;
  for (guint i = 0; i < placing->scratches; i++) {
    self->scratch[i].memory
        = avatar_device_memory_new (self->device, self->scratch_bytes, "weights", error);
    if (!self->scratch[i].memory)
      return FALSE;
  }
  return TRUE;
}

/* Locked: the first units of the route that are nowhere go to the slots. */
static void
fill_slots (AvatarWeightStreamer *self)
{
  for (guint i = 0; i < self->places->len; i++) {
    Place *place = g_ptr_array_index (self->places, i);
    gint unit = place->resident || place->unit >= 0 ? -1 : next_missing (self);

    if (unit >= 0)
      ask (self, place, unit);
  }
}

static gboolean
take_route (AvatarWeightStreamer *self, const AvatarWeightSchedule *route, guint64 room,
    GError **error)
{
  g_auto (AvatarPlacement) placing = { 0 };

  if (!avatar_placement_init (&placing, self->device, self->units, route, room, error))
    return FALSE;
  g_free (self->route);
  self->route = g_memdup2 (route->units, route->n * sizeof *route->units);
  self->n_route = route->n;
  self->at = route->n - 1; /* the first comes next */
  self->once = route->once;
  self->begun = FALSE;
  for (guint i = 0; i < self->n; i++)
    self->position[i] = G_MAXUINT;
  for (guint i = 0; i < route->n; i++)
    self->position[route->units[i]] = i;
  self->stats = (AvatarWeightStreamerStats){ .slots = placing.slots, .units = route->n };
  if (!make_slots (self, &placing, error) || !make_residents (self, &placing, error))
    return FALSE;
  g_mutex_lock (&self->lock);
  fill_slots (self);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

/* What may be taken: not the reserve, which pressure would take away again at once, unless there
 * is nothing else. */
static guint64
find_room (AvatarWeightStreamer *self, const AvatarWeightSchedule *route)
{
  guint64 least = avatar_placement_slots_bytes (self->device, self->units, route, AVATAR_MIN_SLOTS);

  return MAX (avatar_placement_available_bytes (self->device),
      MIN (least, avatar_device_get_available_bytes (self->device)));
}

void
avatar_weight_streamer_drop_schedule (AvatarWeightStreamer *self)
{
  free_places (self);
  free_scratch (self);
}

gboolean
avatar_weight_streamer_set_schedule (AvatarWeightStreamer *self, AvatarOps *ops,
    const AvatarWeightSchedule *route, GError **error)
{
  if (ops->dry_run)
    return TRUE;
  avatar_weight_streamer_drop_schedule (self);
  if (!self->feeder)
    self->feeder = g_thread_new ("weights", feed, self);
  if (take_route (self, route, find_room (self, route), error))
    return TRUE;
  avatar_weight_streamer_drop_schedule (self);
  return FALSE;
}

/* ---------------------------------------------------------------------------------- pressure */

/* Locked: the resident place whose unit is needed last and that is not in use, or %NULL. */
static Place *
least_needed (AvatarWeightStreamer *self)
{
  Place *best = NULL;

  for (guint i = 0; i < self->places->len; i++) {
    Place *p = g_ptr_array_index (self->places, i);

    if (p->resident && p->entered == 0 && p->state != PLACE_ASKED
        && (!best || distance (self, p->unit) > distance (self, best->unit)))
      best = p;
  }
  return best;
}

/* Bytes that others want back: of the driver's free memory, of the budget, for a stage that waits. */
static guint64
missing_bytes (AvatarWeightStreamer *self)
{
  guint64 free_bytes, total, reserve = avatar_device_get_reserve_bytes (self->device);

  avatar_device_get_memory_info (self->device, &free_bytes, &total);
  return MAX (reserve - MIN (reserve, free_bytes),
      MAX (avatar_device_get_excess_bytes (self->device),
          avatar_device_get_pending_bytes (self->device)));
}

/* Locked. */
static void
give_up (AvatarWeightStreamer *self, AvatarOps *ops)
{
  while (missing_bytes (self) > 0) {
    Place *place = least_needed (self);

    if (!place) {
      /* what is left is the least with which the run can go on */
      if (!ops->error)
        avatar_device_check_budget (self->device, &ops->error);
      return;
    }
    self->place_of[place->unit] = NULL;
    g_ptr_array_remove (self->places, place);
    place_free (self, place);
    self->stats.resident--;
    self->stats.evicted++;
  }
}

/* Locked: one unit gets a place of its own again. */
static void
take_back (AvatarWeightStreamer *self)
{
  guint64 free_bytes, total, reserve = avatar_device_get_reserve_bytes (self->device);
  gint unit;
  Place *place;

  if (self->stats.evicted <= self->stats.restored)
    return;
  avatar_device_get_memory_info (self->device, &free_bytes, &total);
  if (free_bytes < RESERVES_TO_TAKE_BACK * reserve + self->largest
      || avatar_device_get_available_bytes (self->device)
          < avatar_device_get_allocation_size (self->device, self->largest))
    return;
  unit = next_missing (self);
  place = unit >= 0 ? place_new (self, unit_at (self, unit)->bytes, TRUE, NULL) : NULL;
  if (!place)
    return;
  g_ptr_array_add (self->places, place);
  ask (self, place, unit);
  self->stats.resident++;
  self->stats.restored++;
}

/* ------------------------------------------------------------------------- entering, leaving */

/* Locked: a slot for a unit that is needed out of the order. */
static Place *
free_slot (AvatarWeightStreamer *self)
{
  Place *best = NULL;

  for (guint i = 0; i < self->places->len; i++) {
    Place *p = g_ptr_array_index (self->places, i);

    if (p->resident || p->entered > 0)
      continue;
    if (p->unit < 0)
      return p;
    if (!best || distance (self, p->unit) > distance (self, best->unit))
      best = p;
  }
  while (best && best->state == PLACE_ASKED)
    g_cond_wait (&self->changed, &self->lock);
  return best;
}

/* Locked: slots that hold what the run has passed over, as the second branch of guidance does, are
 * given what it needs sooner; else they would be of no use until it comes round again. */
static void
refill (AvatarWeightStreamer *self)
{
  for (guint i = 0; i < self->places->len; i++) {
    Place *p = g_ptr_array_index (self->places, i);
    gint next = p->resident || p->entered > 0 || p->state == PLACE_ASKED ? -1 : next_missing (self);

    if (next >= 0 && (p->unit < 0 || distance (self, next) < distance (self, p->unit)))
      ask (self, p, next);
  }
}

static void
expand (AvatarWeightStreamer *self, AvatarOps *ops, guint unit, guint8 *image)
{
  AvatarWeightGroup *u = unit_at (self, unit);
  Scratch *scratch = NULL;

  if (u->scratch == 0)
    return;
  for (guint i = 0; i < SCRATCHES && !scratch; i++)
    if (self->scratch[i].unit < 0)
      scratch = &self->scratch[i];
  /* as many as are used at once, and as large as the route and its on_demand need */
  g_assert (scratch && scratch->memory && u->scratch <= self->scratch_bytes);
  scratch->unit = unit;
  for (guint i = 0; i < u->tensors->len; i++) {
    const AvatarPackedTensor *p = &g_array_index (u->tensors, AvatarPackedTensor, i);
    AvatarTensor x, y;

    if (!p->expands)
      continue;
    x = avatar_tensor_of_shape (p->dtype, image + p->offset, p->source.rank, p->source.shape);
    x.scale = (float *) (image + p->scale_offset);
    y = avatar_tensor_of_shape (p->expanded, scratch->memory + p->expand_offset, p->source.rank,
        p->source.shape);
    self->backend->expand (ops->queue, y, x);
  }
}

void
avatar_weight_streamer_acquire (AvatarWeightStreamer *self, AvatarOps *ops, guint unit)
{
  Place *place;

  if (!avatar_ops_running (ops))
    return;
  g_mutex_lock (&self->lock);
  if (self->position[unit] != G_MAXUINT) {
    self->at = self->position[unit];
    self->begun = TRUE;
  }
  give_up (self, ops);
  place = self->place_of[unit];
  if (!place) {
    place = free_slot (self);
    self->stats.prefetch_misses++;
    if (place)
      ask (self, place, unit);
  }
  g_assert (place); /* no more units are used at once than there are slots */
  while (place->state == PLACE_ASKED && avatar_ops_running (ops))
    g_cond_wait_until (&self->changed, &self->lock, g_get_monotonic_time () + LOOK);
  place->entered++;
  if (self->position[unit] != G_MAXUINT && !ops->error)
    refill (self);
  if (place->state == PLACE_FAILED && !ops->error)
    ops->error = g_error_copy (self->error);
  if (!place->waited && !ops->error) {
    self->backend->fence_wait (place->copied, ops->queue);
    place->waited = TRUE;
  }
  g_mutex_unlock (&self->lock);
  if (!ops->error)
    expand (self, ops, unit, place->memory);
}

void
avatar_weight_streamer_release (AvatarWeightStreamer *self, AvatarOps *ops, guint unit)
{
  Place *place;
  gint next;

  if (ops->dry_run)
    return;
  for (guint i = 0; i < SCRATCHES; i++)
    if (self->scratch[i].unit == (gint) unit)
      self->scratch[i].unit = -1;
  g_mutex_lock (&self->lock);
  place = self->place_of[unit];
  if (place && place->entered > 0 && --place->entered == 0) {
    /* also after a failure: work that was given before it may still read the weights */
    self->backend->fence_record (place->released, ops->queue);
    place->used = TRUE;
    next = place->resident || ops->error ? -1 : next_missing (self);
    if (next >= 0)
      ask (self, place, next);
    if (self->position[unit] + 1 == self->n_route && !ops->error)
      take_back (self);
  }
  g_mutex_unlock (&self->lock);
}

guint8 *
avatar_weight_streamer_memory (AvatarWeightStreamer *self, guint unit, guint8 **scratch)
{
  *scratch = NULL;
  if (unit == self->n)
    return self->fixed;
  for (guint i = 0; i < SCRATCHES; i++)
    if (self->scratch[i].unit == (gint) unit)
      *scratch = self->scratch[i].memory;
  return self->place_of[unit] && self->place_of[unit]->entered ? self->place_of[unit]->memory
                                                               : NULL;
}

void
avatar_weight_streamer_get_stats (AvatarWeightStreamer *self, AvatarWeightStreamerStats *stats)
{
  g_mutex_lock (&self->lock);
  *stats = self->stats;
  g_mutex_unlock (&self->lock);
}
