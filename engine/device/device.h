/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions of a device that are private to the engine: its back-end, memory and budget. All are
 * thread-safe. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/device/backend.h"
#include "engine/device/turns.h"

G_BEGIN_DECLS

/* Returns the back-end of the device @name ("cpu", "cuda:1"), or %NULL with @error set. */
typedef const AvatarBackend *(*AvatarBackendFindFunc) (const char *name, GError **error);

/* Opens a device as avatar_device_open() does, with a back-end that @find returns. @find must be
 * the same function in all calls.
 * Returns: (transfer full): the device, or %NULL with @error set. */
AvatarDevice *
avatar_device_open_with (const char *name, AvatarBackendFindFunc find, GError **error);
/* Returns: (transfer none): the back-end and its handle of @device. */
const AvatarBackend *avatar_device_get_backend (AvatarDevice *device);
AvatarBackendDevice *avatar_device_get_handle (AvatarDevice *device);
/* Returns: (transfer none): the turns of stages that compute on @device. */
AvatarTurns *avatar_device_get_turns (AvatarDevice *device);
/* Returns: (transfer none): the object attached to @device. The first call makes it with @create;
 * it is destroyed with @free when the device is freed. A device has one such object. */
gpointer avatar_device_get_attached (AvatarDevice *device,
    gpointer (*create) (AvatarDevice *device), GDestroyNotify free);
/* Returns the operations that the back-end has counted since @device was opened; zeros for a
 * back-end that computes. */
AvatarFlopCounts avatar_device_get_flop_counts (AvatarDevice *device);

/* Allocates @bytes of device memory and adds them to the ledger. @what names the purpose in error
 * messages. Returns %NULL with AVATAR_ERROR_MEMORY if the budget or the device does not suffice. */
void *
avatar_device_memory_new (AvatarDevice *device, gsize bytes, const char *what, GError **error);
/* Frees @memory (nullable) and removes it from the ledger; @bytes as at its allocation. */
void avatar_device_memory_free (AvatarDevice *device, void *memory, gsize bytes);
/* Returns the bytes that an allocation of @bytes occupies: a GPU allocates whole pages. */
guint64 avatar_device_get_allocation_size (AvatarDevice *device, guint64 bytes);

/* Returns the bytes that can be allocated now within the budget and the free memory of the device;
 * G_MAXUINT64 if neither is known. */
guint64 avatar_device_get_available_bytes (AvatarDevice *device);
/* Returns the bytes by which the allocations exceed the budget, after it was lowered. */
guint64 avatar_device_get_excess_bytes (AvatarDevice *device);
/* Returns %FALSE with AVATAR_ERROR_MEMORY if the allocations exceed the budget. Called by a stage
 * that has nothing left to evict. */
gboolean avatar_device_check_budget (AvatarDevice *device, GError **error);
/* Returns the bytes of free memory that a discrete device keeps for other programs. Resident
 * weights are evicted when less is free. 0 for other devices. */
guint64 avatar_device_get_reserve_bytes (AvatarDevice *device);
/* Asks the driver for the free and the total memory. Returns %FALSE and leaves both unset if
 * @device is not discrete. */
gboolean
avatar_device_get_memory_info (AvatarDevice *device, guint64 *free_bytes, guint64 *total_bytes);
/* Returns: (transfer full): the device for a stage that computes on the host only (the audio
 * encoder): a CPU device if @device is discrete, else @device. */
AvatarDevice *avatar_device_or_host (AvatarDevice *device, GError **error);

G_END_DECLS
