/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Custom queries between the elements of a pipeline. They pass through other elements, and may stay
 * unanswered. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/* Downstream, from avatardenoise: the number of latents without which a decoder makes no frame. */
GstQuery *gst_avatar_query_new_need (void);
gboolean gst_avatar_query_is_need (GstQuery *query);
void gst_avatar_query_set_need (GstQuery *query, guint latents);
guint gst_avatar_query_get_need (GstQuery *query);
/* Says that the decoder makes no frame before the end of the window either. */
void gst_avatar_query_set_need_window (GstQuery *query);
gboolean gst_avatar_query_needs_window (GstQuery *query);

/* Portions of a stream of features, in video frames: the first one, and each later one. */
typedef struct
{
  guint first, further;
} GstAvatarPortions;

/* Downstream, from avataraudioenc: the features that a window of the denoiser needs. Upstream, from
 * avatardenoise: the features that come at once. Returns %FALSE if nobody answers. */
gboolean gst_avatar_query_portions (GstPad *pad, GstAvatarPortions *portions);
/* Answers that query. %FALSE: another query. */
gboolean gst_avatar_query_answer_portions (GstQuery *query, const GstAvatarPortions *portions);

/**
 * gst_avatar_query_upstream_failed:
 * @sinkpad: sink pad of the element that asks
 *
 * Asks upstream at EOS if an element has posted an error for this stream. An EOS that follows an
 * error must neither start computing nor cause a second error.
 */
gboolean gst_avatar_query_upstream_failed (GstPad *sinkpad);
/* Answers that query on behalf of an element that has failed. %FALSE: another query. */
gboolean gst_avatar_query_answer_failed (GstQuery *query);

G_END_DECLS
