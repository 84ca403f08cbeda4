/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A small gstqueue: see the header. */
#include "gst/gstavataritemqueue.h"

void
gst_avatar_work_init (GstAvatarWork *work, guint max_buffers)
{
  g_mutex_init (&work->lock);
  g_cond_init (&work->cond);
  g_queue_init (&work->items);
  work->n_buffers = 0;
  work->max_buffers = max_buffers;
  work->busy = FALSE;
  work->state = GST_FLOW_FLUSHING;
}

void
gst_avatar_work_set_max_buffers (GstAvatarWork *work, guint max_buffers)
{
  g_mutex_lock (&work->lock);
  work->max_buffers = max_buffers;
  g_cond_broadcast (&work->cond);
  g_mutex_unlock (&work->lock);
}

void
gst_avatar_work_clear (GstAvatarWork *work)
{
  gst_avatar_work_set_state (work, GST_FLOW_FLUSHING, NULL);
  g_mutex_clear (&work->lock);
  g_cond_clear (&work->cond);
}

GstFlowReturn
gst_avatar_work_push (GstAvatarWork *work, GstMiniObject *item)
{
  GstFlowReturn state;

  g_mutex_lock (&work->lock);
  while (work->state == GST_FLOW_OK && GST_IS_BUFFER (item) && work->n_buffers >= work->max_buffers)
    g_cond_wait (&work->cond, &work->lock);
  state = work->state;
  if (state == GST_FLOW_OK) {
    g_queue_push_tail (&work->items, item);
    work->n_buffers += GST_IS_BUFFER (item) ? 1 : 0;
    g_cond_broadcast (&work->cond);
  }
  g_mutex_unlock (&work->lock);
  if (state != GST_FLOW_OK)
    gst_mini_object_unref (item);
  return state;
}

GstMiniObject *
gst_avatar_work_pop (GstAvatarWork *work)
{
  GstMiniObject *item = NULL;

  g_mutex_lock (&work->lock);
  work->busy = FALSE;
  g_cond_broadcast (&work->cond);
  while (work->state == GST_FLOW_OK && g_queue_is_empty (&work->items))
    g_cond_wait (&work->cond, &work->lock);
  if (work->state == GST_FLOW_OK) {
    item = g_queue_pop_head (&work->items);
    work->n_buffers -= GST_IS_BUFFER (item) ? 1 : 0;
    work->busy = TRUE;
    g_cond_broadcast (&work->cond);
  }
  g_mutex_unlock (&work->lock);
  return item;
}

GstFlowReturn
gst_avatar_work_wait_idle (GstAvatarWork *work)
{
  GstFlowReturn state;

  g_mutex_lock (&work->lock);
  while (work->state == GST_FLOW_OK && (work->busy || !g_queue_is_empty (&work->items)))
    g_cond_wait (&work->cond, &work->lock);
  state = work->state;
  g_mutex_unlock (&work->lock);
  return state;
}

/* Upstream sends these once and would not send them again after a flush. */
static gboolean
describes_stream (GstMiniObject *item)
{
  if (!GST_IS_EVENT (item) || !GST_EVENT_IS_STICKY (item))
    return FALSE;
  return GST_EVENT_TYPE (item) != GST_EVENT_SEGMENT && GST_EVENT_TYPE (item) != GST_EVENT_EOS
      && GST_EVENT_TYPE (item) != GST_EVENT_CAPS;
}

void
gst_avatar_work_set_state (GstAvatarWork *work, GstFlowReturn state, GstPad *keep)
{
  GQueue dropped = G_QUEUE_INIT;
  GstMiniObject *item;

  g_mutex_lock (&work->lock);
  work->state = state;
  work->busy = FALSE;
  if (state != GST_FLOW_OK) {
    dropped = work->items;
    g_queue_init (&work->items);
    work->n_buffers = 0;
  }
  g_cond_broadcast (&work->cond);
  g_mutex_unlock (&work->lock);

  while ((item = g_queue_pop_head (&dropped))) {
    if (keep && describes_stream (item))
      gst_pad_store_sticky_event (keep, GST_EVENT (item));
    gst_mini_object_unref (item);
  }
}
