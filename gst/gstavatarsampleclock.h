/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Timeline of a running stream of samples. Times are computed from the count of samples; silence is
 * inserted and samples are dropped to follow the clock of the time stamps.
 *
 * A difference of up to 40 ms between time stamp and count is jitter. A larger one is corrected, by
 * its smallest value, after it has lasted for a second of audio in the same direction. Samples are
 * dropped only if the difference is at most 5 % of the audio since stamps and count last agreed:
 * stamps of a slower clock are considered wrong and are ignored. If a jump is known not to be
 * jitter, a hole of more than 200 ms is filled at once. Holes of more than 60 s, and jumps back by
 * more than a second, start a new stream. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstAvatarSampleClock:
 * @base: time of the first sample; %GST_CLOCK_TIME_NONE if not known yet
 * @n_samples: number of samples in the stream, including inserted ones
 */
typedef struct
{
  GstClockTime base;
  guint64 n_samples;
  /*< private >*/
  guint rate;
  guint64 surplus;            /* number of samples still to drop */
  guint64 agreed;             /* n_samples when stamps and count last agreed */
  GstClockTimeDiff last;      /* last stamp minus the time of the count, in ns */
  guint64 since;              /* n_samples at the start of the present difference */
  GstClockTimeDiff low, high; /* its range since then, in ns */
  GstClockTimeDiff step;      /* the change at its start, in ns */
  gboolean off;               /* there is a difference larger than jitter */
} GstAvatarSampleClock;

/**
 * GstAvatarStamp:
 * @pts: time stamp of a buffer, or %GST_CLOCK_TIME_NONE
 * @start: time of the first buffer if it has no time stamp
 * @n_samples: number of samples in the buffer
 * @is_jump: a difference of the time stamp is not jitter
 */
typedef struct
{
  GstClockTime pts, start;
  guint64 n_samples;
  gboolean is_jump;
} GstAvatarStamp;

/**
 * GstAvatarAlignment:
 * @restart: end the stream; the buffer is the first of a new one
 * @fill: number of silent samples to insert before the buffer
 * @drop: number of samples to leave out at the start of the buffer
 */
typedef struct
{
  gboolean restart;
  guint64 fill;
  guint64 drop;
} GstAvatarAlignment;

void gst_avatar_sample_clock_init (GstAvatarSampleClock *clock, guint rate);
/* Returns the time of sample @n of the stream. */
GstClockTime gst_avatar_sample_clock_time (const GstAvatarSampleClock *clock, guint64 n);
/* Returns what to do before the samples of a buffer are added. The first buffer sets the base. */
GstAvatarAlignment
gst_avatar_sample_clock_align (GstAvatarSampleClock *clock, const GstAvatarStamp *stamp);
/* Adds @n samples to the stream. */
void gst_avatar_sample_clock_advance (GstAvatarSampleClock *clock, guint64 n);
/* Returns the number of silent samples from here to @end on the clock of the time stamps. */
guint64 gst_avatar_sample_clock_gap (GstAvatarSampleClock *clock, GstClockTime end);
/* Returns an error if the time stamps have been wrong, and therefore ignored, for @patience, else
 * %NULL. */
GError *gst_avatar_sample_clock_check (const GstAvatarSampleClock *clock, GstClockTime patience);

G_END_DECLS
