/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A queue between a pad and a task: buffers and serialized events in order. The number of
 * buffers is bounded; a flush wakes both sides. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct
{
  GMutex lock;
  GCond cond;
  GQueue items; /* GstMiniObject */
  guint n_buffers, max_buffers;
  gboolean busy;       /* the item that was popped last is still being processed */
  GstFlowReturn state; /* OK, FLUSHING, or the reason why the task has stopped */
} GstAvatarItemQueue;

void gst_avatar_item_queue_init (GstAvatarItemQueue *queue, guint max_buffers);
void gst_avatar_item_queue_clear (GstAvatarItemQueue *queue);
void gst_avatar_item_queue_set_max_buffers (GstAvatarItemQueue *queue, guint max_buffers);
/* Takes ownership of @item. If it is a buffer, waits until the queue is not full. Returns the
 * state, which is the flow return for upstream. */
GstFlowReturn gst_avatar_item_queue_push (GstAvatarItemQueue *queue, GstMiniObject *item);
/* Marks the previous item as processed and waits for the next. Returns %NULL if the state is not
 * OK. */
GstMiniObject *gst_avatar_item_queue_pop (GstAvatarItemQueue *queue);
/* Waits until all items are processed or the state is not OK. Returns the state. */
GstFlowReturn gst_avatar_item_queue_wait_idle (GstAvatarItemQueue *queue);
/* OK restarts the queue. Any other state wakes all waiting threads and drops all items, except that
 * sticky events that describe the stream are stored on @keep. */
void gst_avatar_item_queue_set_state (GstAvatarItemQueue *queue, GstFlowReturn state, GstPad *keep);

G_END_DECLS
