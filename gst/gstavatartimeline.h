/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Part of avatarbin: a live source with a sink pad, which makes audio without gaps from a source
 * that may pause, start again, jump in time, or end. */
#pragma once

#include <gst/base/base.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_TIMELINE (gst_avatar_timeline_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarTimeline, gst_avatar_timeline, GST, AVATAR_TIMELINE, GstPushSrc)

/* Returns: (transfer floating) (nullable): a bin with the pads "sink" and "src", or %NULL with
 * @error if an element is missing. The sink pad takes any raw audio. */
GstElement *gst_avatar_timeline_new (GError **error);

/* Lets @bin, made by gst_avatar_timeline_new(), output the audio that it has received, then EOS.
 * Returns at once. From any thread. */
void gst_avatar_timeline_end (GstElement *bin);

G_END_DECLS
