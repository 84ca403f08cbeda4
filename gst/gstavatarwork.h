/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue between avatardenoise's sink pad and its task: buffers and serialized events in order,
 * bounded in buffers, woken by a flush. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct
{
  GMutex lock;
  GCond cond;
  GQueue items; /* of GstMiniObject */
  guint n_buffers, max_buffers;
  GstFlowReturn state; /* OK, FLUSHING, or why the task has given up */
} GstAvatarWork;

void gst_avatar_work_init (GstAvatarWork *work, guint max_buffers);
void gst_avatar_work_clear (GstAvatarWork *work);
/* Takes @item; waits for room if it is a buffer. What is not OK is the answer to upstream. */
GstFlowReturn gst_avatar_work_push (GstAvatarWork *work, GstMiniObject *item);
/* Waits for an item; %NULL once the state is not OK. */
GstMiniObject *gst_avatar_work_pop (GstAvatarWork *work);
/* OK: starts afresh. Else: wakes everybody and drops all items; sticky events that describe the
 * stream are kept on @keep. */
void gst_avatar_work_set_state (GstAvatarWork *work, GstFlowReturn state, GstPad *keep);

G_END_DECLS
