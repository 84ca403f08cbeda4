/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The queue in front of a task, as between avatardenoise's sink pad and its task: buffers and
 * serialized events in order, bounded in buffers, woken by a flush. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct
{
  GMutex lock;
  GCond cond;
  GQueue items; /* of GstMiniObject */
  guint n_buffers, max_buffers;
  gboolean busy;       /* what was popped last is still worked on */
  GstFlowReturn state; /* OK, FLUSHING, or why the task has given up */
} GstAvatarWork;

void gst_avatar_work_init (GstAvatarWork *work, guint max_buffers);
void gst_avatar_work_clear (GstAvatarWork *work);
void gst_avatar_work_set_max_buffers (GstAvatarWork *work, guint max_buffers);
/* Takes @item; waits for room if it is a buffer. What is not OK is the answer to upstream. */
GstFlowReturn gst_avatar_work_push (GstAvatarWork *work, GstMiniObject *item);
/* Waits for an item; %NULL once the state is not OK. Says, too, that the one before is done. */
GstMiniObject *gst_avatar_work_pop (GstAvatarWork *work);
/* Waits until all items are done, or until the state is not OK, and returns the state. */
GstFlowReturn gst_avatar_work_wait_idle (GstAvatarWork *work);
/* OK: starts afresh. Else: wakes everybody and drops all items; sticky events that describe the
 * stream are kept on @keep. */
void gst_avatar_work_set_state (GstAvatarWork *work, GstFlowReturn state, GstPad *keep);

G_END_DECLS
