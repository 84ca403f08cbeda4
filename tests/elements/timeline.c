/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The timeline of continuous audio: what arrives together stays together, whatever the clock, the
 * lateness of the output and the time stamps do; pauses become silence. The test moves the clock,
 * so that lateness is a jump of the clock. */
#include "gst/gstavatartimeline.h"
#include "support.h"

#include <gst/check/gsttestclock.h>

#define RATE 48000
#define MS GST_MSECOND
#define STEREO "audio/x-raw,format=F32LE,rate=48000,channels=2,layout=interleaved"

typedef struct
{
  GstElement *pipeline, *timeline;
  GstClock *clock;
  GstPad *src; /* the source, which the test is */
  GMutex lock; /* guards what follows */
  GCond cond;
  GArray *loud;           /* gboolean for each sample */
  GstClockTime end;       /* end of the output */
  GstClockTime first;     /* PTS of the first buffer, or NONE */
  guint n_loud, n_sent;   /* samples of sound that were output, and sent by a thread */
  gboolean held, holding; /* output must wait, and does */
  guint64 event_at;       /* samples before the event "test" or "avatar-clear" */
} Line;

static GstPadProbeReturn
take_output (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Line *line = data;
  GstBuffer *buffer = info->data;
  GstMapInfo map;

  g_mutex_lock (&line->lock);
  if (GST_IS_EVENT (info->data)) {
    if (gst_event_has_name (info->data, "test") || gst_event_has_name (info->data, "avatar-clear"))
      line->event_at = line->loud->len;
    g_mutex_unlock (&line->lock);
    return GST_PAD_PROBE_OK;
  }
  line->holding = line->held;
  g_cond_broadcast (&line->cond);
  while (line->held)
    g_cond_wait (&line->cond, &line->lock);
  if (!GST_CLOCK_TIME_IS_VALID (line->first))
    line->first = line->end = GST_BUFFER_PTS (buffer);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), line->end);
  line->end += GST_BUFFER_DURATION (buffer);
  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  for (gsize i = 0; i < map.size / sizeof (gfloat); i += 2) {
    gboolean loud = ((const gfloat *) map.data)[i] != 0;

    g_array_append_val (line->loud, loud);
    line->n_loud += loud;
  }
  gst_buffer_unmap (buffer, &map);
  g_cond_broadcast (&line->cond);
  g_mutex_unlock (&line->lock);
  return GST_PAD_PROBE_OK;
}

static void
begin_stream (Line *line, const gchar *caps_text)
{
  g_autoptr (GstCaps) caps = gst_caps_from_string (caps_text);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_push_event (line->src, gst_event_new_stream_start ("test"));
  gst_pad_push_event (line->src, gst_event_new_caps (caps));
  gst_pad_push_event (line->src, gst_event_new_segment (&segment));
}

/* @joined: the time at which the timeline is added to a pipeline that plays */
static void
line_start (Line *line, GstClockTime joined)
{
  GstElement *sink = gst_element_factory_make ("fakesink", NULL);
  g_autoptr (GstPad) in = NULL, out = NULL;

  g_mutex_init (&line->lock);
  g_cond_init (&line->cond);
  line->loud = g_array_new (FALSE, FALSE, sizeof (gboolean));
  line->first = GST_CLOCK_TIME_NONE;
  line->event_at = G_MAXUINT64;
  line->clock = gst_test_clock_new ();
  line->pipeline = gst_pipeline_new (NULL);
  line->timeline = gst_avatar_timeline_new (NULL);
  g_object_set (sink, "async", FALSE, "sync", FALSE, NULL);
  gst_pipeline_use_clock (GST_PIPELINE (line->pipeline), line->clock);
  if (joined > 0) {
    gst_element_set_state (line->pipeline, GST_STATE_PLAYING);
    gst_test_clock_set_time (GST_TEST_CLOCK (line->clock), joined);
  }
  gst_bin_add_many (GST_BIN (line->pipeline), line->timeline, sink, NULL);
  fail_unless (gst_element_link (line->timeline, sink));
  in = gst_element_get_static_pad (line->timeline, "sink");
  out = gst_element_get_static_pad (line->timeline, "src");
  gst_pad_add_probe (out, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      take_output, line, NULL);
  line->src = gst_pad_new ("src", GST_PAD_SRC);
  fail_unless (gst_pad_link (line->src, in) == GST_PAD_LINK_OK);
  gst_pad_set_active (line->src, TRUE);
  if (joined > 0) {
    gst_element_sync_state_with_parent (sink);
    gst_element_sync_state_with_parent (line->timeline);
  } else {
    fail_unless_equals_int (gst_element_set_state (line->pipeline, GST_STATE_PAUSED),
        GST_STATE_CHANGE_NO_PREROLL);
    gst_element_set_state (line->pipeline, GST_STATE_PLAYING);
  }
  begin_stream (line, STEREO);
}

static void
line_stop (Line *line)
{
  gst_element_set_state (line->pipeline, GST_STATE_NULL);
  gst_object_unref (line->src);
  gst_object_unref (line->pipeline);
  gst_object_unref (line->clock);
  g_array_unref (line->loud);
  g_mutex_clear (&line->lock);
  g_cond_clear (&line->cond);
}

/* Waits until the timeline waits for the clock. Returns the time for which it waits. */
static GstClockTime
next_wait (Line *line)
{
  GstClockID id;
  GstClockTime time;

  gst_test_clock_wait_for_next_pending_id (GST_TEST_CLOCK (line->clock), &id);
  time = gst_clock_id_get_time (id);
  gst_clock_id_unref (id);
  return time;
}

/* Moves the clock to @time at once, and waits until the timeline has caught up with it. */
static void
jump_to (Line *line, GstClockTime time)
{
  gst_test_clock_set_time (GST_TEST_CLOCK (line->clock), time);
  while (next_wait (line) <= time) {
    GstClockID id = gst_test_clock_process_next_clock_id (GST_TEST_CLOCK (line->clock));
    g_clear_pointer (&id, gst_clock_id_unref);
  }
}

static void
jump (Line *line, GstClockTime time)
{
  jump_to (line, gst_clock_get_time (line->clock) + time);
}

/* Lets the timeline output in time until the clock shows @time. */
static void
run_until (Line *line, GstClockTime time)
{
  while (gst_clock_get_time (line->clock) < time)
    jump_to (line, MIN (time, MAX (next_wait (line), gst_clock_get_time (line->clock))));
}

/* Sends @duration of sound with the time stamp @pts. */
static void
push (Line *line, GstClockTime pts, GstClockTime duration, GstBufferFlags flags)
{
  gsize n = gst_util_uint64_scale_int (duration, RATE, GST_SECOND);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * 8, NULL);

  gst_buffer_memset (buffer, 0, 0x3e, n * 8);
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_DURATION (buffer) = duration;
  GST_BUFFER_FLAG_SET (buffer, flags);
  fail_unless_equals_int (gst_pad_push (line->src, buffer), GST_FLOW_OK);
}

/* Checks the ranges of sound and of silence between them (samples). */
static void
expect_ranges (Line *line, const guint *expected, guint n_expected)
{
  g_autoptr (GArray) found = g_array_new (FALSE, TRUE, sizeof (guint));
  guint length = 0;

  g_mutex_lock (&line->lock);
  for (guint i = 0; i < line->loud->len; i++) {
    gboolean loud = g_array_index (line->loud, gboolean, i);

    if (length > 0 && loud != (found->len % 2 == 0)) {
      g_array_append_val (found, length);
      length = 0;
    }
    if (loud || found->len > 0 || length > 0)
      length++;
  }
  g_mutex_unlock (&line->lock);
  if (found->len % 2 == 0 && length > 0)
    g_array_append_val (found, length);
  fail_unless_equals_int (found->len, n_expected);
  for (guint i = 0; i < n_expected; i++)
    if (expected[i] > 0)
      fail_unless_equals_int (g_array_index (found, guint, i), expected[i]);
}
#define EXPECT(line, ...) \
  expect_ranges (line, (guint[]){ __VA_ARGS__ }, sizeof ((guint[]){ __VA_ARGS__ }) / sizeof (guint))

/* A burst arrives faster than it is played, on a machine that stops again and again for up to
 * 0.45 s. It starts LATENCY after its arrival. */
GST_START_TEST (test_late_output)
{
  Line line = { 0 };
  GstClockTime sent = 0;

  line_start (&line, 0);
  run_until (&line, 500 * MS);
  for (guint i = 0; sent < 4 * GST_SECOND; i++) {
    GstClockTime n = i == 0 ? 800 * MS : 50 * MS + (i - 1) % 3 * 200 * MS;

    push (&line, sent, n, 0);
    sent += n;
    jump (&line, 50 * MS + i % 3 * 200 * MS);
  }
  run_until (&line, gst_clock_get_time (line.clock) + 2 * GST_SECOND);
  EXPECT (&line, sent * RATE / GST_SECOND);
  fail_unless (g_array_index (line.loud, gboolean, 600 * RATE / 1000 - 1) == FALSE);
  fail_unless (g_array_index (line.loud, gboolean, 600 * RATE / 1000) == TRUE);
  line_stop (&line);
}
GST_END_TEST;

/* Keeps downstream from taking output, or lets it. */
static void
hold (Line *line, gboolean held)
{
  g_mutex_lock (&line->lock);
  line->held = held;
  g_cond_broadcast (&line->cond);
  g_mutex_unlock (&line->lock);
}

/* Waits until a buffer is held. */
static void
wait_until_held (Line *line)
{
  g_mutex_lock (&line->lock);
  while (!line->holding)
    g_cond_wait (&line->cond, &line->lock);
  g_mutex_unlock (&line->lock);
}

/* Output that was very late takes all that is queued at once. It then gives the source, whose
 * audio waited, time to send more, instead of going on with silence; but not for ever. */
GST_START_TEST (test_catching_up)
{
  Line line = { 0 };

  line_start (&line, 0);
  run_until (&line, 1000 * MS);
  push (&line, 0, 900 * MS, 0);
  run_until (&line, 1300 * MS);
  hold (&line, TRUE);
  gst_test_clock_set_time (GST_TEST_CLOCK (line.clock), next_wait (&line));
  gst_clock_id_unref (gst_test_clock_process_next_clock_id (GST_TEST_CLOCK (line.clock)));
  wait_until_held (&line);
  gst_test_clock_set_time (GST_TEST_CLOCK (line.clock), 2800 * MS);
  push (&line, 900 * MS, 200 * MS, 0);
  hold (&line, FALSE);
  jump (&line, 0);
  fail_unless (line.end <= 2200 * MS);
  jump (&line, 1000 * MS); /* 1 s later than the end of what was sent */
  push (&line, 1100 * MS, 100 * MS, 0);
  run_until (&line, 7000 * MS);
  EXPECT (&line, 1200 * RATE / 1000);
  fail_unless (line.end > 6900 * MS);
  line_stop (&line);
}
GST_END_TEST;

#define BURST (3 * RATE)

static gpointer
push_burst (gpointer data)
{
  Line *line = data;

  for (guint i = 0; i < 75; i++) {
    push (line, i * 40 * MS, 40 * MS, 0);
    g_mutex_lock (&line->lock);
    line->n_sent += RATE / 25;
    g_cond_broadcast (&line->cond);
    g_mutex_unlock (&line->lock);
  }
  return NULL;
}

/* Waits until the source has sent half a second more than was output, or all. */
static void
wait_for_source (Line *line)
{
  g_mutex_lock (&line->lock);
  while (line->n_sent < MIN (line->n_loud + RATE / 2, BURST))
    g_cond_wait (&line->cond, &line->lock);
  fail_unless (line->n_sent <= line->n_loud + RATE + RATE / 25);
  g_mutex_unlock (&line->lock);
}

/* A source that is faster than the clock waits with a second of audio queued. */
GST_START_TEST (test_fast_source)
{
  Line line = { 0 };
  GThread *source;

  line_start (&line, 0);
  run_until (&line, 200 * MS);
  source = g_thread_new ("source", push_burst, &line);
  for (guint i = 1; i <= 14; i++) {
    wait_for_source (&line);
    jump (&line, i % 2 * 300 * MS + 100 * MS);
  }
  g_thread_join (source);
  run_until (&line, 5 * GST_SECOND);
  EXPECT (&line, BURST);
  line_stop (&line);
}
GST_END_TEST;

/* A source at the speed of the clock, whose buffers arrive up to 90 ms late. */
GST_START_TEST (test_jitter)
{
  Line line = { 0 };

  line_start (&line, 0);
  for (guint i = 0; i < 60; i++) {
    run_until (&line, 300 * MS + i * 64 * MS + i * 37 % 10 * 10 * MS);
    push (&line, i * 64 * MS, 64 * MS, 0);
  }
  run_until (&line, 6 * GST_SECOND);
  EXPECT (&line, 60 * 64 * RATE / 1000);
  line_stop (&line);
}
GST_END_TEST;

/* A source that is slower than the clock pauses, and nothing of it is lost. */
GST_START_TEST (test_slow_source)
{
  Line line = { 0 };

  line_start (&line, 0);
  for (guint i = 0; i < 20; i++) {
    run_until (&line, 300 * MS + i * 200 * MS);
    push (&line, GST_CLOCK_TIME_NONE, 100 * MS, 0);
  }
  run_until (&line, 6 * GST_SECOND);
  fail_unless_equals_int (line.n_loud, 2 * RATE);
  fail_unless (line.end > 5900 * MS);
  line_stop (&line);
}
GST_END_TEST;

/* Clients that come and go: each begins a stream, some in another format, and pauses differ. */
GST_START_TEST (test_clients)
{
  Line line = { 0 };

  line_start (&line, 0);
  for (guint i = 0; i < 4; i++) {
    run_until (&line, 500 * MS + i * GST_SECOND);
    begin_stream (&line,
        i == 2 ? "audio/x-raw,format=F32LE,rate=48000,channels=2,"
                 "layout=interleaved,channel-mask=(bitmask)0x3"
               : STEREO);
    push (&line, 0, 300 * MS, GST_BUFFER_FLAG_DISCONT);
    push (&line, 300 * MS, 100 * MS, 0);
    gst_pad_push_event (line.src, gst_event_new_eos ());
  }
  run_until (&line, 6 * GST_SECOND);
  EXPECT (&line, 19200, 28800, 19200, 28800, 19200, 28800, 19200);
  line_stop (&line);
}
GST_END_TEST;

/* Time stamps: jitter, steps back, steps too far, DISCONT and stamps of the arrival are not heard.
 * A hole of up to a second is silence. */
GST_START_TEST (test_time_stamps)
{
  Line line = { 0 };

  line_start (&line, 0);
  run_until (&line, 200 * MS);
  push (&line, 7000 * MS, 100 * MS, 0);
  push (&line, 7130 * MS, 100 * MS, 0);
  push (&line, 7180 * MS, 100 * MS, GST_BUFFER_FLAG_DISCONT);
  push (&line, 9999 * MS, 100 * MS, GST_BUFFER_FLAG_DISCONT);
  push (&line, 1 * MS, 100 * MS, 0);
  push (&line, 301 * MS, 100 * MS, 0); /* after a hole of 0.2 s */
  run_until (&line, 2 * GST_SECOND);
  EXPECT (&line, 24000, 9600, 4800);
  line_stop (&line);
}
GST_END_TEST;

/* Two bursts with the times of their arrival, of which the second comes while the first plays; and
 * a hole that has passed when its end arrives. */
GST_START_TEST (test_arrival_stamps)
{
  Line line = { 0 };

  line_start (&line, 0);
  run_until (&line, 200 * MS);
  for (guint i = 0; i < 8; i++)
    push (&line, 200 * MS + i * MS, 100 * MS, 0);
  run_until (&line, 600 * MS);
  for (guint i = 0; i < 4; i++)
    push (&line, 600 * MS + i * MS, 100 * MS, 0);
  run_until (&line, 2000 * MS);
  push (&line, 2000 * MS, 100 * MS, 0);
  run_until (&line, 2500 * MS);
  push (&line, 2500 * MS, 100 * MS, 0); /* 0.4 s later, both in arrival and in its time */
  run_until (&line, 4000 * MS);
  EXPECT (&line, 57600, 28800, 4800, 19200, 4800);
  line_stop (&line);
}
GST_END_TEST;

static GstEvent *
new_event (GstEventType type, const gchar *name)
{
  return gst_event_new_custom (type, gst_structure_new_empty (name));
}

/* A serialized event leaves after the audio before it. avatar-clear drops the audio before it. */
GST_START_TEST (test_events)
{
  static const GstEventType types[]
      = { GST_EVENT_CUSTOM_DOWNSTREAM, GST_EVENT_CUSTOM_DOWNSTREAM_OOB };

  for (guint i = 0; i < 2; i++) {
    Line line = { 0 };

    line_start (&line, 0);
    run_until (&line, 200 * MS);
    push (&line, 0, 200 * MS, 0);
    fail_unless (gst_pad_push_event (line.src, new_event (types[0], "test")));
    push (&line, 200 * MS, 200 * MS, 0);
    run_until (&line, 600 * MS);
    fail_unless (line.event_at >= 500 * RATE / 1000);
    fail_unless (line.event_at < 520 * RATE / 1000);
    fail_unless (gst_pad_push_event (line.src, new_event (types[i], "avatar-clear")));
    run_until (&line, 1000 * MS);
    fail_unless (line.event_at >= 600 * RATE / 1000);
    fail_unless (line.event_at <= 620 * RATE / 1000);
    push (&line, 400 * MS, 100 * MS, 0);
    run_until (&line, 2000 * MS);
    EXPECT (&line, 14400, 24000, 4800);
    line_stop (&line);
  }
}
GST_END_TEST;

/* A flush drops what waits, also in a source that is blocked, and is not passed on. */
GST_START_TEST (test_flush)
{
  Line line = { 0 };
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  line_start (&line, 0);
  run_until (&line, 200 * MS);
  push (&line, 0, GST_SECOND, 0);
  run_until (&line, 400 * MS);
  gst_pad_push_event (line.src, gst_event_new_flush_start ());
  gst_pad_push_event (line.src, gst_event_new_flush_stop (TRUE));
  gst_pad_push_event (line.src, gst_event_new_segment (&segment));
  push (&line, 0, 100 * MS, 0);
  run_until (&line, GST_SECOND);
  EXPECT (&line, 4800, 4800, 4800);
  line_stop (&line);
}
GST_END_TEST;

/* The end lets out what has been received, without the clock, and then EOS. */
GST_START_TEST (test_end)
{
  Line line = { 0 };
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstMessage) message = NULL;

  line_start (&line, 0);
  run_until (&line, 200 * MS);
  push (&line, 0, 333 * MS, 0);
  gst_avatar_timeline_end (line.timeline);
  bus = gst_element_get_bus (line.pipeline);
  message = gst_bus_timed_pop_filtered (bus, 600 * GST_SECOND, GST_MESSAGE_EOS);
  fail_unless (message != NULL);
  EXPECT (&line, 333 * RATE / 1000);
  fail_unless_equals_uint64 (line.end, 633 * MS);
  line_stop (&line);
}
GST_END_TEST;

/* In a pipeline that plays already, the output begins at the running time; a pause of the pipeline
 * is none of the audio. */
GST_START_TEST (test_joined)
{
  Line line = { 0 };

  line_start (&line, 5 * GST_SECOND);
  push (&line, 0, 100 * MS, 0);
  push (&line, 100 * MS, 100 * MS, 0);
  run_until (&line, 5150 * MS);
  fail_unless_equals_uint64 (line.first, 5 * GST_SECOND);
  gst_element_set_state (line.pipeline, GST_STATE_PAUSED);
  gst_test_clock_set_time (GST_TEST_CLOCK (line.clock), 9 * GST_SECOND);
  gst_element_set_state (line.pipeline, GST_STATE_PLAYING);
  run_until (&line, 10 * GST_SECOND);
  EXPECT (&line, 9600);
  fail_unless (line.end > 6100 * MS && line.end <= 6150 * MS);
  line_stop (&line);
}
GST_END_TEST;

static Suite *
timeline_suite (void)
{
  Suite *suite = suite_create ("timeline");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_late_output);
  tcase_add_test (tc, test_catching_up);
  tcase_add_test (tc, test_fast_source);
  tcase_add_test (tc, test_jitter);
  tcase_add_test (tc, test_slow_source);
  tcase_add_test (tc, test_clients);
  tcase_add_test (tc, test_time_stamps);
  tcase_add_test (tc, test_arrival_stamps);
  tcase_add_test (tc, test_events);
  tcase_add_test (tc, test_flush);
  tcase_add_test (tc, test_end);
  tcase_add_test (tc, test_joined);
  return suite;
}

GST_CHECK_MAIN (timeline);
