/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scratch memory of a host device, shared by stages that compute one after the other: several
 * decoders on one device need no more memory for activations than the largest of them. All
 * functions are thread-safe. */
#pragma once

#include "engine/device/ledger.h"

G_BEGIN_DECLS

typedef struct _AvatarScratch AvatarScratch;

/* Returns: (transfer none): the scratch memory of @device, which lives as long as the device. */
AvatarScratch *avatar_device_get_scratch (AvatarDevice *device);

/* Returns the current size in bytes. */
gsize avatar_scratch_get_size (AvatarScratch *self);
/* Makes the caller a member, for which at least @bytes are kept until avatar_scratch_leave().
 * Blocks while another member has acquired the memory. @what names the purpose in error messages.
 * Returns %FALSE with AVATAR_ERROR_MEMORY if the memory cannot grow to @bytes. */
gboolean avatar_scratch_join (AvatarScratch *self, gsize bytes, const char *what, GError **error);
/* Ends the membership; the last member frees the memory. */
void avatar_scratch_leave (AvatarScratch *self);
/* Acquires the memory for the calling member alone, until avatar_scratch_release(). Returns it,
 * 256-byte aligned, with undefined contents. Blocks while another member has it; returns %NULL if
 * *@cancelled (atomic) is set meanwhile. */
void *avatar_scratch_acquire (AvatarScratch *self, const gint *cancelled);
void avatar_scratch_release (AvatarScratch *self);

G_END_DECLS
