/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lateness in a live pipeline: see the header. */
#include "gst/gstavatarlateness.h"

void
gst_avatar_lateness_reset (GstAvatarLateness *self)
{
  *self = (GstAvatarLateness){ .earliest = GST_CLOCK_TIME_NONE };
}

void
gst_avatar_lateness_flush (GstAvatarLateness *self, GstElement *element)
{
  GST_OBJECT_LOCK (element);
  self->earliest = GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (element);
}

void
gst_avatar_lateness_take_query (GstAvatarLateness *self, GstElement *element, GstQuery *query)
{
  GST_OBJECT_LOCK (element);
  gst_query_parse_latency (query, &self->live, &self->answered, NULL);
  GST_OBJECT_UNLOCK (element);
}

void
gst_avatar_lateness_take_event (GstAvatarLateness *self, GstElement *element, GstEvent *event)
{
  GstClockTime timestamp;
  GstClockTimeDiff diff;

  if (GST_EVENT_TYPE (event) != GST_EVENT_QOS)
    return;
  gst_event_parse_qos (event, NULL, NULL, &diff, &timestamp);
  if (!GST_CLOCK_TIME_IS_VALID (timestamp))
    return;
  GST_OBJECT_LOCK (element);
  self->earliest = diff > 0 ? timestamp + diff : GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (element);
}

GstClockTime
gst_avatar_lateness_now (GstAvatarLateness *self, GstElement *element)
{
  g_autoptr (GstClock) clock = NULL;
  GstClockTime now, base;
  gboolean live;

  GST_OBJECT_LOCK (element);
  live = self->live && GST_STATE (element) == GST_STATE_PLAYING;
  if (live && GST_ELEMENT_CLOCK (element))
    clock = gst_object_ref (GST_ELEMENT_CLOCK (element));
  base = element->base_time;
  GST_OBJECT_UNLOCK (element);
  if (!clock)
    return GST_CLOCK_TIME_NONE;
  now = gst_clock_get_time (clock);
  return now >= base ? now - base : 0;
}

gboolean
gst_avatar_lateness_get (GstAvatarLateness *self, GstElement *element, GstClockTime running_time,
    GstClockTime compute, GstClockTimeDiff *lateness)
{
  GstClockTime now = gst_avatar_lateness_now (self, element), latency, earliest;

  GST_OBJECT_LOCK (element);
  latency = self->answered;
  earliest = self->earliest;
  GST_OBJECT_UNLOCK (element);
  *lateness = G_MININT64;
  if (GST_CLOCK_TIME_IS_VALID (now))
    *lateness = GST_CLOCK_DIFF (running_time + latency, now + compute);
  if (GST_CLOCK_TIME_IS_VALID (earliest))
    *lateness = MAX (*lateness, GST_CLOCK_DIFF (running_time, earliest));
  return *lateness != G_MININT64;
}

gint64
gst_avatar_lateness_get_deadline (GstAvatarLateness *self, GstElement *element,
    GstClockTime running_time)
{
  GstClockTime now = gst_avatar_lateness_now (self, element), latency;

  if (!GST_CLOCK_TIME_IS_VALID (now) || !GST_CLOCK_TIME_IS_VALID (running_time))
    return G_MAXINT64;
  GST_OBJECT_LOCK (element);
  latency = self->answered;
  GST_OBJECT_UNLOCK (element);
  return g_get_monotonic_time ()
      + GST_CLOCK_DIFF (now, running_time + latency) / (GstClockTimeDiff) GST_USECOND;
}
