/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Lateness of the output of an element in a live pipeline. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstAvatarLateness:
 * @live: the newest LATENCY query was that of a live pipeline
 * @answered: its answer at the source pad, in ns: output with running time t is in time until
 *   t + @answered. The latency of the pipeline, which a LATENCY event tells, has the time of the
 *   elements downstream in it, and is 0 if no sink synchronises
 * @earliest: running time in ns; sinks drop what is earlier, by their QOS events;
 *   %GST_CLOCK_TIME_NONE: there was none
 *
 * Protected by the object lock of the element.
 */
typedef struct
{
  gboolean live;
  GstClockTime answered, earliest;
} GstAvatarLateness;

void gst_avatar_lateness_reset (GstAvatarLateness *self);
/* Forgets QOS events, after a flush. */
void gst_avatar_lateness_flush (GstAvatarLateness *self, GstElement *element);
/* Takes note of the answer to a LATENCY query at the source pad. */
void gst_avatar_lateness_take_query (GstAvatarLateness *self, GstElement *element, GstQuery *query);
/* Takes note of a QOS event from downstream, and ignores others. */
void gst_avatar_lateness_take_event (GstAvatarLateness *self, GstElement *element, GstEvent *event);

/* Returns the running time now, by the clock of a live pipeline that plays; else
 * %GST_CLOCK_TIME_NONE. */
GstClockTime gst_avatar_lateness_now (GstAvatarLateness *self, GstElement *element);

/**
 * gst_avatar_lateness_get:
 * @running_time: running time of output that can be pushed @compute from now, in ns
 * @lateness: (out): time by which it is late, in ns; negative: it is in time
 *
 * Compares with the clock of a live pipeline, and with QOS events of sinks.
 *
 * Returns: %FALSE if neither is known
 */
gboolean gst_avatar_lateness_get (GstAvatarLateness *self, GstElement *element,
    GstClockTime running_time, GstClockTime compute, GstClockTimeDiff *lateness);

/* Returns the monotonic time in microseconds until which output with @running_time is in time, by
 * the clock of a live pipeline that plays; else %G_MAXINT64. */
gint64 gst_avatar_lateness_get_deadline (GstAvatarLateness *self, GstElement *element,
    GstClockTime running_time);

G_END_DECLS
