/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the engine's own rooms may ask a device for. */
#pragma once

#include "engine/device/ledger.h"
#include "engine/device/backend.h"

G_BEGIN_DECLS

const AvatarBackend *avatar_device_get_backend (AvatarDevice *device);
AvatarBackendDevice *avatar_device_get_handle (AvatarDevice *device);
/* What @create makes when it is first asked for, and @free ends with the device; one for each device.
 * (transfer none) */
gpointer avatar_device_get_attached (AvatarDevice *device,
    gpointer (*create) (AvatarDevice *device), GDestroyNotify free);
/* Work that was counted on @device since it was opened; zeros for a device that does it. */
AvatarFlopCounts avatar_device_get_flop_counts (AvatarDevice *device);
/* Memory of the device, entered in its ledger; %NULL with @error. @what is for messages. */
void *
avatar_device_memory_new (AvatarDevice *device, gsize bytes, const char *what, GError **error);
void avatar_device_memory_free (AvatarDevice *device, void *memory, gsize bytes);
/* Bytes that could be taken now: what budget and driver leave; G_MAXUINT64: nobody knows. */
guint64 avatar_device_get_available_bytes (AvatarDevice *device);

/* Bytes by which what is held exceeds the budget, when that was lowered. */
guint64 avatar_device_get_excess_bytes (AvatarDevice *device);
/* %FALSE: there is such an excess; the error says how much is missing. For whom can give up no
 * more. */
gboolean avatar_device_check_budget (AvatarDevice *device, GError **error);
/* Bytes of a discrete device that are left to others: below, residents are given up. */
guint64 avatar_device_get_reserve_bytes (AvatarDevice *device);
/* What the driver says; %FALSE: not a discrete device, nobody knows. */
gboolean
avatar_device_get_memory_info (AvatarDevice *device, guint64 *free_bytes, guint64 *total_bytes);
/* The device of a stage that computes on the host alone (the audio encoder: 8 million parameters in
 * float32, as upstream has it): @device itself, or a CPU in its place. (transfer full) */
AvatarDevice *avatar_device_or_host (AvatarDevice *device, GError **error);
/* What an allocation of @bytes really takes: a GPU gives whole pages. */
guint64 avatar_device_get_allocation_size (AvatarDevice *device, guint64 bytes);

G_END_DECLS
