/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Latency: how much audio the elements need before something comes out, and what they answer to the
 * LATENCY query. */
#include "gst/gstavatarlateness.h"
#include "gst/gstavatarprocessing.h"
#include "support.h"

#include <gst/check/gsttestclock.h>

#define AUDIO_CAPS "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved"
#define FRAME (40 * GST_MSECOND)

/* Pushes the audio of video frame @i. */
static void
push_frame (GstHarness *h, guint i)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 640 * sizeof (float), NULL);

  gst_buffer_memset (buffer, 0, 0, 640 * sizeof (float));
  GST_BUFFER_PTS (buffer) = i * FRAME;
  GST_BUFFER_DURATION (buffer) = FRAME;
  fail_unless_equals_int (gst_harness_push (h, buffer), GST_FLOW_OK);
}

static GstHarness *
harness_new (const gchar *launch)
{
  g_autofree gchar *reference = sample_path ("portrait.png");
  g_autofree gchar *whole = g_strdup_printf (launch, reference);
  GstHarness *h = gst_harness_new_parse (whole);

  gst_harness_set_src_caps_str (h, AUDIO_CAPS);
  return h;
}

static GstPadProbeReturn
count_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  ++*(guint *) data;
  return GST_PAD_PROBE_OK;
}

/* Pushes @n frames of audio from frame @from on, and expects features after the last one only. */
static void
expect_features (GstHarness *h, const guint *n_features, guint from, guint n, guint expected)
{
  guint before = *n_features;

  for (guint i = 0; i < n; i++) {
    fail_unless_equals_int (*n_features, before);
    push_frame (h, from + i);
  }
  fail_unless_equals_int (*n_features, before + expected);
}

static void
expect_latents (GstHarness *h, guint n)
{
  for (guint i = 0; i < n; i++)
    gst_buffer_unref (gst_harness_pull (h));
}

/* With aligned windows, latents come as soon as the audio of a window of the denoiser and the
 * look-ahead are there: 4 x 4 - 3 and 3 frames for the first window, 4 x (4 - 1) for the next. */
GST_START_TEST (test_aligned)
{
  GstHarness *h = harness_new ("avataraudioenc name=enc align-windows=true lookahead=3 "
                               "! avatardenoise steps=1 window-latents=4 overlap=1 reference=%s "
                               "! capsfilter caps=\"" SMALL_LATENTS "\"");
  GstElement *enc = gst_harness_find_element (h, "avataraudioenc");
  GstPad *pad = gst_element_get_static_pad (enc, "src");
  guint n_features = 0;

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, count_buffer, &n_features, NULL);
  expect_features (h, &n_features, 0, 16, 13);
  expect_latents (h, 4);
  expect_features (h, &n_features, 16, 12, 12);
  expect_latents (h, 3);
  expect_features (h, &n_features, 28, 12, 12);
  expect_latents (h, 3);
  gst_object_unref (pad);
  gst_object_unref (enc);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Without a denoiser that tells its windows, the properties apply. */
GST_START_TEST (test_not_aligned)
{
  GstHarness *h = harness_new ("avataraudioenc align-windows=true window-frames=5 "
                               "first-window-frames=7 context=4 lookahead=0");

  for (guint i = 0; i < 12; i++)
    push_frame (h, i);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 12);
  push_frame (h, 12);
  fail_unless_equals_int (gst_harness_buffers_in_queue (h), 12);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The encoder's latency is its longest window and the look-ahead. */
GST_START_TEST (test_encoder_query)
{
  static const struct
  {
    const gchar *launch;
    guint frames;
  } cases[] = {
    { "avataraudioenc window-frames=8 first-window-frames=13 context=25 lookahead=3", 13 + 3 },
    { "avataraudioenc window-frames=25 context=5", 25 + 5 },
    { "avataraudioenc window-frames=25 context=5 lookahead=0", 25 },
    { "avataraudioenc", 750 + 25 },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = harness_new (cases[i].launch);

    fail_unless_equals_uint64 (gst_harness_query_latency (h), cases[i].frames * FRAME);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

/* The first window sets the time, with a margin of a half, in video frames. Later ones only raise
 * it, and only if two of the last eight are longer. */
GST_START_TEST (test_measured)
{
  const GstClockTime longest = 20 * FRAME, assumed = 13 * FRAME;
  GstAvatarProcessing p;

  gst_avatar_processing_init (&p);
  p.live = TRUE;
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), assumed);
  fail_unless (gst_avatar_processing_add (&p, 3 * FRAME + 1, longest)); /* x 1.5, rounded up */
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), 5 * FRAME);
  for (guint i = 0; i < 20; i++)
    fail_if (gst_avatar_processing_add (&p, FRAME, longest));
  fail_if (gst_avatar_processing_add (&p, 9 * FRAME, longest));
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), 5 * FRAME);
  fail_unless (gst_avatar_processing_add (&p, 8 * FRAME, longest));
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), 12 * FRAME);
  /* more latency does not help a stage that is slower than real time */
  gst_avatar_processing_add (&p, 50 * FRAME, longest);
  fail_unless (gst_avatar_processing_add (&p, 50 * FRAME, longest));
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), longest);
  fail_if (gst_avatar_processing_add (&p, 50 * FRAME, longest));
  gst_avatar_processing_restart (&p);
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), longest);
  fail_unless (gst_avatar_processing_add (&p, FRAME, longest));
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, assumed), 2 * FRAME);
}
GST_END_TEST;

/* Pipelines that are not live keep the assumption; the property replaces both. */
GST_START_TEST (test_not_measured)
{
  GstAvatarProcessing p;

  gst_avatar_processing_init (&p);
  fail_if (gst_avatar_processing_add (&p, FRAME, 20 * FRAME));
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, 13 * FRAME), 13 * FRAME);
  p.fixed = 7;
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, 13 * FRAME), 7);
  p.live = TRUE;
  fail_if (gst_avatar_processing_add (&p, 50 * FRAME, 60 * FRAME));
  fail_unless_equals_uint64 (gst_avatar_processing_get (&p, 13 * FRAME), 7);
}
GST_END_TEST;

#define CHAIN(encoder, denoiser)                                              \
  "avataraudioenc " encoder " ! avatardenoise steps=1 reference=%s " denoiser \
  " ! capsfilter caps=\"" SMALL_LATENTS "\""
#define FIXED " processing-latency=100000000 "

/* Window and look-ahead, the wait for the end of a later window of the encoder, and computing. */
GST_START_TEST (test_chain_query)
{
  static const struct
  {
    const gchar *launch;
    GstClockTime latency;
  } cases[] = {
    { CHAIN ("align-windows=true lookahead=3", "window-latents=4 overlap=1"),
        (13 + 3 + 13) * FRAME },
    { CHAIN ("align-windows=true lookahead=3" FIXED, "window-latents=4 overlap=1" FIXED),
        (13 + 3 + 5) * FRAME },
    { CHAIN ("window-frames=25 context=5" FIXED, "window-latents=7 overlap=2" FIXED),
        (25 + 5 + 15 + 5) * FRAME },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstHarness *h = harness_new (cases[i].launch);

    fail_unless_equals_uint64 (gst_harness_query_latency (h), cases[i].latency);
    gst_harness_teardown (h);
  }
}
GST_END_TEST;

static guint
count_latency_messages (GstBus *bus, GstElement *from)
{
  GstMessage *message;
  guint n = 0;

  while ((message = gst_bus_pop_filtered (bus, GST_MESSAGE_LATENCY))) {
    n += GST_MESSAGE_SRC (message) == GST_OBJECT (from) ? 1 : 0;
    gst_message_unref (message);
  }
  return n;
}

/* A message tells that the first window has changed the answer, which is then at most the
 * assumption and in whole frames, whatever the speed of the machine. */
GST_START_TEST (test_reposted)
{
  GstHarness *h
      = harness_new (CHAIN ("align-windows=true lookahead=3" FIXED, "window-latents=4 overlap=1"));
  GstElement *denoise = gst_harness_find_element (h, "avatardenoise");
  g_autoptr (GstBus) bus = gst_bus_new ();
  const GstClockTime fixed = (13 + 3) * FRAME + 100 * GST_MSECOND;
  GstClockTime before, after;

  gst_element_set_bus (h->element, bus);
  before = gst_harness_query_latency (h);
  fail_unless_equals_uint64 (before, fixed + 13 * FRAME);
  for (guint i = 0; i < 16; i++)
    push_frame (h, i);
  expect_latents (h, 4);
  after = gst_harness_query_latency (h);
  fail_unless (after > fixed && after <= before && (after - fixed) % FRAME == 0);
  fail_unless_equals_int (count_latency_messages (bus, denoise), 1);
  g_object_set (denoise, "processing-latency", (guint64) 80 * GST_MSECOND, NULL);
  fail_unless_equals_int (count_latency_messages (bus, denoise), 1);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), fixed + 2 * FRAME);
  gst_element_set_bus (h->element, NULL);
  gst_object_unref (denoise);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* The deadline of output: known by the clock of a live pipeline that plays. */
GST_START_TEST (test_deadline)
{
  GstElement *bin = gst_bin_new (NULL);
  GstClock *clock = gst_test_clock_new_with_start_time (10 * GST_SECOND);
  g_autoptr (GstQuery) query = gst_query_new_latency ();
  GstAvatarLateness lateness;
  gint64 before, deadline, after;

  gst_avatar_lateness_reset (&lateness);
  gst_element_set_clock (bin, clock);
  gst_element_set_base_time (bin, 9 * GST_SECOND);
  gst_query_set_latency (query, TRUE, 2 * GST_SECOND, GST_CLOCK_TIME_NONE);
  gst_avatar_lateness_take_query (&lateness, bin, query);
  fail_unless_equals_int64 (gst_avatar_lateness_get_deadline (&lateness, bin, 3 * GST_SECOND),
      G_MAXINT64);
  gst_element_set_state (bin, GST_STATE_PLAYING);
  /* now is 1 s, and output of 3 s has to leave at 5 s */
  before = g_get_monotonic_time ();
  deadline = gst_avatar_lateness_get_deadline (&lateness, bin, 3 * GST_SECOND);
  after = g_get_monotonic_time ();
  fail_unless (deadline >= before + 4 * G_TIME_SPAN_SECOND);
  fail_unless (deadline <= after + 4 * G_TIME_SPAN_SECOND);
  fail_unless_equals_int64 (gst_avatar_lateness_get_deadline (&lateness, bin, GST_CLOCK_TIME_NONE),
      G_MAXINT64);
  gst_query_set_latency (query, FALSE, 0, GST_CLOCK_TIME_NONE);
  gst_avatar_lateness_take_query (&lateness, bin, query);
  fail_unless_equals_int64 (gst_avatar_lateness_get_deadline (&lateness, bin, 3 * GST_SECOND),
      G_MAXINT64);
  gst_element_set_state (bin, GST_STATE_NULL);
  gst_object_unref (bin);
  gst_object_unref (clock);
}
GST_END_TEST;

static Suite *
latency_suite (void)
{
  Suite *suite = suite_create ("latency");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_aligned);
  tcase_add_test (tc, test_not_aligned);
  tcase_add_test (tc, test_encoder_query);
  tcase_add_test (tc, test_measured);
  tcase_add_test (tc, test_not_measured);
  tcase_add_test (tc, test_chain_query);
  tcase_add_test (tc, test_reposted);
  tcase_add_test (tc, test_deadline);
  return suite;
}

GST_CHECK_MAIN (latency);
