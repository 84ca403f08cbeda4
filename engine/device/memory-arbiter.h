/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stages of one device that need more memory together than its budget take turns: who computes may
 * ask those who do not for what they hold. */
#pragma once

#include "engine/device/ledger.h"

G_BEGIN_DECLS

/* A stage on a device that holds memory which it could get anew. */
typedef struct _AvatarTenant AvatarTenant;

typedef enum
{
  AVATAR_YIELD_DONE, /* it was given back; or there was nothing */
  AVATAR_YIELD_BUSY, /* it is in use */
} AvatarYield;

/* Gives back what can be got anew at once or, if @all, at some cost. Called from the thread of another
 * stage; must not wait for the stage's own work, but for nothing else may it return BUSY. */
typedef AvatarYield (*AvatarYieldFunc) (gpointer stage, gboolean all);

AvatarTenant *avatar_tenant_new (AvatarDevice *device, AvatarYieldFunc yield, gpointer stage);
/* Waits for a call of the function that is going on. */
void avatar_tenant_free (AvatarTenant *self);
/* Whether the stage holds memory that it could give back; nobody waits for one that does not. */
void avatar_tenant_set_holds (AvatarTenant *self, gboolean holds);
/**
 * avatar_tenant_make_room:
 * @best: bytes that the stage, which must hold nothing, would like to take; @least: that will do
 * @cancelled: atomic; ends the waiting
 *
 * Asks other stages for their memory until there is room for @best, and, while there is none for
 * @least, for all of it; where one is at work it gives up what it can do without
 * (avatar_device_get_wanted()), and if that is not enough the call waits until it has done. On return there may be less room than @least, if nobody is left to ask.
 */
void
avatar_tenant_make_room (AvatarTenant *self, guint64 best, guint64 least, const gint *cancelled);
/* Another stage waits for memory: time to give back what is not needed right now. */
gboolean avatar_tenant_is_wanted (AvatarTenant *self);

/* Bytes that stages of @device which wait would like to have beyond what there is room for. */
guint64 avatar_device_get_wanted (AvatarDevice *device);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTenant, avatar_tenant_free)

G_END_DECLS
