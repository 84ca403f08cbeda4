/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices and their ledgers. A discrete device (a GPU) is opened once per process, so that all
 * stages on it share one ledger. A group is a device that names others, its members. Functions that
 * are about one device treat a group as its first member, so that a stage that knows nothing of
 * groups runs there. */
#include "engine/device/device.h"

#include "engine/device/device-name.h"

#include <math.h>
#include <string.h>

#define MIB 1048576.
/* Allocation granularity of a GPU's driver. */
#define PAGE ((guint64) 2 << 20)
/* Memory kept for other programs: RESERVE bytes, but at most 1 / RESERVE_DIVISOR of the device. */
#define RESERVE ((guint64) 256 << 20)
#define RESERVE_DIVISOR 50
/* Stages that compute at the same time: the denoiser and the decoder of one avatar overlap. */
#define MAX_TURNS 2

struct _AvatarDevice
{
  gint refs; /* protected by devices_lock */
  char *key; /* the name, in the table of open devices; NULL if not in it */
  AvatarBackendFindFunc find;
  const AvatarBackend *backend;
  AvatarBackendDevice *handle;
  char *description;
  AvatarTurns *turns;
  GMutex lock; /* protects the members below */
  AvatarMemory memory;
  gpointer attached;
  GDestroyNotify free_attached;
  GPtrArray *members; /* element-type AvatarDevice; NULL unless the device is a group */
};

static GMutex devices_lock;
static GHashTable *devices; /* key -> AvatarDevice, without a reference */

static AvatarDevice *
device_new (const char *name, AvatarBackendFindFunc find, GError **error)
{
  const AvatarBackend *backend = find (name, error);
  AvatarBackendDevice *handle = backend ? backend->open (name, error) : NULL;
  AvatarDevice *self;

  if (!handle)
    return NULL;
  self = g_new0 (AvatarDevice, 1);
  self->refs = 1;
  g_mutex_init (&self->lock);
  self->find = find;
  self->backend = backend;
  self->handle = handle;
  self->description = backend->describe (handle);
  self->turns = avatar_turns_new (MAX_TURNS);
  if (backend->discrete) {
    self->memory.now = self->memory.peak = backend->overhead (handle);
    self->key = g_strdup (name);
    if (!backend->unshared)
      g_hash_table_insert (devices, self->key, self);
  }
  return self;
}

/* Returns the device that functions about one device use: @self, or the first member of a group. */
static AvatarDevice *
leader (AvatarDevice *self)
{
  return self->members ? g_ptr_array_index (self->members, 0) : self;
}

/* Refuses members that cannot compute one video together. */
static gboolean
check_members (GPtrArray *members, GError **error)
{
  for (guint i = 0; i < members->len; i++) {
    AvatarDevice *one = g_ptr_array_index (members, i), *first = g_ptr_array_index (members, 0);

    if (!one->backend->discrete || one->backend != first->backend) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
          "the device group has the member \"%s\"; expected GPUs of one kind, such as "
          "\"cuda:0+cuda:1\"",
          avatar_device_get_name (one));
      return FALSE;
    }
    for (guint j = 0; j < i; j++)
      if (one == g_ptr_array_index (members, j)) {
        g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
            "the device group has the member \"%s\" twice; name each GPU once",
            avatar_device_get_name (one));
        return FALSE;
      }
  }
  return TRUE;
}

/* Returns the text of @get for each of @members, joined by @separator. */
static char *
join_texts (GPtrArray *members, const char *separator, const char *(*get) (AvatarDevice *) )
{
  g_autoptr (GPtrArray) texts = g_ptr_array_new ();

  for (guint i = 0; i < members->len; i++)
    g_ptr_array_add (texts, (gpointer) get (g_ptr_array_index (members, i)));
  g_ptr_array_add (texts, NULL);
  return g_strjoinv (separator, (char **) texts->pdata);
}

/* Returns a group of @members. Takes ownership of @members and @name. */
static AvatarDevice *
group_new (GPtrArray *members, char *name)
{
  AvatarDevice *self = g_new0 (AvatarDevice, 1), *first = g_ptr_array_index (members, 0);

  self->refs = 1;
  g_mutex_init (&self->lock);
  self->key = name;
  self->find = first->find;
  self->backend = first->backend;
  self->handle = first->handle;
  self->members = members;
  self->description = join_texts (members, "; ", avatar_device_get_description);
  if (!self->backend->unshared)
    g_hash_table_insert (devices, self->key, self);
  return self;
}

/* Opens the group with the members @names, or the only member. */
static AvatarDevice *
open_members (char **names, AvatarBackendFindFunc find, GError **error)
{
  g_autoptr (GPtrArray) members
      = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_device_unref);
  g_autofree char *name = NULL;
  AvatarDevice *self;

  for (guint i = 0; names[i]; i++) {
    AvatarDevice *member = avatar_device_open_with (names[i], find, error);

    if (!member)
      return NULL;
    g_ptr_array_add (members, member);
  }
  if (!check_members (members, error))
    return NULL;
  if (members->len == 1)
    return avatar_device_ref (g_ptr_array_index (members, 0));
  name = join_texts (members, "+", avatar_device_get_name);
  g_mutex_lock (&devices_lock);
  self = g_hash_table_lookup (devices, name);
  if (self)
    self->refs++;
  else
    self = group_new (g_steal_pointer (&members), g_steal_pointer (&name));
  g_mutex_unlock (&devices_lock);
  return self;
}

/* Opens the group @name. */
static AvatarDevice *
open_group (const char *name, AvatarBackendFindFunc find, GError **error)
{
  g_auto (GStrv) names = avatar_device_name_split (name, find, error);

  return names ? open_members (names, find, error) : NULL;
}

AvatarDevice *
avatar_device_open_with (const char *name, AvatarBackendFindFunc find, GError **error)
{
  AvatarDevice *self;

  if (!name || strcmp (name, "auto") == 0) {
    self = avatar_device_open_with ("cuda", find, NULL);
    return self ? self : avatar_device_open_with ("cpu", find, error);
  }
  if (avatar_device_name_is_group (name))
    return open_group (name, find, error);
  if (strcmp (name, "cuda") == 0)
    name = "cuda:0";
  g_mutex_lock (&devices_lock);
  if (!devices)
    devices = g_hash_table_new (g_str_hash, g_str_equal);
  self = g_hash_table_lookup (devices, name);
  if (self)
    self->refs++;
  else
    self = device_new (name, find, error);
  g_mutex_unlock (&devices_lock);
  return self;
}

guint
avatar_device_get_n_members (AvatarDevice *self)
{
  return self->members ? self->members->len : 1;
}

AvatarDevice *
avatar_device_get_member (AvatarDevice *self, guint i)
{
  g_return_val_if_fail (i < avatar_device_get_n_members (self), NULL);
  return self->members ? g_ptr_array_index (self->members, i) : self;
}

AvatarDevice *
avatar_device_ref (AvatarDevice *self)
{
  g_mutex_lock (&devices_lock);
  self->refs++;
  g_mutex_unlock (&devices_lock);
  return self;
}

void
avatar_device_unref (AvatarDevice *self)
{
  gboolean last;

  g_mutex_lock (&devices_lock);
  last = --self->refs == 0;
  if (last && self->key && g_hash_table_lookup (devices, self->key) == self)
    g_hash_table_remove (devices, self->key);
  g_mutex_unlock (&devices_lock);
  if (!last)
    return;
  if (self->attached)
    self->free_attached (self->attached);
  if (self->members) {
    g_ptr_array_unref (self->members);
  } else {
    avatar_turns_free (self->turns);
    self->backend->close (self->handle);
  }
  g_mutex_clear (&self->lock);
  g_free (self->description);
  g_free (self->key);
  g_free (self);
}

AvatarTurns *
avatar_device_get_turns (AvatarDevice *self)
{
  return leader (self)->turns;
}

gpointer
avatar_device_get_attached (AvatarDevice *self, gpointer (*create) (AvatarDevice *device),
    GDestroyNotify free)
{
  g_autoptr (GMutexLocker) locker = NULL;

  self = leader (self);
  locker = g_mutex_locker_new (&self->lock);
  if (!self->attached) {
    self->attached = create (self);
    self->free_attached = free;
  }
  return self->attached;
}

const char *
avatar_device_get_name (AvatarDevice *self)
{
  return self->key ? self->key : self->backend->name;
}

const char *
avatar_device_get_description (AvatarDevice *self)
{
  return self->description;
}

const AvatarBackend *
avatar_device_get_backend (AvatarDevice *self)
{
  return self->backend;
}

AvatarBackendDevice *
avatar_device_get_handle (AvatarDevice *self)
{
  return self->handle;
}

AvatarFlopCounts
avatar_device_get_flop_counts (AvatarDevice *self)
{
  if (!self->backend->get_flop_counts)
    return (AvatarFlopCounts){ 0 };
  return self->backend->get_flop_counts (self->handle);
}

guint64
avatar_device_get_allocation_size (AvatarDevice *self, guint64 bytes)
{
  return self->backend->discrete ? (bytes + PAGE - 1) / PAGE * PAGE : bytes;
}

void *
avatar_device_memory_new (AvatarDevice *self, gsize bytes, const char *what, GError **error)
{
  void *memory;

  self = leader (self);
  bytes = avatar_device_get_allocation_size (self, bytes);
  if (!avatar_ledger_add (self, bytes, what, error))
    return NULL;
  memory = self->backend->memory_new (self->handle, bytes);
  if (!memory) {
    avatar_ledger_remove (self, bytes);
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s: found less than the needed %.1f MiB free on %s; close other programs or choose a "
        "smaller video",
        what, bytes / MIB, avatar_device_get_name (self));
  }
  return memory;
}

void
avatar_device_memory_free (AvatarDevice *self, void *memory, gsize bytes)
{
  if (!memory)
    return;
  bytes = avatar_device_get_allocation_size (self, bytes);
  self->backend->memory_free (self->handle, memory, bytes);
  avatar_ledger_remove (self, bytes);
}

/* Returns the sums over the members of a group. */
static AvatarMemory
sum_members (AvatarDevice *self)
{
  AvatarMemory sum = { 0 }, memory;

  for (guint i = 0; i < self->members->len; i++) {
    avatar_device_get_memory (g_ptr_array_index (self->members, i), &memory);
    sum.now += memory.now;
    sum.peak += memory.peak;
    sum.budget += memory.budget;
  }
  return sum;
}

void
avatar_device_get_memory (AvatarDevice *self, AvatarMemory *memory)
{
  if (self->members) {
    *memory = sum_members (self);
    return;
  }
  g_mutex_lock (&self->lock);
  *memory = self->memory;
  g_mutex_unlock (&self->lock);
}

void
avatar_device_set_budget (AvatarDevice *self, guint64 bytes)
{
  for (guint i = 0; self->members && i < self->members->len; i++)
    avatar_device_set_budget (g_ptr_array_index (self->members, i), bytes);
  g_mutex_lock (&self->lock);
  self->memory.budget = bytes;
  g_mutex_unlock (&self->lock);
}

guint64
avatar_device_get_excess_bytes (AvatarDevice *self)
{
  guint64 excess = 0;

  self = leader (self);
  g_mutex_lock (&self->lock);
  if (self->memory.budget && self->memory.now > self->memory.budget)
    excess = self->memory.now - self->memory.budget;
  g_mutex_unlock (&self->lock);
  return excess;
}

gboolean
avatar_device_check_budget (AvatarDevice *self, GError **error)
{
  guint64 excess = avatar_device_get_excess_bytes (self);
  AvatarMemory memory;

  if (excess == 0)
    return TRUE;
  self = leader (self);
  avatar_device_get_memory (self, &memory);
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
      "the budget of %s was lowered to %.0f MiB, and %.0f MiB are missing for what cannot be "
      "evicted; raise it to at least %.0f MiB",
      avatar_device_get_name (self), memory.budget / MIB, ceil (excess / MIB),
      ceil (memory.now / MIB));
  return FALSE;
}

guint64
avatar_device_get_available_bytes (AvatarDevice *self)
{
  guint64 available = G_MAXUINT64, free_bytes, total;

  self = leader (self);
  g_mutex_lock (&self->lock);
  if (self->memory.budget)
    available = self->memory.budget - MIN (self->memory.budget, self->memory.now);
  g_mutex_unlock (&self->lock);
  if (avatar_device_get_memory_info (self, &free_bytes, &total))
    available = MIN (available, free_bytes);
  return available;
}

gboolean
avatar_device_get_memory_info (AvatarDevice *self, guint64 *free_bytes, guint64 *total_bytes)
{
  if (self->backend->discrete)
    self->backend->memory_info (self->handle, free_bytes, total_bytes);
  return self->backend->discrete;
}

guint64
avatar_device_get_reserve_bytes (AvatarDevice *self)
{
  guint64 free_bytes, total;

  if (!avatar_device_get_memory_info (self, &free_bytes, &total))
    return 0;
  return MIN (RESERVE, total / RESERVE_DIVISOR);
}

AvatarDevice *
avatar_device_or_host (AvatarDevice *self, GError **error)
{
  if (!self->backend->discrete)
    return avatar_device_ref (self);
  return avatar_device_open_with ("cpu", self->find, error);
}

gboolean
avatar_ledger_add (AvatarDevice *self, guint64 bytes, const char *what, GError **error)
{
  guint64 now, budget;
  gboolean fits;

  self = leader (self);
  g_mutex_lock (&self->lock);
  now = self->memory.now;
  budget = self->memory.budget;
  fits = budget == 0 || bytes <= budget - MIN (now, budget);
  if (fits) {
    self->memory.now += bytes;
    self->memory.peak = MAX (self->memory.peak, self->memory.now);
  }
  g_mutex_unlock (&self->lock);
  if (!fits)
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "%s needs %.1f MiB on %s in addition to the %.1f MiB in use, but the budget is %.1f MiB; "
        "raise it to %.1f MiB or choose a smaller video",
        what, bytes / MIB, avatar_device_get_name (self), now / MIB, budget / MIB,
        (now + bytes) / MIB);
  return fits;
}

void
avatar_ledger_remove (AvatarDevice *self, guint64 bytes)
{
  self = leader (self);
  g_mutex_lock (&self->lock);
  g_warn_if_fail (self->memory.now >= bytes);
  self->memory.now -= MIN (bytes, self->memory.now);
  g_mutex_unlock (&self->lock);
}
