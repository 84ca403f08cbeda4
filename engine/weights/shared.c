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
  AvatarSharedWeights weights; /* first member, as users hold pointers to it */
  AvatarSharedKey key;         /* owns its @names */
  State state;
  guint n_users;
} Entry;

/* Protects all entries. */
static GMutex lock;
static GCond changed;
static GList *entries; /* list of Entry, without failed ones */

static gboolean
is_equal (const AvatarSharedKey *a, const AvatarSharedKey *b)
{
  return a->model == b->model && a->device == b->device && a->component == b->component
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

/* Called with the lock held. Ends one use of @entry, and frees it if that was the last. */
static void
unref_entry (Entry *entry)
{
  if (--entry->n_users > 0)
    return;
  entries = g_list_remove (entries, entry);
  g_clear_pointer (&entry->weights.views, g_array_unref);
  avatar_arena_free (entry->weights.arena);
  g_free ((char *) entry->key.names);
  g_free (entry);
}

/* Called with the lock held, which it releases while it waits. Starts a use of @entry and waits
 * until it is loaded. Returns %FALSE, without a use, if loading failed. */
static gboolean
ref_loaded (Entry *entry)
{
  entry->n_users++;
  while (entry->state == LOADING)
    g_cond_wait (&changed, &lock);
  if (entry->state == LOADED)
    return TRUE;
  unref_entry (entry);
  return FALSE;
}

/* Called with the lock held, which it releases while it loads. */
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
  unref_entry (entry);
  return NULL;
}

AvatarSharedWeights *
avatar_shared_weights_acquire (const AvatarSharedKey *key, AvatarSharedLoad load, gpointer data,
    GError **error)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);
  Entry *entry = NULL;

  /* After a failure of another thread, this one tries to load too, to get an error to report. */
  while ((entry = find (key)))
    if (ref_loaded (entry))
      return &entry->weights;
  entry = load_new (key, load, data, error);
  return entry ? &entry->weights : NULL;
}

void
avatar_shared_weights_release (AvatarSharedWeights *weights)
{
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);

  if (weights)
    unref_entry ((Entry *) weights);
}
