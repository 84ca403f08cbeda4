/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Store of weights in the host's memory that are used once, one group after the other. A single
 * buffer has the size of the largest group; acquiring a group packs it into this buffer. */
#pragma once

#include "engine/weights/weight-store.h"

G_BEGIN_DECLS

/**
 * avatar_host_streamer_new:
 * @device: a device whose memory is the host's
 * @groups: array of AvatarWeightGroup of avatar_pack_plan(); must outlive the store
 *
 * Allocates the buffer and the memory of the fixed tensors, and packs the fixed tensors.
 *
 * Returns: (transfer full): the store, or %NULL with @error
 */
AvatarWeightStore *avatar_host_streamer_new (AvatarDevice *device, GArray *groups, GError **error);
/* Returns: memory that the store of @groups allocates, in bytes. */
guint64 avatar_host_streamer_bytes (GArray *groups);

G_END_DECLS
