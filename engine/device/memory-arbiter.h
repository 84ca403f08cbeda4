/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stages of one device that need more memory together than its budget take turns: who computes may
 * ask those who do not for what they hold. */
#pragma once

#include "engine/device/ledger.h"

G_BEGIN_DECLS

/* A stage on a device that holds memory which it could get anew. */
typedef struct _AvatarMemoryClient AvatarMemoryClient;

typedef enum
{
  AVATAR_RECLAIM_DONE, /* it was given back; or there was nothing */
  AVATAR_RECLAIM_BUSY, /* it is in use */
} AvatarReclaimResult;

/* Gives back what can be got anew at once or, if @all, at some cost. Called from the thread of another
 * stage; must not wait for the stage's own work, but for nothing else may it return BUSY. */
typedef AvatarReclaimResult (*AvatarReclaimFunc) (gpointer stage, gboolean all);

AvatarMemoryClient *
avatar_memory_client_new (AvatarDevice *device, AvatarReclaimFunc yield, gpointer stage);
/* Waits for a call of the function that is going on. */
void avatar_memory_client_free (AvatarMemoryClient *self);
/* Whether the stage holds memory that it could give back; nobody waits for one that does not. */
void avatar_memory_client_set_reclaimable (AvatarMemoryClient *self, gboolean holds);
/**
 * avatar_memory_client_request:
 * @best: bytes that the stage, which must hold nothing, would like to take; @least: that will do
 * @cancelled: atomic; ends the waiting
 *
 * Asks other stages for their memory until there is room for @best, and, while there is none for
 * @least, for all of it; where one is at work it gives up what it can do without
 * (avatar_device_get_pending_bytes()), and if that is not enough the call waits until it has done. On return there may be less room than @least, if nobody is left to ask.
 */
void avatar_memory_client_request (AvatarMemoryClient *self, guint64 best, guint64 least,
    const gint *cancelled);
/* Another stage waits for memory: time to give back what is not needed right now. */
gboolean avatar_memory_client_has_waiters (AvatarMemoryClient *self);

/* Bytes that stages of @device which wait would like to have beyond what there is room for. */
guint64 avatar_device_get_pending_bytes (AvatarDevice *device);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarMemoryClient, avatar_memory_client_free)

G_END_DECLS
