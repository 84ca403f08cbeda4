/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The time that an element needs to compute a window or a tile, for its answer to the LATENCY
 * query of a live pipeline: measured, or fixed by the property processing-latency. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/* Number of windows that the measured time is estimated from. */
#define GST_AVATAR_PROCESSING_WINDOWS 8

/**
 * GstAvatarProcessing:
 * @fixed: the property, in ns; %GST_CLOCK_TIME_NONE: measured
 * @measured: the answer to the query, in ns; %GST_CLOCK_TIME_NONE: nothing was measured yet
 * @recent: compute times of the last windows, in ns
 * @n_windows: number of windows measured
 * @settled: a window was measured since the start of the stream; @measured only rises
 * @live: the newest LATENCY query was that of a live pipeline
 *
 * All fields are protected by the object lock of the element.
 */
typedef struct
{
  GstClockTime fixed, measured;
  GstClockTime recent[GST_AVATAR_PROCESSING_WINDOWS];
  guint n_windows;
  gboolean settled, live;
} GstAvatarProcessing;

void gst_avatar_processing_init (GstAvatarProcessing *self);
/* Forgets what was measured, before an element starts. */
void gst_avatar_processing_reset (GstAvatarProcessing *self);
/* Begins a new stream, after a flush: its first window may lower the latency. */
void gst_avatar_processing_restart (GstAvatarProcessing *self);

/**
 * gst_avatar_processing_add:
 * @time: compute time of a window, in ns
 * @longest: duration of a window, in ns. An element that needs longer is too slow for a live
 *   pipeline, and more latency would not help
 *
 * Takes note of the compute time of a window. The first one of a stream sets the latency, because
 * nothing of the stream was shown yet. Later ones only raise it, when two of the last windows took
 * longer, since a live sink stops for as long as its latency rises, and drops frames when it falls.
 *
 * Returns: %TRUE if the latency of a live pipeline changed
 */
gboolean
gst_avatar_processing_add (GstAvatarProcessing *self, GstClockTime time, GstClockTime longest);

/* Returns the time for computing, in ns. @assumed: the answer while nothing is measured, and in
 * pipelines that are not live */
GstClockTime gst_avatar_processing_get (const GstAvatarProcessing *self, GstClockTime assumed);

/* Do the same with the object lock of @element; add() posts a LATENCY message,
 * upon which the application or the bin queries again. */
void gst_avatar_processing_element_add (GstAvatarProcessing *self, GstElement *element,
    GstClockTime time, GstClockTime longest);
void gst_avatar_processing_element_restart (GstAvatarProcessing *self, GstElement *element);
/* @query: the LATENCY query as upstream has answered it, which says if the pipeline is live */
GstClockTime gst_avatar_processing_element_get (GstAvatarProcessing *self, GstElement *element,
    GstQuery *query, GstClockTime assumed);

/* Creates the property processing-latency. */
GParamSpec *gst_avatar_processing_param_spec (void);

G_END_DECLS
