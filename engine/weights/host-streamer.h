/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights that are used once, one unit after the other, where memory is the host's: a single place,
 * into which each unit is converted when it is entered. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/weights/pack.h"

G_BEGIN_DECLS

typedef struct _AvatarSlot AvatarHostStreamer;

/* @units: see avatar_pack_plan(); must outlive it. Takes memory for the largest unit and for the fixed
 * tensors, which are read. */
AvatarHostStreamer *avatar_host_streamer_new (AvatarDevice *device, GArray *units, GError **error);
void avatar_host_streamer_free (AvatarHostStreamer *self);
/* What it takes. */
guint64 avatar_host_streamer_bytes (GArray *units);
/* Failures are kept in @ops. */
void avatar_host_streamer_acquire (AvatarHostStreamer *self, AvatarOps *ops, guint unit);
void avatar_host_streamer_release (AvatarHostStreamer *self, guint unit);
/* Where the image of @unit lies; %NULL unless it was entered. */
guint8 *avatar_host_streamer_memory (AvatarHostStreamer *self, guint unit);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarHostStreamer, avatar_host_streamer_free)

G_END_DECLS
