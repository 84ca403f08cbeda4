/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The order of turns on a device: by deadline, then by call; cancelled waits. */
#include "engine/device/turns.h"

typedef struct
{
  AvatarTurns *turns;
  gint64 deadline;
  gint cancelled;
  GMutex *lock;
  GArray *order; /* gint64, the deadlines of turns as they began; protected by @lock */
} Stage;

static gpointer
run (gpointer data)
{
  Stage *self = data;

  if (!avatar_turns_begin (self->turns, self->deadline, &self->cancelled))
    return GINT_TO_POINTER (FALSE);
  g_mutex_lock (self->lock);
  g_array_append_val (self->order, self->deadline);
  g_mutex_unlock (self->lock);
  avatar_turns_end (self->turns);
  return GINT_TO_POINTER (TRUE);
}

static void
wait_for_waiters (AvatarTurns *turns, guint n)
{
  while (avatar_turns_get_n_waiting (turns) != n)
    g_usleep (1000);
}

/* Starts @n stages, one after the other, while all turns are taken. */
static void
start (AvatarTurns *turns, Stage *stages, GThread **threads, guint n)
{
  guint waiting = avatar_turns_get_n_waiting (turns);

  for (guint i = 0; i < n; i++) {
    threads[i] = g_thread_new (NULL, run, &stages[i]);
    wait_for_waiters (turns, waiting + i + 1);
  }
}

static void
test_deadlines (void)
{
  static const gint64 deadlines[] = { 30, AVATAR_NO_DEADLINE, 10, 20, AVATAR_NO_DEADLINE, 10 },
                      expected[] = { 10, 10, 20, 30, AVATAR_NO_DEADLINE, AVATAR_NO_DEADLINE };
  AvatarTurns *turns = avatar_turns_new (1);
  g_autoptr (GArray) order = g_array_new (FALSE, FALSE, sizeof (gint64));
  Stage stages[G_N_ELEMENTS (deadlines)];
  GThread *threads[G_N_ELEMENTS (deadlines)];
  gint never = FALSE;
  GMutex lock;

  g_mutex_init (&lock);
  g_assert_true (avatar_turns_begin (turns, 40, &never));
  for (guint i = 0; i < G_N_ELEMENTS (deadlines); i++)
    stages[i] = (Stage){ turns, deadlines[i], FALSE, &lock, order };
  start (turns, stages, threads, G_N_ELEMENTS (deadlines));
  avatar_turns_end (turns);
  for (guint i = 0; i < G_N_ELEMENTS (deadlines); i++)
    g_assert_true (GPOINTER_TO_INT (g_thread_join (threads[i])));
  g_assert_cmpmem (order->data, order->len * sizeof (gint64), expected, sizeof expected);
  avatar_turns_free (turns);
  g_mutex_clear (&lock);
}

/* Two turns run at once; a third waits. */
static void
test_limit (void)
{
  AvatarTurns *turns = avatar_turns_new (2);
  g_autoptr (GArray) order = g_array_new (FALSE, FALSE, sizeof (gint64));
  gint never = FALSE;
  GThread *thread;
  Stage stage;
  GMutex lock;

  g_mutex_init (&lock);
  stage = (Stage){ turns, 1, FALSE, &lock, order };
  g_assert_true (avatar_turns_begin (turns, 2, &never));
  g_assert_true (avatar_turns_begin (turns, 3, &never));
  start (turns, &stage, &thread, 1);
  g_assert_cmpuint (order->len, ==, 0);
  avatar_turns_end (turns);
  g_assert_true (GPOINTER_TO_INT (g_thread_join (thread)));
  avatar_turns_end (turns);
  avatar_turns_free (turns);
  g_mutex_clear (&lock);
}

/* A cancelled stage leaves, and the next one gets the turn. */
static void
test_cancelled (void)
{
  AvatarTurns *turns = avatar_turns_new (1);
  g_autoptr (GArray) order = g_array_new (FALSE, FALSE, sizeof (gint64));
  gint never = FALSE;
  GThread *threads[2];
  Stage stages[2];
  GMutex lock;

  g_mutex_init (&lock);
  g_assert_true (avatar_turns_begin (turns, 1, &never));
  for (guint i = 0; i < 2; i++)
    stages[i] = (Stage){ turns, 2 + i, FALSE, &lock, order };
  start (turns, stages, threads, 2);
  g_atomic_int_set (&stages[0].cancelled, TRUE);
  g_assert_false (GPOINTER_TO_INT (g_thread_join (threads[0])));
  avatar_turns_end (turns);
  g_assert_true (GPOINTER_TO_INT (g_thread_join (threads[1])));
  g_assert_cmpuint (order->len, ==, 1);
  g_assert_cmpint (g_array_index (order, gint64, 0), ==, 3);
  avatar_turns_free (turns);
  g_mutex_clear (&lock);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/turns/deadlines", test_deadlines);
  g_test_add_func ("/turns/limit", test_limit);
  g_test_add_func ("/turns/cancelled", test_cancelled);
  return g_test_run ();
}
