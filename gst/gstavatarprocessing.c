/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Compute time in the LATENCY query: see the header. */
#include "gst/gstavatarprocessing.h"

/* Unit of the measured latency, a video frame, so that it does not change all the time. */
#define QUANTUM (40 * GST_MSECOND)

void
gst_avatar_processing_init (GstAvatarProcessing *self)
{
  self->fixed = GST_CLOCK_TIME_NONE;
  gst_avatar_processing_reset (self);
}

void
gst_avatar_processing_reset (GstAvatarProcessing *self)
{
  self->measured = GST_CLOCK_TIME_NONE;
  self->n_windows = 0;
  self->settled = self->live = FALSE;
}

void
gst_avatar_processing_restart (GstAvatarProcessing *self)
{
  self->n_windows = 0;
  self->settled = FALSE;
}

/* Returns the second largest of the last times, so that one slow window has no effect; or the only
 * one. */
static GstClockTime
estimate (const GstAvatarProcessing *self)
{
  guint n = MIN (self->n_windows, GST_AVATAR_PROCESSING_WINDOWS);
  GstClockTime largest = 0, second = 0;

  for (guint i = 0; i < n; i++) {
    GstClockTime time = self->recent[i];

    second = MAX (second, MIN (largest, time));
    largest = MAX (largest, time);
  }
  return n == 1 ? largest : second;
}

/* Adds a margin of a half, because stages share processors: the first window is computed while the
 * later stages are still idle. */
static GstClockTime
with_margin (GstClockTime time, GstClockTime longest)
{
  time = MIN (time, longest);
  time = (time + time / 2 + QUANTUM - 1) / QUANTUM * QUANTUM;
  return MIN (time, longest);
}

gboolean
gst_avatar_processing_add (GstAvatarProcessing *self, GstClockTime time, GstClockTime longest)
{
  GstClockTime before = self->measured, estimated;

  self->recent[self->n_windows++ % GST_AVATAR_PROCESSING_WINDOWS] = time;
  estimated = estimate (self);
  if (!self->settled || MIN (estimated, longest) > self->measured)
    self->measured = with_margin (estimated, longest);
  self->settled = TRUE;
  return self->live && !GST_CLOCK_TIME_IS_VALID (self->fixed) && self->measured != before;
}

GstClockTime
gst_avatar_processing_get (const GstAvatarProcessing *self, GstClockTime assumed)
{
  if (GST_CLOCK_TIME_IS_VALID (self->fixed))
    return self->fixed;
  return self->live && GST_CLOCK_TIME_IS_VALID (self->measured) ? self->measured : assumed;
}

void
gst_avatar_processing_element_add (GstAvatarProcessing *self, GstElement *element,
    GstClockTime time, GstClockTime longest)
{
  gboolean changed;

  GST_OBJECT_LOCK (element);
  changed = gst_avatar_processing_add (self, time, longest);
  GST_OBJECT_UNLOCK (element);
  if (changed)
    gst_element_post_message (element, gst_message_new_latency (GST_OBJECT (element)));
}

void
gst_avatar_processing_element_restart (GstAvatarProcessing *self, GstElement *element)
{
  GST_OBJECT_LOCK (element);
  gst_avatar_processing_restart (self);
  GST_OBJECT_UNLOCK (element);
}

GstClockTime
gst_avatar_processing_element_get (GstAvatarProcessing *self, GstElement *element, GstQuery *query,
    GstClockTime assumed)
{
  GstClockTime time;
  gboolean live;

  gst_query_parse_latency (query, &live, NULL, NULL);
  GST_OBJECT_LOCK (element);
  self->live = live;
  time = gst_avatar_processing_get (self, assumed);
  GST_OBJECT_UNLOCK (element);
  return time;
}

GParamSpec *
gst_avatar_processing_param_spec (void)
{
  return g_param_spec_uint64 ("processing-latency", "Processing latency",
      "Time for computing a window or tile in the answer to the LATENCY query of a live pipeline, in "
      "ns; -1 = measured",
      0, G_MAXUINT64, GST_CLOCK_TIME_NONE,
      G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING);
}
