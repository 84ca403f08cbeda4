/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Count of samples against the clock of their time stamps: see the header. Everything is computed
 * from the base and the count, so that no error accumulates. */
#include "gst/gstavatarsampleclock.h"

#include <avatar/error.h>

/* Stamps that are less off than this are jitter. */
#define TOLERANCE (40 * GST_MSECOND)
/* Stamps that are off count after as much sound, if they kept so close together. */
#define SETTLE (1 * GST_SECOND)
#define SPREAD (200 * GST_MSECOND)
/* Holes from and up to which silence fills at once, where they are known to be no jitter. */
#define MIN_HOLE (200 * GST_MSECOND)
#define MAX_HOLE (60 * GST_SECOND)
/* A jump back by more begins a new stream. */
#define MAX_STEP_BACK (1 * GST_SECOND)
/* One part in as many is the most that a clock may run slow. */
#define MAX_DRIFT 20

void
gst_avatar_sample_clock_init (GstAvatarSampleClock *clock, guint rate)
{
  *clock = (GstAvatarSampleClock){ .base = GST_CLOCK_TIME_NONE, .rate = rate };
}

static guint64
to_time (const GstAvatarSampleClock *clock, guint64 samples)
{
  return gst_util_uint64_scale_int (samples, GST_SECOND, clock->rate);
}

static guint64
to_samples (const GstAvatarSampleClock *clock, GstClockTime time)
{
  return gst_util_uint64_scale_int_round (time, clock->rate, GST_SECOND);
}

GstClockTime
gst_avatar_sample_clock_time (const GstAvatarSampleClock *clock, guint64 n)
{
  return clock->base + to_time (clock, n);
}

void
gst_avatar_sample_clock_advance (GstAvatarSampleClock *clock, guint64 n)
{
  clock->n_samples += n;
}

/* The stamps agree with the count from here on, but for @rest. */
static void
agree (GstAvatarSampleClock *clock, guint64 at, GstClockTimeDiff rest)
{
  clock->agreed = at;
  clock->last = rest;
  clock->off = FALSE;
}

static GstAvatarAlignment
fill_hole (GstAvatarSampleClock *clock, GstClockTimeDiff hole)
{
  GstAvatarAlignment todo = { .restart = hole > (GstClockTimeDiff) MAX_HOLE };

  if (!todo.restart) {
    todo.fill = to_samples (clock, hole);
    agree (clock, clock->n_samples + todo.fill, clock->last - hole);
  }
  return todo;
}

/* Notes that stamps are off by @off; returns whether they have been so for long enough to count. */
static gboolean
settled (GstAvatarSampleClock *clock, GstClockTimeDiff off, GstClockTimeDiff step)
{
  GstClockTimeDiff low = MIN (clock->low, off), high = MAX (clock->high, off);

  if (!clock->off || (low < 0) != (high < 0) || high - low > (GstClockTimeDiff) SPREAD) {
    clock->off = TRUE;
    clock->since = clock->n_samples;
    clock->step = step;
    low = high = off;
  }
  clock->low = low;
  clock->high = high;
  return to_time (clock, clock->n_samples - clock->since) >= SETTLE;
}

static gboolean
is_drift (const GstAvatarSampleClock *clock, GstClockTime lag)
{
  return lag <= to_time (clock, clock->n_samples - clock->agreed) / MAX_DRIFT;
}

static GstAvatarAlignment
correct (GstAvatarSampleClock *clock)
{
  GstAvatarAlignment todo = { 0 };
  GstClockTimeDiff lag = -clock->high;

  if (clock->low > 0)
    return fill_hole (clock, clock->low);
  if (clock->step < -(GstClockTimeDiff) MAX_STEP_BACK) {
    todo.restart = TRUE;
  } else if (is_drift (clock, lag)) {
    clock->surplus = to_samples (clock, lag);
    agree (clock, clock->n_samples, clock->last + lag);
  }
  return todo;
}

static GstAvatarAlignment
compare (GstAvatarSampleClock *clock, GstClockTime pts, gboolean jump)
{
  guint64 at = clock->n_samples - clock->surplus;
  GstClockTimeDiff off = GST_CLOCK_DIFF (gst_avatar_sample_clock_time (clock, at), pts);
  GstClockTimeDiff step = off - clock->last;

  clock->last = off;
  if (ABS (off) <= (GstClockTimeDiff) TOLERANCE)
    agree (clock, clock->n_samples, off);
  else if (jump && off > (GstClockTimeDiff) MIN_HOLE)
    return fill_hole (clock, off);
  else if (jump && step < -(GstClockTimeDiff) MAX_STEP_BACK)
    return (GstAvatarAlignment){ .restart = TRUE };
  else if (settled (clock, off, step))
    return correct (clock);
  return (GstAvatarAlignment){ 0 };
}

GstAvatarAlignment
gst_avatar_sample_clock_align (GstAvatarSampleClock *clock, GstClockTime pts, GstClockTime start,
    guint64 n, gboolean jump)
{
  gboolean valid = pts <= G_MAXINT64;
  GstAvatarAlignment todo = { 0 };

  if (!GST_CLOCK_TIME_IS_VALID (clock->base))
    clock->base = valid ? pts : start;
  if (valid && clock->n_samples > 0)
    todo = compare (clock, pts, jump);
  if (!todo.restart) {
    todo.drop = MIN (clock->surplus, n);
    clock->surplus -= todo.drop;
  }
  return todo;
}

guint64
gst_avatar_sample_clock_gap (GstAvatarSampleClock *clock, GstClockTime end)
{
  GstClockTime now
      = gst_avatar_sample_clock_time (clock, clock->n_samples - clock->surplus) + clock->last;

  return end > now ? to_samples (clock, end - now) : 0;
}

GError *
gst_avatar_sample_clock_check (const GstAvatarSampleClock *clock, GstClockTime patience)
{
  GstClockTime time = to_time (clock, clock->n_samples - clock->agreed);

  if (clock->last >= -(GstClockTimeDiff) SPREAD || is_drift (clock, -clock->last)
      || time < MAX (patience, SETTLE))
    return NULL;
  return g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
      "the sound's time stamps advance by %.2f s while its samples last %.2f s; expected the same "
      "to 5 %%: the samples are counted, and the stamps ignored; convert the sound to PCM first if "
      "it does not fit the video",
      ((double) time + (double) clock->last) / GST_SECOND, (double) time / GST_SECOND);
}
