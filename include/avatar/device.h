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
 */
typedef struct
{
  guint64 now;
  guint64 peak;
} AvatarMemory;

/**
 * avatar_device_open:
 * @name: "cpu", or "auto" for the best device there is
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
 * refused when they are made, with the smallest budget that would do. */
AVATAR_API void avatar_device_set_budget (AvatarDevice *device, guint64 bytes);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarDevice, avatar_device_unref)

G_END_DECLS
