/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One piece of a host device's memory for stages that compute one after the other: several decoders
 * on one device take no more memory for activations than the largest of them. */
#pragma once

#include "engine/device/ledger.h"

G_BEGIN_DECLS

typedef struct _AvatarScratch AvatarScratch;

/* The scratch memory of @device, which lives as long as the device. (transfer none) */
AvatarScratch *avatar_device_get_scratch (AvatarDevice *device);

/* Bytes that are there for every member now. */
gsize avatar_scratch_get_size (AvatarScratch *self);
/* Makes the caller a member, for whom @bytes at least are kept until avatar_scratch_leave(). Waits
 * for the member that computes. @what is for messages. %FALSE with @error: there is no such room. */
gboolean avatar_scratch_join (AvatarScratch *self, gsize bytes, const char *what, GError **error);
void avatar_scratch_leave (AvatarScratch *self);
/* The memory, 256-byte aligned, for this member alone until avatar_scratch_release(); its contents are
 * undefined. Waits for other members. %NULL: *@cancelled was set meanwhile (any thread). */
void *avatar_scratch_acquire (AvatarScratch *self, const gint *cancelled);
void avatar_scratch_release (AvatarScratch *self);

G_END_DECLS
