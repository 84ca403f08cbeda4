/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The element "liveoutput" of examples/: outputs that fail, block, or end, and what it says. */
#include "examples/live-output.h"
#include "support.h"
#include <fcntl.h>
#include <unistd.h>

#define VIDEO \
  "videotestsrc is-live=true ! video/x-raw,format=I420,width=16,height=16,framerate=50/1 ! "
#define SOUND \
  "audiotestsrc is-live=true samplesperbuffer=160 ! audio/x-raw,format=S16LE,rate=16000,channels=1 ! queue ! "

/* First times of the streams of one connection (ns), or NONE. */
typedef struct
{
  GstClockTime video, audio;
} First;

typedef struct
{
  GstElement *pipeline;
  GMutex lock;
  GArray *first; /* array of First, one each connection */
} Test;

static GstPadProbeReturn
note_first (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Test *test = data;
  g_autoptr (GstElement) element = gst_pad_get_parent_element (pad);
  gboolean is_video = g_str_equal (GST_ELEMENT_NAME (element), "video");

  g_mutex_lock (&test->lock);
  First *first = &g_array_index (test->first, First, test->first->len - 1);
  GstClockTime *time = is_video ? &first->video : &first->audio;
  if (!GST_CLOCK_TIME_IS_VALID (*time))
    *time = GST_BUFFER_PTS (GST_PAD_PROBE_INFO_BUFFER (info));
  g_mutex_unlock (&test->lock);
  return GST_PAD_PROBE_OK;
}

static void
on_element_added (GstBin *bin, GstBin *inner, GstElement *element, gpointer data)
{
  const First none = { GST_CLOCK_TIME_NONE, GST_CLOCK_TIME_NONE };
  const gchar *name = GST_ELEMENT_NAME (element);
  Test *test = data;
  g_autoptr (GstPad) pad = NULL;

  if (!g_str_equal (name, "video") && !g_str_equal (name, "audio"))
    return;
  if (g_str_equal (name, "video")) {
    g_mutex_lock (&test->lock);
    g_array_append_val (test->first, none);
    g_mutex_unlock (&test->lock);
  }
  pad = gst_element_get_static_pad (element, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, note_first, test, NULL);
}

static void
start (Test *test, const gchar *launch)
{
  g_autoptr (GError) error = NULL;

  avatar_live_output_register ();
  g_mutex_init (&test->lock);
  test->first = g_array_new (FALSE, FALSE, sizeof (First));
  test->pipeline = gst_parse_launch_full (launch, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
  fail_unless (test->pipeline != NULL, "%s", error ? error->message : "no pipeline");
  g_autoptr (GstElement) out = gst_bin_get_by_name (GST_BIN (test->pipeline), "out");
  g_signal_connect (out, "deep-element-added", G_CALLBACK (on_element_added), test);
  gst_element_set_state (test->pipeline, GST_STATE_PLAYING);
}

static void
stop (Test *test)
{
  gst_element_set_state (test->pipeline, GST_STATE_NULL);
  gst_object_unref (test->pipeline);
  g_array_unref (test->first);
  g_mutex_clear (&test->lock);
}

/* Waits for a message: "live-output" of this state, an error, or EOS. Returns its text. */
static gchar *
wait_for (Test *test, const gchar *wanted)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (test->pipeline);

  for (;;) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_ERROR | GST_MESSAGE_EOS | GST_MESSAGE_ELEMENT);
    g_autoptr (GError) error = NULL;

    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      fail_unless (g_str_equal (wanted, "error"), "expected %s, got the error: %s", wanted,
          error->message);
      return g_strdup (error->message);
    }
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS) {
      fail_unless (g_str_equal (wanted, "eos"), "expected %s, got EOS", wanted);
      return g_strdup ("");
    }
    const GstStructure *s = gst_message_get_structure (message);
    if (gst_structure_has_name (s, "live-output")
        && g_strcmp0 (gst_structure_get_string (s, "state"), wanted) == 0)
      return g_strdup (gst_structure_get_string (s, "reason"));
  }
}

/* An output that fails again and again is made anew, and the streams begin together each time. */
GST_START_TEST (test_failure)
{
  Test test;

  start (&test,
      VIDEO
      "out.video " SOUND "out.audio liveoutput name=out min-wait=1000000 max-wait=1000000 "
      "description=\"identity name=video error-after=20 ! fakesink identity name=audio ! fakesink\"");
  for (guint i = 0; i < 4; i++) {
    g_autofree gchar *reason = wait_for (&test, "lost");
    fail_unless (strstr (reason, "Failed after iterations"), "%s", reason);
  }
  gst_element_send_event (test.pipeline, gst_event_new_eos ());
  g_free (wait_for (&test, "eos"));
  /* The sources of the first connection may have started at different times. */
  for (guint i = 1; i < 4; i++) {
    First first = g_array_index (test.first, First, i);
    fail_unless (GST_CLOCK_TIME_IS_VALID (first.video) && GST_CLOCK_TIME_IS_VALID (first.audio));
    fail_unless (first.audio >= first.video && first.audio - first.video < 10 * GST_MSECOND,
        "connection %u: video from %" GST_TIME_FORMAT ", audio from %" GST_TIME_FORMAT, i,
        GST_TIME_ARGS (first.video), GST_TIME_ARGS (first.audio));
  }
  stop (&test);
}
GST_END_TEST;

/* A sink that takes nothing is given up, also by a change of state. */
GST_START_TEST (test_stall)
{
  g_autofree gchar *launch = NULL;
  Test test;
  int ends[2];

  fail_unless (pipe (ends) == 0);
  launch = g_strdup_printf (VIDEO
      "out.video liveoutput name=out stall-timeout=50000000 min-wait=1000000 max-wait=1000000 "
      "description=\"identity name=video ! fdsink sync=false fd=%d\"",
      ends[1]);
  start (&test, launch);
  for (guint i = 0; i < 2; i++) {
    g_autofree gchar *reason = wait_for (&test, "lost");
    fail_unless (strstr (reason, "stopped to take data"), "%s", reason);
  }
  stop (&test);
  close (ends[0]);
  close (ends[1]);
}
GST_END_TEST;

/* Without retries a failure is an error of the element, as is a description that is wrong. */
GST_START_TEST (test_fatal)
{
  static const gchar *const cases[][2] = {
    { "retry=false description=\"identity name=video error-after=3 ! fakesink\"", "Failed after" },
    { "description=\"no-such-element name=video\"", "no-such-element" },
    { "description=\"identity ! fakesink\"", "neither an element 'video' nor 'mux'" },
    { "description=\"videotestsrc name=video ! fakesink\"", "takes no video" },
    { "retry=false description=\"identity name=video ! audio/x-raw ! fakesink\"",
        "refused data: not-negotiated" },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *launch
        = g_strconcat (VIDEO "out.video liveoutput name=out ", cases[i][0], NULL);
    g_autofree gchar *text = NULL;
    Test test;

    start (&test, launch);
    text = wait_for (&test, "error");
    fail_unless (strstr (text, cases[i][1]), "%s: \"%s\"", cases[i][0], text);
    stop (&test);
  }
}
GST_END_TEST;

/* EOS ends the output while it is missing, before it had data, and after a normal run. */
GST_START_TEST (test_eos)
{
  static const gchar *const cases[] = {
    "videotestsrc num-buffers=0 ! out.video liveoutput name=out description=\"identity name=video ! fakesink\"",
    "videotestsrc num-buffers=9 ! out.video liveoutput name=out description=\"identity name=video ! fakesink\"",
    ("videotestsrc num-buffers=99 ! out.video liveoutput name=out description=\"identity name=video error-after=5 ! "
     "fakesink sync=false\" min-wait=3600000000000 max-wait=3600000000000"),
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    Test test;

    start (&test, cases[i]);
    g_free (wait_for (&test, "eos"));
    stop (&test);
  }
}
GST_END_TEST;

/* The element starts and stops at any time. */
GST_START_TEST (test_states)
{
  Test test;

  start (&test,
      VIDEO "out.video liveoutput name=out min-wait=1000000 "
            "description=\"identity name=video error-after=2 ! fakesink\"");
  for (guint i = 0; i < 20; i++) {
    gst_element_set_state (test.pipeline, i % 3 == 0 ? GST_STATE_NULL : GST_STATE_PAUSED);
    gst_element_set_state (test.pipeline, GST_STATE_PLAYING);
    if (i % 2 == 0)
      g_free (wait_for (&test, "lost"));
  }
  stop (&test);
}
GST_END_TEST;

static Suite *
liveoutput_suite (void)
{
  Suite *suite = suite_create ("liveoutput");
  TCase *tcase = tcase_create ("general");

  suite_add_tcase (suite, tcase);
  tcase_add_test (tcase, test_failure);
  tcase_add_test (tcase, test_stall);
  tcase_add_test (tcase, test_fatal);
  tcase_add_test (tcase, test_eos);
  tcase_add_test (tcase, test_states);
  return suite;
}

GST_CHECK_MAIN (liveoutput);
