/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The memory arbiter: lets stages of one device, which together need more memory than the budget,
 * use it one after the other. A stage that needs memory asks the other stages to release what they
 * can allocate again later. All functions are thread-safe. */
#pragma once

#include "engine/device/ledger.h"

G_BEGIN_DECLS

/* A stage on a device, as the arbiter knows it. */
typedef struct _AvatarMemoryClient AvatarMemoryClient;

typedef enum
{
  AVATAR_RECLAIM_DONE, /* the memory was released, or there was none */
  AVATAR_RECLAIM_BUSY, /* the memory is in use; ask again later */
} AvatarReclaimResult;

typedef enum
{
  AVATAR_RECLAIM_CHEAP, /* memory that is cheap to recreate */
  AVATAR_RECLAIM_ALL,   /* everything that can be recreated */
} AvatarReclaimMode;

/* Releases memory of @stage. Called from the thread of another stage. It must not block on the
 * stage's own work, and returns AVATAR_RECLAIM_BUSY only while that work is running. */
typedef AvatarReclaimResult (*AvatarReclaimFunc) (gpointer stage, AvatarReclaimMode mode);

/* Registers @stage with the arbiter of @device. @reclaim is called with @stage. */
AvatarMemoryClient *
avatar_memory_client_new (AvatarDevice *device, AvatarReclaimFunc reclaim, gpointer stage);
/* Removes the client. Blocks until a running call of its reclaim function returns. @self may be
 * %NULL. */
void avatar_memory_client_free (AvatarMemoryClient *self);
/* Sets whether the stage holds memory that it can release. Other stages neither ask nor wait for a
 * stage that does not. */
void avatar_memory_client_set_reclaimable (AvatarMemoryClient *self, gboolean reclaimable);
/**
 * avatar_memory_client_request:
 * @self: the client of a stage that holds no memory itself
 * @preferred_bytes: the bytes that the stage would like to allocate
 * @min_bytes: the bytes that it cannot do without
 * @cancelled: (atomic): ends the wait when set
 *
 * Asks the other stages of the device to release memory that is cheap to recreate, until
 * @preferred_bytes are available, and all of their memory while @min_bytes are not. A busy stage
 * evicts what it can (see avatar_device_get_pending_bytes()); if that is not enough, the call waits
 * until the stage has finished its work.
 *
 * Nothing is allocated. When the call returns, less than @min_bytes may be available, if no other
 * stage has memory to release.
 */
void avatar_memory_client_request (AvatarMemoryClient *self, guint64 preferred_bytes,
    guint64 min_bytes, const gint *cancelled);
/* Returns %TRUE while another stage waits for memory: the stage should release what it does not
 * need at the moment. */
gboolean avatar_memory_client_has_waiters (AvatarMemoryClient *self);

/* Returns the bytes that waiting stages of @device have requested beyond what is available. */
guint64 avatar_device_get_pending_bytes (AvatarDevice *device);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarMemoryClient, avatar_memory_client_free)

G_END_DECLS
