/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The timeline of a running stream of samples: it is made of their count, and follows the clock of
 * the time stamps by filling and dropping samples.
 *
 * Stamps within 40 ms of the count are jitter. Others count once they have been off in the same way
 * for a second of sound, by the least of what they were off meanwhile. Samples are dropped only
 * where that is at most 5 % of the sound since the stamps last agreed with the count: a clock that
 * runs slower than that is none, its stamps are wrong, and the count holds. Where a jump is known
 * to be no jitter, a hole of more than 200 ms is filled at once. Holes of more than 60 s and jumps
 * back by more than a second begin a new stream. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstAvatarSampleClock:
 * @base: time of the first sample; %GST_CLOCK_TIME_NONE before it is known
 * @n_samples: that the stream has, filled in ones included
 */
typedef struct
{
  GstClockTime base;
  guint64 n_samples;
  /*< private >*/
  guint rate;
  guint64 surplus;            /* samples still to drop */
  guint64 agreed;             /* n_samples when the stamps last agreed with the count */
  GstClockTimeDiff last;      /* stamp of the last buffer less the count's time, in ns */
  guint64 since;              /* n_samples when stamps began to be off as they are now */
  GstClockTimeDiff low, high; /* between which they have been since then */
  GstClockTimeDiff step;      /* that brought them there */
  gboolean off;
} GstAvatarSampleClock;

/**
 * GstAvatarAlignment:
 * What to do before the samples of a buffer are taken.
 * @restart: end the stream; the buffer is the first of a new one
 * @fill: samples of silence to put before it
 * @drop: samples of it to leave out
 */
typedef struct
{
  gboolean restart;
  guint64 fill;
  guint64 drop;
} GstAvatarAlignment;

void gst_avatar_sample_clock_init (GstAvatarSampleClock *clock, guint rate);
/* Time of sample @n of the stream. */
GstClockTime gst_avatar_sample_clock_time (const GstAvatarSampleClock *clock, guint64 n);
/* @pts, @n: of a buffer; the first one's is the base, or @start where it has none. @jump: a jump in
 * its stamp is no jitter. */
GstAvatarAlignment gst_avatar_sample_clock_align (GstAvatarSampleClock *clock, GstClockTime pts,
    GstClockTime start, guint64 n, gboolean jump);
/* Takes @n samples into the stream. */
void gst_avatar_sample_clock_advance (GstAvatarSampleClock *clock, guint64 n);
/* Silence that lasts to @end, by the clock of the stamps: samples of it that are still to come. */
guint64 gst_avatar_sample_clock_gap (GstAvatarSampleClock *clock, GstClockTime end);
/* An error that tells that the stamps are no clock, so that the count holds against them, and have
 * been none for @patience, or NULL. */
GError *gst_avatar_sample_clock_check (const GstAvatarSampleClock *clock, GstClockTime patience);

G_END_DECLS
