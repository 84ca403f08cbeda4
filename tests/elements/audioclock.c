/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avataraudioenc and time stamps that are not those of a perfect stream: sources that run fast,
 * slow or irregularly, stamps that are wrong, and jumps that are real. */
#include "gst/gstavatarsampleclock.h"

#include "support.h"

#define RATE 16000
#define CAPS "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved"
#define BASE (3600 * GST_SECOND + 7)

/* A source: buffers of @n samples whose stamps advance by @pace in 1000 of what they last, and come
 * up to @jitter late. */
typedef struct
{
  guint n;
  guint pace;
  GstClockTime jitter;
} Source;

static const Source sources[] = {
  { 320, 1010, 0 },
  { 320, 990, 0 },
  { 320, 1001, 0 },
  { 320, 999, 0 },
  { 320, 1000, 50 * GST_MSECOND },
  { 320, 1010, 50 * GST_MSECOND },
  { 320, 990, 50 * GST_MSECOND },
  { 4410, 960, 0 },
  { 17, 1040, 0 },
  { 1, 1000, GST_MSECOND },
};

/* Stamp of sample @at; the jitter is a fixed sequence. */
static GstClockTime
stamp (const Source *source, guint64 at, GRand *random)
{
  GstClockTime time = gst_util_uint64_scale (at, source->pace * GST_SECOND, 1000 * (guint64) RATE);

  return BASE + time
      + (source->jitter && at > 0 ? g_rand_int_range (random, 0, source->jitter) : 0);
}

/* The count follows the clock to 100 ms besides the jitter, at every buffer of ten minutes. */
GST_START_TEST (test_follow)
{
  const Source *source = &sources[__i__];
  g_autoptr (GRand) random = g_rand_new_with_seed (1);
  GstClockTimeDiff bound = 100 * GST_MSECOND + source->jitter;
  GstAvatarSampleClock clock;

  gst_avatar_sample_clock_init (&clock, RATE);
  for (guint64 at = 0; at < 600 * RATE; at += source->n) {
    GstClockTime pts = stamp (source, at, random);
    GstAvatarStamp stamped = { .pts = pts, .n_samples = source->n };
    GstAvatarAlignment todo = gst_avatar_sample_clock_align (&clock, &stamped);
    GstClockTimeDiff off;

    gst_avatar_sample_clock_advance (&clock, todo.fill);
    off = GST_CLOCK_DIFF (gst_avatar_sample_clock_time (&clock, clock.n_samples), pts);
    if (todo.restart || todo.drop > source->n || ABS (off) > bound
        || gst_avatar_sample_clock_check (&clock, 0))
      fail ("%" GST_STIME_FORMAT " off after %" G_GUINT64_FORMAT " samples", GST_STIME_ARGS (off),
          at);
    gst_avatar_sample_clock_advance (&clock, source->n - todo.drop);
  }
  if (source->pace == 1000)
    fail_unless_equals_uint64 (clock.n_samples, 600 * RATE);
}
GST_END_TEST;

/* The smallest model that there is: these tests are about time. */
static GstHarness *
harness_new (gboolean live)
{
  g_autofree gchar *launch
      = g_strdup_printf ("avataraudioenc name=enc model=%s", g_getenv ("AVATAR_PLAIN"));
  GstHarness *h = gst_harness_new_parse (launch);

  gst_harness_set_live (h, live);
  gst_harness_set_src_caps_str (h, CAPS);
  return h;
}

static GstFlowReturn
push (GstHarness *h, GstClockTime pts, guint n, gboolean discont)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 2 * n, NULL);

  gst_buffer_memset (buffer, 0, 1, 2 * n);
  GST_BUFFER_PTS (buffer) = pts;
  if (discont)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  return gst_harness_push (h, buffer);
}

/* Pulls a running stream of frames from @pts on until there are no more, or another one begins,
 * whose first buffer is left in @next; returns their number. */
static guint
pull_stream (GstHarness *h, GstClockTime pts, GstBuffer **next)
{
  GstBuffer *buffer = *next ?: gst_harness_try_pull (h);
  guint n = 0;

  for (*next = NULL; buffer; buffer = gst_harness_try_pull (h), n++) {
    if (n > 0 && GST_BUFFER_IS_DISCONT (buffer)) {
      *next = buffer;
      return n;
    }
    if (GST_BUFFER_IS_DISCONT (buffer) != (n == 0) || GST_BUFFER_OFFSET (buffer) != n
        || GST_BUFFER_PTS (buffer) != pts + n * 40 * GST_MSECOND)
      fail ("frame %u at %" GST_TIME_FORMAT, n, GST_TIME_ARGS (GST_BUFFER_PTS (buffer)));
    gst_buffer_unref (buffer);
  }
  return n;
}

static guint
count_warnings (GstBus *bus)
{
  guint n = 0;

  for (;;) {
    g_autoptr (GstMessage) message
        = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING | GST_MESSAGE_ERROR);
    if (!message)
      return n;
    fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_WARNING);
    n++;
  }
}

static GstBus *
listen (GstHarness *h)
{
  GstBus *bus = gst_bus_new ();

  gst_element_set_bus (h->element, bus);
  return bus;
}

/* Ends the sound and expects one stream from BASE on that lasts @expected to @tolerance. */
static void
expect_one_stream (GstHarness *h, GstClockTime expected, GstClockTime tolerance)
{
  GstBuffer *next = NULL;
  guint n;

  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  n = pull_stream (h, BASE, &next);
  fail_unless (next == NULL, "restarted after %u frames", n);
  fail_unless (ABS (GST_CLOCK_DIFF (n * 40 * GST_MSECOND, expected))
          <= (GstClockTimeDiff) tolerance,
      "%u frames", n);
}

/* Ten minutes in real buffers: no restart, every frame once, no warning. */
GST_START_TEST (test_drift)
{
  static const guint numbers[] = { 0, 1, 4 };
  const Source *source = &sources[numbers[__i__]];
  g_autoptr (GRand) random = g_rand_new_with_seed (2);
  GstHarness *h = harness_new (TRUE);
  g_autoptr (GstBus) bus = listen (h);

  for (guint64 at = 0; at < 600 * RATE; at += source->n)
    push (h, stamp (source, at, random), source->n, FALSE);
  expect_one_stream (h, 600 * source->pace * GST_MSECOND, 140 * GST_MSECOND + source->jitter);
  fail_unless_equals_int (count_warnings (bus), 0);
  gst_element_set_bus (h->element, NULL);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A demuxer that takes the sound for half as long: every @block samples its stamps go back by half
 * of that. Nothing is lost, nothing starts anew, and it is told. */
GST_START_TEST (test_wrong_stamps)
{
  static const guint blocks[] = { 2720, 8160 };
  guint block = blocks[__i__ % 2], n = block / 4, total = 12 * RATE / block * block;
  GstHarness *h = harness_new (__i__ < 2);
  g_autoptr (GstBus) bus = listen (h);

  for (guint at = 0; at < total; at += n) {
    guint64 stamped = at / block * block / 2 + at % block;
    GstClockTime pts = BASE + gst_util_uint64_scale_int (stamped, GST_SECOND, RATE);
    fail_unless_equals_int (push (h, pts, n, at % block == 0), GST_FLOW_OK);
  }
  expect_one_stream (h, gst_util_uint64_scale_int (total, GST_SECOND, RATE), 40 * GST_MSECOND - 1);
  fail_unless_equals_int (count_warnings (bus), 1);
  gst_element_set_bus (h->element, NULL);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Pushes @n buffers of 20 ms whose stamps begin at @pts. */
static GstClockTime
push_run (GstHarness *h, GstClockTime pts, guint n, gboolean discont)
{
  for (guint i = 0; i < n; i++, pts += 20 * GST_MSECOND)
    fail_unless_equals_int (push (h, pts, 320, discont && i == 0), GST_FLOW_OK);
  return pts;
}

/* Holes: marked and not, live and not; all end up as long as the stamps say. */
GST_START_TEST (test_holes)
{
  for (guint i = 0; i < 4; i++) {
    GstHarness *h = harness_new (i & 1);
    GstClockTime pts = push_run (h, BASE, 50, FALSE);

    pts = push_run (h, pts + 3 * GST_SECOND, 100, i & 2);
    expect_one_stream (h, pts - BASE, 0);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* A live source that stalls for 2 s and then catches up: nothing is filled in or dropped. */
GST_START_TEST (test_stall)
{
  GstHarness *h = harness_new (TRUE);
  GstClockTime pts = push_run (h, BASE, 100, FALSE);

  for (guint i = 0; i < 100; i++)
    push (h, pts + 2 * GST_SECOND, 320, FALSE);
  pts = push_run (h, pts + 2 * GST_SECOND, 100, FALSE);
  expect_one_stream (h, pts - BASE, 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Buffers that come twice, and a live source that steps back a little: dropped by and by. */
GST_START_TEST (test_step_back)
{
  GstHarness *h = harness_new (TRUE);
  GstClockTime pts = push_run (h, BASE, 100, FALSE);

  pts = push_run (h, pts - 300 * GST_MSECOND, 400, TRUE);
  expect_one_stream (h, pts - BASE, 20 * GST_MSECOND);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Pushes a second of sound, what is at @pts then, and expects two streams. */
static void
expect_new_stream (gboolean live, GstClockTime pts, gboolean discont, guint late)
{
  GstHarness *h = harness_new (live);
  GstBuffer *next = NULL;

  push_run (h, BASE, 50, FALSE);
  push_run (h, pts, 100, discont);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  fail_unless_equals_int (pull_stream (h, BASE, &next), 25 + late);
  fail_unless (next != NULL);
  fail_unless_equals_int (pull_stream (h, pts + late * 40 * GST_MSECOND, &next), 50 - late);
  fail_unless (next == NULL);
  gst_harness_teardown (h);
}

/* A restart at another time begins a new stream; a live one that is not marked does once it has
 * stayed there for a second. */
GST_START_TEST (test_new_stream)
{
  expect_new_stream (TRUE, 0, TRUE, 0);
  expect_new_stream (FALSE, 0, FALSE, 0);
  expect_new_stream (TRUE, 0, FALSE, 25);
  expect_new_stream (FALSE, BASE + 100 * GST_SECOND, FALSE, 0);
  expect_new_stream (TRUE, BASE + 100 * GST_SECOND, FALSE, 25);
}
GST_END_TEST;

/* Without stamps the count goes on; one wrong stamp in a live source changes nothing. */
GST_START_TEST (test_odd_stamps)
{
  GstHarness *h = harness_new (TRUE);
  GstClockTime pts = push_run (h, BASE, 50, FALSE);

  push (h, 0, 320, FALSE);
  push (h, GST_CLOCK_TIME_NONE, 320, FALSE);
  push (h, GST_CLOCK_TIME_NONE - 1, 320, FALSE);
  push (h, pts, 0, FALSE);
  pts = push_run (h, pts + 60 * GST_MSECOND, 50, FALSE);
  expect_one_stream (h, 2080 * GST_MSECOND, 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Sound without any stamp begins where its segment does. */
GST_START_TEST (test_no_stamps)
{
  GstHarness *h = harness_new (TRUE);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = segment.time = segment.position = BASE;
  fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
  for (guint i = 0; i < 10; i++)
    push (h, GST_CLOCK_TIME_NONE, 320, FALSE);
  expect_one_stream (h, 200 * GST_MSECOND, 0);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A gap event of more than a minute ends the stream; the next begins where its sound does. */
GST_START_TEST (test_long_gap)
{
  GstHarness *h = harness_new (TRUE);
  GstClockTime pts = push_run (h, BASE, 50, FALSE);
  GstBuffer *next = NULL;

  fail_unless (gst_harness_push_event (h, gst_event_new_gap (pts, 90 * GST_SECOND)));
  fail_unless (gst_harness_push_event (h, gst_event_new_gap (pts, GST_CLOCK_TIME_NONE)));
  pts += 90 * GST_SECOND;
  push_run (h, pts, 50, FALSE);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  fail_unless_equals_int (pull_stream (h, BASE, &next), 25);
  fail_unless_equals_int (pull_stream (h, pts, &next), 25);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
audioclock_suite (void)
{
  Suite *suite = suite_create ("audioclock");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_loop_test (tc, test_follow, 0, G_N_ELEMENTS (sources));
  tcase_add_loop_test (tc, test_drift, 0, 3);
  tcase_add_loop_test (tc, test_wrong_stamps, 0, 4);
  tcase_add_test (tc, test_holes);
  tcase_add_test (tc, test_stall);
  tcase_add_test (tc, test_step_back);
  tcase_add_test (tc, test_new_stream);
  tcase_add_test (tc, test_odd_stamps);
  tcase_add_test (tc, test_no_stamps);
  tcase_add_test (tc, test_long_gap);
  return suite;
}

GST_CHECK_MAIN (audioclock);
