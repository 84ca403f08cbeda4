/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which units of weights are on a discrete device, and bringing the others there in time: fixed
 * slots, a thread that feeds them, and as many resident units as there is room for. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/placement.h"

G_BEGIN_DECLS

typedef struct _AvatarResidency AvatarWeightStreamer;

/* @units: see avatar_pack_plan(); must outlive it. Starts nothing. */
AvatarWeightStreamer *
avatar_weight_streamer_new (AvatarDevice *device, GArray *units, guint64 pinned_bytes);
/* What runs on the device must be done. */
void avatar_weight_streamer_free (AvatarWeightStreamer *self);
/* The fixed tensors, once. */
gboolean avatar_weight_streamer_load_fixed (AvatarWeightStreamer *self, GError **error);
gboolean avatar_weight_streamer_set_schedule (AvatarWeightStreamer *self, AvatarOps *ops,
    const AvatarWeightSchedule *route, GError **error);
/* Gives the memory of the route back; a new one must be set before units are entered. What runs on the
 * device must be done. */
void avatar_weight_streamer_drop_schedule (AvatarWeightStreamer *self);
void avatar_weight_streamer_acquire (AvatarWeightStreamer *self, AvatarOps *ops, guint unit);
void avatar_weight_streamer_release (AvatarWeightStreamer *self, AvatarOps *ops, guint unit);
/* Where the image of @unit lies on the device, and its scratch; %NULL unless it was entered. */
guint8 *avatar_weight_streamer_memory (AvatarWeightStreamer *self, guint unit, guint8 **scratch);

void
avatar_weight_streamer_get_stats (AvatarWeightStreamer *self, AvatarWeightStreamerStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeightStreamer, avatar_weight_streamer_free)

G_END_DECLS
