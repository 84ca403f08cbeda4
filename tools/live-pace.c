/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/live-pace.h"

typedef struct
{
  GstElement *pipeline; /* not owned: it outlives the pad */
  GstClockTime next;    /* running time at which the next buffer begins, or NONE */
} Pace;

static void
send_eos (GstElement *pipeline, gpointer data)
{
  gst_element_send_event (pipeline, gst_event_new_eos ());
}

static GstClockTime
get_running_time (GstElement *element)
{
  g_autoptr (GstClock) clock = gst_element_get_clock (element);
  GstClockTime base = gst_element_get_base_time (element);
  GstClockTime now = clock ? gst_clock_get_time (clock) : GST_CLOCK_TIME_NONE;

  return GST_CLOCK_TIME_IS_VALID (now) && now > base ? now - base : 0;
}

static void
stamp (Pace *self, GstPadProbeInfo *info)
{
  GstBuffer *buffer = gst_buffer_make_writable (GST_PAD_PROBE_INFO_BUFFER (info));
  GstClockTime now = get_running_time (self->pipeline);

  if (!GST_CLOCK_TIME_IS_VALID (self->next) || self->next < now) {
    self->next = now;
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  } else {
    GST_BUFFER_FLAG_UNSET (buffer, GST_BUFFER_FLAG_DISCONT);
  }
  GST_BUFFER_PTS (buffer) = self->next;
  self->next += GST_BUFFER_DURATION_IS_VALID (buffer) ? GST_BUFFER_DURATION (buffer) : 0;
  info->data = buffer;
}

static GstPadProbeReturn
on_data (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Pace *self = data;

  if (info->type & GST_PAD_PROBE_TYPE_BUFFER)
    stamp (self, info);
  else if (GST_EVENT_TYPE (info->data) == GST_EVENT_EOS)
    gst_element_call_async (self->pipeline, send_eos, NULL, NULL);
  return GST_PAD_PROBE_OK;
}

gboolean
avatar_live_pace (GstElement *element, GstElement *pipeline)
{
  g_autoptr (GstPad) pad = gst_element_get_static_pad (element, "src");
  Pace *self;

  if (!pad)
    return FALSE;
  self = g_new (Pace, 1);
  self->pipeline = pipeline;
  self->next = GST_CLOCK_TIME_NONE;
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_data,
      self, g_free);
  return TRUE;
}
