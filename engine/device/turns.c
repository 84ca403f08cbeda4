/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/device/turns.h"

/* Interval in which a waiting stage checks for its cancellation, in microseconds. */
#define POLL_INTERVAL 20000

struct _AvatarTurns
{
  GMutex lock;
  GCond changed; /* signalled when @running or @waiters change */
  guint limit, running;
  GPtrArray *waiters; /* Waiter, on the stacks of their threads, in the order of their calls */
};

typedef struct
{
  gint64 deadline;
} Waiter;

AvatarTurns *
avatar_turns_new (guint limit)
{
  AvatarTurns *self = g_new0 (AvatarTurns, 1);

  g_mutex_init (&self->lock);
  g_cond_init (&self->changed);
  self->limit = limit;
  self->waiters = g_ptr_array_new ();
  return self;
}

void
avatar_turns_free (AvatarTurns *self)
{
  g_assert (self->running == 0 && self->waiters->len == 0);
  g_ptr_array_unref (self->waiters);
  g_cond_clear (&self->changed);
  g_mutex_clear (&self->lock);
  g_free (self);
}

/* Returns %TRUE if @waiter has the earliest deadline. Called with the lock held. */
static gboolean
is_next (AvatarTurns *self, const Waiter *waiter)
{
  const Waiter *next = g_ptr_array_index (self->waiters, 0);

  for (guint i = 1; i < self->waiters->len; i++) {
    const Waiter *other = g_ptr_array_index (self->waiters, i);

    if (other->deadline < next->deadline)
      next = other;
  }
  return waiter == next;
}

gboolean
avatar_turns_begin (AvatarTurns *self, gint64 deadline, const gint *cancelled)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);
  Waiter waiter = { deadline };
  gboolean begun = TRUE;

  g_ptr_array_add (self->waiters, &waiter);
  while (begun && (self->running >= self->limit || !is_next (self, &waiter))) {
    g_cond_wait_until (&self->changed, &self->lock, g_get_monotonic_time () + POLL_INTERVAL);
    begun = !g_atomic_int_get (cancelled);
  }
  g_ptr_array_remove (self->waiters, &waiter);
  if (begun)
    self->running++;
  g_cond_broadcast (&self->changed); /* another stage is next now */
  return begun;
}

void
avatar_turns_end (AvatarTurns *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  g_assert (self->running > 0);
  self->running--;
  g_cond_broadcast (&self->changed);
}

guint
avatar_turns_get_n_waiting (AvatarTurns *self)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&self->lock);

  return self->waiters->len;
}
