/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two threads add to a variable, with a GMutex if there is an argument: ThreadSanitizer must report
 * the race without it and none with it. */
#include <glib.h>

static int shared;
static GMutex lock;

static gpointer
add (gpointer locked)
{
  if (locked)
    g_mutex_lock (&lock);
  shared++;
  if (locked)
    g_mutex_unlock (&lock);
  return NULL;
}

int
main (int argc, char **argv)
{
  gpointer locked = argc > 1 ? argv : NULL;
  GThread *thread = g_thread_new ("add", add, locked);

  add (locked);
  g_thread_join (thread);
  return 0;
}
