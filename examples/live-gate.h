/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Element that feeds encoded video and audio to an output that may be missing for a while. Used by
 * live-output.c. */
#pragma once
#include <gst/gst.h>

G_BEGIN_DECLS

#define AVATAR_TYPE_LIVE_GATE (avatar_live_gate_get_type ())
G_DECLARE_FINAL_TYPE (AvatarLiveGate, avatar_live_gate, AVATAR, LIVE_GATE, GstElement)

/* Adds the sink pad "video" or "audio", at most once each. Returns its source pad in @src. */
GstPad *avatar_live_gate_add_pads (AvatarLiveGate *self, const char *name, GstPad **src);

/* Begins to pass buffers on, from the next key frame of the video, which is requested. */
void avatar_live_gate_open (AvatarLiveGate *self);

/* Begins to drop buffers. A push in progress ends when the element behind the gate stops. */
void avatar_live_gate_close (AvatarLiveGate *self);

/* Returns TRUE if all streams have ended. */
gboolean avatar_live_gate_is_eos (AvatarLiveGate *self);

/* Returns for how long the longest push in progress has waited (us), or 0. */
gint64 avatar_live_gate_get_blocked (AvatarLiveGate *self);

/* Returns TRUE if a buffer has arrived. The first ones wait until the gate is opened or closed. */
gboolean avatar_live_gate_has_data (AvatarLiveGate *self);

G_END_DECLS
