/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A bounded queue of buffers and events: see the header. */
#include "gst/gstavataritemqueue.h"

void
gst_avatar_item_queue_init (GstAvatarItemQueue *queue, guint max_buffers)
{
  g_mutex_init (&queue->lock);
  g_cond_init (&queue->cond);
  g_queue_init (&queue->items);
  queue->n_buffers = 0;
  queue->max_buffers = max_buffers;
  queue->busy = FALSE;
  queue->state = GST_FLOW_FLUSHING;
}

void
gst_avatar_item_queue_set_max_buffers (GstAvatarItemQueue *queue, guint max_buffers)
{
  g_mutex_lock (&queue->lock);
  queue->max_buffers = max_buffers;
  g_cond_broadcast (&queue->cond);
  g_mutex_unlock (&queue->lock);
}

void
gst_avatar_item_queue_clear (GstAvatarItemQueue *queue)
{
  gst_avatar_item_queue_set_state (queue, GST_FLOW_FLUSHING, NULL);
  g_mutex_clear (&queue->lock);
  g_cond_clear (&queue->cond);
}

GstFlowReturn
gst_avatar_item_queue_push (GstAvatarItemQueue *queue, GstMiniObject *item)
{
  GstFlowReturn state;

  g_mutex_lock (&queue->lock);
  while (
      queue->state == GST_FLOW_OK && GST_IS_BUFFER (item) && queue->n_buffers >= queue->max_buffers)
    g_cond_wait (&queue->cond, &queue->lock);
  state = queue->state;
  if (state == GST_FLOW_OK) {
    g_queue_push_tail (&queue->items, item);
    queue->n_buffers += GST_IS_BUFFER (item) ? 1 : 0;
    g_cond_broadcast (&queue->cond);
  }
  g_mutex_unlock (&queue->lock);
  if (state != GST_FLOW_OK)
    gst_mini_object_unref (item);
  return state;
}

GstMiniObject *
gst_avatar_item_queue_pop (GstAvatarItemQueue *queue)
{
  GstMiniObject *item = NULL;

  g_mutex_lock (&queue->lock);
  queue->busy = FALSE;
  g_cond_broadcast (&queue->cond);
  while (queue->state == GST_FLOW_OK && g_queue_is_empty (&queue->items))
    g_cond_wait (&queue->cond, &queue->lock);
  if (queue->state == GST_FLOW_OK) {
    item = g_queue_pop_head (&queue->items);
    queue->n_buffers -= GST_IS_BUFFER (item) ? 1 : 0;
    queue->busy = TRUE;
    g_cond_broadcast (&queue->cond);
  }
  g_mutex_unlock (&queue->lock);
  return item;
}

GstFlowReturn
gst_avatar_item_queue_wait_idle (GstAvatarItemQueue *queue)
{
  GstFlowReturn state;

  g_mutex_lock (&queue->lock);
  while (queue->state == GST_FLOW_OK && (queue->busy || !g_queue_is_empty (&queue->items)))
    g_cond_wait (&queue->cond, &queue->lock);
  state = queue->state;
  g_mutex_unlock (&queue->lock);
  return state;
}

/* Sticky events that upstream does not send again after a flush. */
static gboolean
describes_stream (GstMiniObject *item)
{
  if (!GST_IS_EVENT (item) || !GST_EVENT_IS_STICKY (item))
    return FALSE;
  return GST_EVENT_TYPE (item) != GST_EVENT_SEGMENT && GST_EVENT_TYPE (item) != GST_EVENT_EOS
      && GST_EVENT_TYPE (item) != GST_EVENT_CAPS;
}

void
gst_avatar_item_queue_set_state (GstAvatarItemQueue *queue, GstFlowReturn state, GstPad *keep)
{
  GQueue dropped = G_QUEUE_INIT;
  GstMiniObject *item;

  g_mutex_lock (&queue->lock);
  queue->state = state;
  queue->busy = FALSE;
  if (state != GST_FLOW_OK) {
    dropped = queue->items;
    g_queue_init (&queue->items);
    queue->n_buffers = 0;
  }
  g_cond_broadcast (&queue->cond);
  g_mutex_unlock (&queue->lock);

  while ((item = g_queue_pop_head (&dropped))) {
    if (keep && describes_stream (item))
      gst_pad_store_sticky_event (keep, GST_EVENT (item));
    gst_mini_object_unref (item);
  }
}
