/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Element "liveoutput": a muxer and a sink that are made anew when they fail, so that a server may
 * go away and come back while the pipeline plays. To use it in an application, copy live-output.c,
 * live-gate.c and their headers; they need gstreamer-1.0 and gstreamer-video-1.0.
 *
 *   liveoutput name=out description="flvmux name=mux streamable=true ! rtmp2sink location=..."
 *
 * Its pads "video" and "audio", of which each exists on request, take encoded streams. They are
 * linked to the elements named "video" and "audio" of the description, or else to "mux". Put a
 * queue without limits before "audio", because audio waits until the video has reached it.
 *
 * Errors of the muxer and the sink become messages of the type GST_MESSAGE_ELEMENT, named
 * "live-output", with the fields
 *   state        string: connecting, connected, lost, ended
 *   reason       string: why the output was lost, else empty
 *   wait         guint64: time until the next attempt if it was lost (ns), else 0
 *   connections  guint: how often a server has taken data so far */
#pragma once
#include <gst/gst.h>

G_BEGIN_DECLS

#define AVATAR_TYPE_LIVE_OUTPUT (avatar_live_output_get_type ())
G_DECLARE_FINAL_TYPE (AvatarLiveOutput, avatar_live_output, AVATAR, LIVE_OUTPUT, GstBin)

/* Makes the element known to this program, after gst_init(). */
gboolean avatar_live_output_register (void);

G_END_DECLS
