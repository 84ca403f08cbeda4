/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Part of avatarbin: a live mixer that makes audio without gaps from a source that may pause, start
 * again, jump in time, or end. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/* Returns: (transfer floating) (nullable): a bin with the pads "sink" and "src", or %NULL with
 * @error if an element is missing. */
GstElement *gst_avatar_timeline_new (GError **error);
/* Called before READY to PAUSED. */
void gst_avatar_timeline_prepare (GstElement *timeline);
/* Called before PAUSED to PLAYING. @now: running time, at which the output begins if it has not
 * begun yet */
void gst_avatar_timeline_play (GstElement *timeline, GstClockTime now);

G_END_DECLS
