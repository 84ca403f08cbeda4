/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A device computes: "cpu" now, others as modules. It owns the ledger in which every byte that a
 * stage holds on it is entered. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

typedef struct _AvatarDevice AvatarDevice;

/**
 * AvatarMemory:
 * @now: bytes held now (weights, arenas, buffers of all stages on the device)
 * @peak: highest value of @now since the device was opened
 * @budget: the ceiling; 0 = none
 */
typedef struct
{
  guint64 now;
  guint64 peak;
  guint64 budget;
} AvatarMemory;

/**
 * avatar_device_open:
 * @name: "cpu", "cuda" or "cuda:N" (the N-th GPU), or "auto" for the best device there is
 * @error: AVATAR_ERROR_DEVICE if there is no such device
 *
 * Returns: (transfer full): a device, to be released by avatar_device_unref(). Thread-safe.
 */
AVATAR_API AvatarDevice *avatar_device_open (const char *name, GError **error);
AVATAR_API AvatarDevice *avatar_device_ref (AvatarDevice *device);
AVATAR_API void avatar_device_unref (AvatarDevice *device);
AVATAR_API const char *avatar_device_get_name (AvatarDevice *device);
/* e.g. "cpu: oneDNN 2.6.3, avx512, 2 threads" */
AVATAR_API const char *avatar_device_get_description (AvatarDevice *device);
AVATAR_API void avatar_device_get_memory (AvatarDevice *device, AvatarMemory *memory);
/* Ceiling in bytes for everything entered in the ledger; 0 = none. Stages that do not fit are
 * refused when they are made, with the smallest budget that would do. May be changed during a run,
 * from any thread: what was resident beyond it is given up before the next block, and taken back
 * when there is room again; a run that cannot go on with it fails with AVATAR_ERROR_MEMORY. */
AVATAR_API void avatar_device_set_budget (AvatarDevice *device, guint64 bytes);
/**
 * avatar_device_parse_budget:
 * @device: (nullable): %NULL: only the syntax is checked
 * @text: (nullable): MiB as a number ("4096"), a share of the device's memory ("80%"), or "auto"
 *   (%NULL and "" too): what is free on the device now, with what is held already, less a reserve;
 *   on the CPU no ceiling
 * @bytes: (out): for avatar_device_set_budget()
 * @error: AVATAR_ERROR_SETTINGS
 */
AVATAR_API gboolean avatar_device_parse_budget (AvatarDevice *device, const char *text,
    guint64 *bytes, GError **error);
/* The same for #AvatarDenoiseSettings.pinned_bytes: a number may be 0, shares are of the machine's
 * memory, and "auto" is half of it. */
AVATAR_API gboolean avatar_parse_pinned_memory (const char *text, guint64 *bytes, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDevice, avatar_device_unref)

G_END_DECLS
