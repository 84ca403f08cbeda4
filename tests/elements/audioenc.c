/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avataraudioenc: any cut of the input, gaps, ends, jumps, and how many features come of them. */
#include <math.h>

#include "support.h"

#define CAPS_S16 "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved"
#define CAPS_F32 "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved"

static GstHarness *
harness_new (const gchar *caps)
{
  GstHarness *h = gst_harness_new ("avataraudioenc");

  gst_harness_set_src_caps_str (h, caps);
  return h;
}

/* A tone from sample @start on, as S16. */
static GstBuffer *
tone (guint start, guint n)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 2 * n, NULL);
  GstMapInfo map;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (guint i = 0; i < n; i++)
    ((gint16 *) map.data)[i] = (gint16) (8000 * sin (0.05 * (start + i)));
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = gst_util_uint64_scale_int (start, GST_SECOND, 16000);
  GST_BUFFER_DURATION (buffer) = gst_util_uint64_scale_int (n, GST_SECOND, 16000);
  return buffer;
}

/* The features of @total samples pushed in pieces of @piece; checks their times. */
static GByteArray *
features_of (guint total, guint piece)
{
  GstHarness *h = harness_new (CAPS_S16);
  GByteArray *bytes = g_byte_array_new ();
  guint n = 0;
  GstBuffer *buffer;

  for (guint at = 0; at < total; at += piece)
    fail_unless_equals_int (gst_harness_push (h, tone (at, MIN (piece, total - at))), GST_FLOW_OK);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  while ((buffer = gst_harness_try_pull (h))) {
    GstMapInfo map;
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), n * 40 * GST_MSECOND);
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (buffer), 40 * GST_MSECOND);
    fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), n);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), n == 0);
    fail_unless_equals_int (gst_buffer_n_memory (buffer), 1);
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
    n++;
  }
  fail_unless_equals_int (n, (total + 639) / 640);
  gst_harness_teardown (h);
  return bytes;
}

GST_START_TEST (test_sizes)
{
  static const guint totals[] = { 1, 641, 2000 };
  static const guint pieces[] = { 1024, 1600, 333, 17 };

  for (guint i = 0; i < G_N_ELEMENTS (totals); i++) {
    g_autoptr (GByteArray) whole = features_of (totals[i], totals[i]);
    for (guint j = 0; j < G_N_ELEMENTS (pieces); j++) {
      g_autoptr (GByteArray) cut = features_of (totals[i], pieces[j]);
      fail_unless_equals_int (whole->len, cut->len);
      fail_unless (memcmp (whole->data, cut->data, cut->len) == 0, "cut of %u into %u differs",
          totals[i], pieces[j]);
    }
  }
}
GST_END_TEST;

GST_START_TEST (test_gap)
{
  GstHarness *h = harness_new (CAPS_S16);
  GstBuffer *buffer;
  guint n = 0, n_gap = 0;

  gst_harness_push (h, tone (0, 3200));
  fail_unless (gst_harness_push_event (h, gst_event_new_gap (200 * GST_MSECOND, GST_SECOND)));
  gst_harness_push (h, tone (3200 + 16000, 1280));
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (h))) {
    gboolean gap = GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP);
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), n * 40 * GST_MSECOND);
    fail_unless_equals_int (gap, n >= 5 && n < 30);
    n_gap += gap ? 1 : 0;
    n++;
    gst_buffer_unref (buffer);
  }
  fail_unless_equals_int (n, 32);
  fail_unless_equals_int (n_gap, 25);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* A hole in the timestamps is silence; a jump of hours is a new stream. */
GST_START_TEST (test_jumps)
{
  GstHarness *h = harness_new (CAPS_S16);
  GstBuffer *buffer = tone (64000, 640);
  guint n = 0;

  gst_harness_push (h, tone (0, 640));
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  gst_harness_push (h, buffer);
  buffer = tone (0, 640);
  GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  GST_BUFFER_PTS (buffer) = 2 * 3600 * GST_SECOND;
  gst_harness_push (h, buffer);
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (h))) {
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer),
        n < 101 ? n * 40 * GST_MSECOND : 2 * 3600 * GST_SECOND);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), n == 0 || n == 101);
    gst_buffer_unref (buffer);
    n++;
  }
  fail_unless_equals_int (n, 102);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_flush)
{
  GstHarness *h = harness_new (CAPS_S16);
  GstSegment segment;
  GstBuffer *buffer;

  gst_harness_push (h, tone (0, 6400));
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
  fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  gst_harness_push (h, tone (16000, 1000));
  gst_harness_push_event (h, gst_event_new_eos ());
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 2);
  buffer = gst_harness_pull (h);
  fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), GST_SECOND);
  fail_unless_equals_uint64 (GST_BUFFER_OFFSET (buffer), 0);
  fail_unless (GST_BUFFER_IS_DISCONT (buffer));
  gst_buffer_unref (buffer);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* NaN is silence, and counted. */
/* A stream that ends while downstream flushes, and nothing else does, is lost. The next one is
 * complete. */
GST_START_TEST (test_flushing_downstream)
{
  GstHarness *h = harness_new (CAPS_S16);
  g_autoptr (GstBus) bus = gst_bus_new ();
  GstSegment segment;
  guint n = 0;
  GstBuffer *buffer;

  gst_element_set_bus (h->element, bus);
  fail_unless_equals_int (gst_harness_push (h, tone (0, 3200)), GST_FLOW_OK);
  GST_OBJECT_LOCK (h->sinkpad);
  GST_PAD_SET_FLUSHING (h->sinkpad);
  GST_OBJECT_UNLOCK (h->sinkpad);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_harness_push_event (h, gst_event_new_segment (&segment));
  GST_OBJECT_LOCK (h->sinkpad);
  GST_PAD_UNSET_FLUSHING (h->sinkpad);
  GST_OBJECT_UNLOCK (h->sinkpad);
  fail_unless_equals_int (gst_harness_push (h, tone (0, 6400)), GST_FLOW_OK);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  while ((buffer = gst_harness_try_pull (h))) {
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), n * 40 * GST_MSECOND);
    gst_buffer_unref (buffer);
    n++;
  }
  fail_unless_equals_int (n, 10);
  fail_unless (gst_bus_pop_filtered (bus, GST_MESSAGE_ERROR) == NULL);
  gst_element_set_bus (h->element, NULL);
  gst_harness_teardown (h);
}
GST_END_TEST;

GST_START_TEST (test_bad_samples)
{
  GstHarness *h = harness_new (CAPS_F32);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 4 * 1280, NULL);
  GstStructure *stats = NULL;
  GstMapInfo map;
  guint64 bad = 0;

  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  for (guint i = 0; i < 1280; i++)
    ((float *) map.data)[i] = i % 100 == 7 ? NAN : 0.1f;
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = 0;
  gst_harness_push (h, buffer);
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (h))) {
    gst_buffer_map (buffer, &map, GST_MAP_READ);
    for (gsize i = 0; i < map.size / sizeof (float); i++)
      fail_unless (isfinite (((float *) map.data)[i]));
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  g_object_get (h->element, "stats", &stats, NULL);
  fail_unless (stats != NULL);
  fail_unless (gst_structure_get_uint64 (stats, "bad-samples", &bad));
  fail_unless_equals_uint64 (bad, 13);
  gst_structure_free (stats);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Another sample format in the middle of the sound does not break it. */
GST_START_TEST (test_renegotiation)
{
  GstHarness *h = harness_new (CAPS_S16);
  g_autoptr (GstCaps) caps = gst_caps_from_string (CAPS_F32);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 4 * 960, NULL);
  guint n = 0;

  gst_harness_push (h, tone (0, 960));
  fail_unless (gst_harness_push_event (h, gst_event_new_caps (caps)));
  gst_buffer_memset (buffer, 0, 0, 4 * 960);
  GST_BUFFER_PTS (buffer) = 60 * GST_MSECOND;
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  while ((buffer = gst_harness_try_pull (h))) {
    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), n * 40 * GST_MSECOND);
    gst_buffer_unref (buffer);
    n++;
  }
  fail_unless_equals_int (n, 3);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Pushes 50 ms of sound at 0 and, after a new STREAM_START and @segment, at 50 ms. */
static GstHarness *
harness_chained (const GstSegment *segment)
{
  GstHarness *h = harness_new (CAPS_S16);

  gst_harness_push (h, tone (0, 800));
  fail_unless (gst_harness_push_event (h, gst_event_new_stream_start ("second")));
  if (segment)
    fail_unless (gst_harness_push_event (h, gst_event_new_segment (segment)));
  fail_unless_equals_int (gst_harness_push (h, tone (800, 800)), GST_FLOW_OK);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  return h;
}

/* Pulls all frames and counts them; @n_evenly: the number whose time stamps are contiguous. */
static guint
count_frames (GstHarness *h, guint *n_evenly)
{
  GstBuffer *buffer;
  guint n = 0;

  *n_evenly = 0;
  while ((buffer = gst_harness_try_pull (h))) {
    *n_evenly += GST_BUFFER_PTS (buffer) == n * 40 * GST_MSECOND ? 1 : 0;
    gst_buffer_unref (buffer);
    n++;
  }
  return n;
}

/* A stream without a segment of its own goes on with the one before it; another begins with one. */
GST_START_TEST (test_chained)
{
  GstHarness *h = harness_chained (NULL);
  GstEvent *event;
  GstSegment segment;
  const gchar *id;
  guint n, n_evenly;

  n = count_frames (h, &n_evenly);
  fail_unless_equals_int (n, 3); /* 100 ms */
  fail_unless_equals_int (n_evenly, 3);
  gst_harness_teardown (h);

  gst_segment_init (&segment, GST_FORMAT_TIME);
  h = harness_chained (&segment);
  n = count_frames (h, &n_evenly);
  fail_unless_equals_int (n, 4); /* twice 50 ms */
  event = gst_pad_get_sticky_event (h->sinkpad, GST_EVENT_STREAM_START, 0);
  gst_event_parse_stream_start (event, &id);
  fail_unless_equals_string (id, "second");
  gst_event_unref (event);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
audioenc_suite (void)
{
  Suite *suite = suite_create ("audioenc");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_sizes);
  tcase_add_test (tc, test_gap);
  tcase_add_test (tc, test_jumps);
  tcase_add_test (tc, test_flush);
  tcase_add_test (tc, test_flushing_downstream);
  tcase_add_test (tc, test_bad_samples);
  tcase_add_test (tc, test_renegotiation);
  tcase_add_test (tc, test_chained);
  return suite;
}

GST_CHECK_MAIN (audioenc);
