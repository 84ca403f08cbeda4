/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Part of avatarbin: lets video pass, and audio only up to the end of the newest video frame, so
 * that sinks without a clock get both at the same time. It has the pads video_sink, video_src,
 * audio_sink and audio_src. Audio waits in the streaming thread of a queue upstream. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_SYNC (gst_avatar_sync_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarSync, gst_avatar_sync, GST, AVATAR_SYNC, GstElement)

#define GST_AVATAR_SYNC_MAX_LEAD_DEFAULT GST_SECOND

/* Sets and gets the largest time (ns) by which audio may precede video while downstream holds back
 * a frame, as a muxer does that waits for an audio encoder. From any thread. */
void gst_avatar_sync_set_max_lead (GstAvatarSync *self, GstClockTime max_lead);
GstClockTime gst_avatar_sync_get_max_lead (GstAvatarSync *self);

G_END_DECLS
