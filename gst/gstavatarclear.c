/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The custom event avatar-clear: see the header. */
#include "gst/gstavatarclear.h"

gboolean
gst_avatar_clear_is (GstEvent *event)
{
  return (GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM
             || GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM_OOB)
      && gst_event_has_name (event, GST_AVATAR_CLEAR_EVENT);
}

/* Returns a copy of @event, which is taken, out of band and with @structure, which is taken. */
static GstEvent *
out_of_band (GstEvent *event, GstStructure *structure)
{
  GstEvent *copy = gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, structure);

  gst_event_set_seqnum (copy, gst_event_get_seqnum (event));
  gst_event_unref (event);
  return copy;
}

GstEvent *
gst_avatar_clear_set_audio (GstEvent *event, GstClockTime audio_from, GstClockTime audio_to)
{
  GstStructure *structure = gst_structure_copy (gst_event_get_structure (event));

  gst_structure_set (structure, "audio-from", GST_TYPE_CLOCK_TIME, audio_from, "audio-to",
      GST_TYPE_CLOCK_TIME, audio_to, NULL);
  return out_of_band (event, structure);
}

gboolean
gst_avatar_clear_get_audio (GstEvent *event, GstClockTime *from, GstClockTime *to)
{
  const GstStructure *structure = gst_event_get_structure (event);

  *from = *to = GST_CLOCK_TIME_NONE;
  return gst_structure_get_clock_time (structure, "audio-from", from)
      && gst_structure_get_clock_time (structure, "audio-to", to);
}

GstEvent *
gst_avatar_clear_answer (GstElement *element, GstEvent *event, const GstAvatarCleared *cleared,
    const GstSegment *segment)
{
  GstStructure *structure = gst_structure_copy (gst_event_get_structure (event));
  GstStructure *answer;
  GstMessage *message;
  GstClockTime position = cleared->position, stream = GST_CLOCK_TIME_NONE,
               running = GST_CLOCK_TIME_NONE, dropped = 0;

  if (GST_CLOCK_TIME_IS_VALID (position) && segment->format == GST_FORMAT_TIME) {
    stream = gst_segment_to_stream_time (segment, GST_FORMAT_TIME, position);
    running = gst_segment_to_running_time (segment, GST_FORMAT_TIME, position);
  }
  if (GST_CLOCK_TIME_IS_VALID (position) && GST_CLOCK_TIME_IS_VALID (cleared->end))
    dropped = cleared->end - MIN (position, cleared->end);
  gst_structure_set (structure, "position", GST_TYPE_CLOCK_TIME, position, "stream-time",
      GST_TYPE_CLOCK_TIME, stream, "running-time", GST_TYPE_CLOCK_TIME, running, "dropped",
      GST_TYPE_CLOCK_TIME, dropped, "seqnum", G_TYPE_UINT, gst_event_get_seqnum (event), NULL);
  answer = gst_structure_copy (structure);
  gst_structure_set_name (answer, GST_AVATAR_CLEARED_MESSAGE);
  message = gst_message_new_element (GST_OBJECT (element), answer);
  gst_message_set_seqnum (message, gst_event_get_seqnum (event));
  gst_element_post_message (element, message);
  return out_of_band (event, structure);
}
