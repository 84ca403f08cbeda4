/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Comparison of time stamps with the count of samples: see the header. All times are computed from
 * the base and the count, so that errors do not accumulate. */
#include "gst/gstavatarsampleclock.h"

#include <avatar/error.h>

/* Largest difference that is jitter. */
#define TOLERANCE (40 * GST_MSECOND)
/* A difference is corrected after SETTLE of audio, if it varies by less than SPREAD. */
#define SETTLE (1 * GST_SECOND)
#define SPREAD (200 * GST_MSECOND)
/* Holes that are filled at once if they are known not to be jitter. */
#define MIN_HOLE (200 * GST_MSECOND)
#define MAX_HOLE (60 * GST_SECOND)
/* A larger jump back starts a new stream. */
#define MAX_STEP_BACK (1 * GST_SECOND)
/* Largest fraction by which a clock may be slow: 1 / MAX_DRIFT. */
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

/* Notes that stamps and count agree from sample @at on, except for @rest. */
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

/* Notes a difference of @off. Returns %TRUE if it has lasted long enough to be corrected. */
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
compare (GstAvatarSampleClock *clock, const GstAvatarStamp *stamp)
{
  guint64 at = clock->n_samples - clock->surplus;
  GstClockTimeDiff off = GST_CLOCK_DIFF (gst_avatar_sample_clock_time (clock, at), stamp->pts);
  GstClockTimeDiff step = off - clock->last;

  clock->last = off;
  if (ABS (off) <= (GstClockTimeDiff) TOLERANCE)
    agree (clock, clock->n_samples, off);
  else if (stamp->is_jump && off > (GstClockTimeDiff) MIN_HOLE)
    return fill_hole (clock, off);
  else if (stamp->is_jump && step < -(GstClockTimeDiff) MAX_STEP_BACK)
    return (GstAvatarAlignment){ .restart = TRUE };
  else if (settled (clock, off, step))
    return correct (clock);
  return (GstAvatarAlignment){ 0 };
}

GstAvatarAlignment
gst_avatar_sample_clock_align (GstAvatarSampleClock *clock, const GstAvatarStamp *stamp)
{
  gboolean valid = stamp->pts <= G_MAXINT64;
  GstAvatarAlignment todo = { 0 };

  if (!GST_CLOCK_TIME_IS_VALID (clock->base))
    clock->base = valid ? stamp->pts : stamp->start;
  if (valid && clock->n_samples > 0)
    todo = compare (clock, stamp);
  if (!todo.restart) {
    todo.drop = MIN (clock->surplus, stamp->n_samples);
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
      "the time stamps of the audio advance by %.2f s while its samples last %.2f s; expected a "
      "difference of at most 5 %%: the time stamps are ignored; convert the audio to PCM first if "
      "it is not in sync with the video",
      ((double) time + (double) clock->last) / GST_SECOND, (double) time / GST_SECOND);
}
