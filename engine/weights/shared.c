/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/weights/shared.h"

typedef enum
{
  LOADING,
  LOADED,
  FAILED,
} State;

typedef struct
{
  AvatarSharedWeights weights; /* first, as it is what users get */
  AvatarSharedKey key;         /* with @names of its own */
  State state;
  guint n_users;
} Entry;

/* Protects all entries. */
static GMutex lock;
static GCond changed;
static GList *entries; /* of Entry that can be joined */

static gboolean
is_equal (const AvatarSharedKey *a, const AvatarSharedKey *b)
{
  return a->model == b->model && a->device == b->device && a->part == b->part
      && g_str_equal (a->names, b->names);
}

static Entry *
find (const AvatarSharedKey *key)
{
  for (GList *l = entries; l; l = l->next) {
    Entry *entry = l->data;

    if (is_equal (&entry->key, key))
      return entry;
  }
  return NULL;
}

/* Called with the lock held. */
static void
drop (Entry *entry)
{
  if (--entry->n_users > 0)
    return;
  entries = g_list_remove (entries, entry);
  g_clear_pointer (&entry->weights.views, g_array_unref);
  avatar_arena_free (entry->weights.arena);
  g_free ((char *) entry->key.names);
  g_free (entry);
}

/* Waits until @entry is loaded; %FALSE: it could not be, and is no longer the caller's. */
static gboolean
join (Entry *entry)
{
  entry->n_users++;
  while (entry->state == LOADING)
    g_cond_wait (&changed, &lock);
  if (entry->state == LOADED)
    return TRUE;
  drop (entry);
  return FALSE;
}

static Entry *
load_new (const AvatarSharedKey *key, AvatarSharedLoad load, gpointer data, GError **error)
{
  Entry *entry = g_new0 (Entry, 1);
  gboolean ok;

  entry->key = *key;
  entry->key.names = g_strdup (key->names);
  entry->n_users = 1;
  entries = g_list_prepend (entries, entry);
  g_mutex_unlock (&lock);
  ok = load (&entry->weights, data, error);
  g_mutex_lock (&lock);
  entry->state = ok ? LOADED : FAILED;
  g_cond_broadcast (&changed);
  if (ok)
    return entry;
  entries = g_list_remove (entries, entry);
  drop (entry);
  return NULL;
}

AvatarSharedWeights *
avatar_shared_weights_acquire (const AvatarSharedKey *key, AvatarSharedLoad load, gpointer data,
    GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);
  Entry *entry = NULL;

  /* Where another thread failed, this one tries for itself: it has an error to report. */
  while ((entry = find (key)))
    if (join (entry))
      return &entry->weights;
  entry = load_new (key, load, data, error);
  return entry ? &entry->weights : NULL;
}

void
avatar_shared_weights_release (AvatarSharedWeights *weights)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);

  if (weights)
    drop ((Entry *) weights);
}
