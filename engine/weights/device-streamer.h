/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Store of weights on a discrete device. Keeps as many weight groups resident as fit into the
 * budget, and copies the others to the device shortly before they are used. */
#pragma once

#include "engine/weights/weight-store.h"

G_BEGIN_DECLS

/**
 * avatar_device_streamer_new:
 * @device: a discrete device
 * @groups: array of AvatarWeightGroup of avatar_pack_plan(); must outlive the store
 * @pinned_bytes: limit of the page-locked host memory that keeps packed buffers of streamed groups;
 *   buffers beyond it are packed again for each copy
 *
 * Allocates and fills the memory of the fixed tensors. Slots and residents are allocated when a
 * schedule is set, and the upload thread is started then.
 *
 * Returns: (transfer full): the store, or %NULL with @error: AVATAR_ERROR_MEMORY if the budget is
 * too small, AVATAR_ERROR_READ or AVATAR_ERROR_FORMAT if the fixed tensors cannot be packed,
 * AVATAR_ERROR_DEVICE
 */
AvatarWeightStore *avatar_device_streamer_new (AvatarDevice *device, GArray *groups,
    guint64 pinned_bytes, GError **error);

G_END_DECLS
