/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which units of weights are on a discrete device, and bringing the others there in time: fixed
 * slots, a thread that feeds them, and as many resident units as there is room for. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/placement.h"

G_BEGIN_DECLS

typedef struct _AvatarResidency AvatarResidency;

/* @units: see avatar_pack_plan(); must outlive it. @file is for messages. Starts nothing. */
AvatarResidency *
avatar_residency_new (AvatarDevice *device, GArray *units, guint64 pinned_bytes, const char *file);
/* What runs on the device must be done. */
void avatar_residency_free (AvatarResidency *self);
/* The fixed tensors, once. */
gboolean avatar_residency_load_fixed (AvatarResidency *self, GError **error);
gboolean avatar_residency_set_route (AvatarResidency *self, AvatarOps *ops,
    const AvatarRoute *route, GError **error);
/* Gives the memory of the route back; a new one must be set before units are entered. What runs on the
 * device must be done. */
void avatar_residency_drop_route (AvatarResidency *self);
void avatar_residency_enter (AvatarResidency *self, AvatarOps *ops, guint unit);
void avatar_residency_leave (AvatarResidency *self, AvatarOps *ops, guint unit);
/* Where the image of @unit lies on the device, and its scratch; %NULL unless it was entered. */
guint8 *avatar_residency_memory (AvatarResidency *self, guint unit, guint8 **scratch);

void avatar_residency_get_stats (AvatarResidency *self, AvatarResidencyStats *stats);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarResidency, avatar_residency_free)

G_END_DECLS
