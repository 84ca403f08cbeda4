/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers an offer of WebRTC with a pipeline that has webrtcbin "rtc", payloaders "video-pay" and
 * "audio-pay", and filters "video-rtp" and "audio-rtp" after them. */
#pragma once

#include "tools/server/live-session.h"

G_BEGIN_DECLS

/* Checks the offer, and sets the payload types that it has for H.264 and Opus. */
gboolean avatar_live_rtc_prepare (GstElement *pipeline, const char *sdp, AvatarProblem **problem);
/* Makes the answer with all candidates of this machine. @done is called in the main thread. */
void avatar_live_rtc_answer (GstElement *pipeline, const char *sdp, AvatarLiveAnswer done,
    gpointer user_data);
/* Returns the payload type of @encoding in the offer's media of this kind, or -1. */
int avatar_live_rtc_find_payload (const char *sdp, const char *kind, const char *encoding);

G_END_DECLS
