/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* States up and down, and the promise that stopping and flushing do not wait for the computation. */
#include "support.h"

/* Many seconds of work, so that there is something to interrupt. A file, as audiotestsrc counts its
 * buffers on over a seek. */
#define LONG_RUN                                                                      \
  "filesrc location=%s ! wavparse ! audioconvert ! audioresample ! avataraudioenc ! " \
  "avatardenoise name=denoise steps=500 ! avatarvaedecode ! " SMALL_VIDEO             \
  " ! fakesink name=sink async=false"
/* 200 ms is the promise; the rest is for a busy machine under a sanitizer. */
#define SOON_US (1000 * 1000)

GST_START_TEST (test_up_down)
{
  static const gchar *const names[] = { "avataraudioenc", "avatardenoise", "avatarvaedecode" };
  g_autofree gchar *portrait = sample_path ("portrait.png");

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElement *element = gst_element_factory_make (names[i], NULL);
    fail_unless (element != NULL);
    if (i == 1)
      g_object_set (element, "reference", portrait, NULL);
    for (guint round = 0; round < 3; round++) {
      fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PLAYING),
          GST_STATE_CHANGE_SUCCESS);
      fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED),
          GST_STATE_CHANGE_SUCCESS);
      fail_unless_equals_int (gst_element_set_state (element, GST_STATE_READY),
          GST_STATE_CHANGE_SUCCESS);
      fail_unless_equals_int (gst_element_set_state (element, GST_STATE_PAUSED),
          GST_STATE_CHANGE_SUCCESS);
      fail_unless_equals_int (gst_element_set_state (element, GST_STATE_NULL),
          GST_STATE_CHANGE_SUCCESS);
    }
    gst_object_unref (element);
  }
}
GST_END_TEST;

static GstElement *
start_long_run (void)
{
  g_autofree gchar *sound = sample_path ("hello.wav");
  g_autofree gchar *launch = g_strdup_printf (LONG_RUN, sound);
  GstElement *pipeline = gst_parse_launch (launch, NULL);
  GstElement *denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autofree gchar *portrait = sample_path ("portrait.png");

  g_object_set (denoise, "reference", portrait, NULL);
  gst_object_unref (denoise);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  return pipeline;
}

static void
wait_for_step (GstElement *pipeline)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  gboolean computing = FALSE;

  while (!computing) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND,
        GST_MESSAGE_PROGRESS | GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    g_autofree gchar *code = NULL;
    GstProgressType type;

    fail_unless (message && GST_MESSAGE_TYPE (message) == GST_MESSAGE_PROGRESS);
    gst_message_parse_progress (message, &type, &code, NULL);
    computing = g_str_equal (code, "denoise") && type == GST_PROGRESS_TYPE_CONTINUE;
  }
  gst_bus_set_flushing (bus, TRUE);
  gst_bus_set_flushing (bus, FALSE);
}

GST_START_TEST (test_stop_while_computing)
{
  GstElement *pipeline = start_long_run ();
  gint64 begin;

  wait_for_step (pipeline);
  begin = g_get_monotonic_time ();
  gst_element_set_state (pipeline, GST_STATE_NULL);
  fail_unless (g_get_monotonic_time () - begin < SOON_US);
  gst_object_unref (pipeline);
}
GST_END_TEST;

GST_START_TEST (test_flush_while_computing)
{
  GstElement *pipeline = start_long_run ();
  gint64 begin;

  for (guint i = 0; i < 3; i++) {
    wait_for_step (pipeline);
    begin = g_get_monotonic_time ();
    fail_unless (gst_element_seek_simple (pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
    fail_unless (g_get_monotonic_time () - begin < SOON_US);
  }
  /* It computes again after the last one. */
  wait_for_step (pipeline);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* Nobody who sends a portrait: the task waits for it, and must stop waiting. */
GST_START_TEST (test_stop_without_portrait)
{
  GstElement *pipeline
      = gst_parse_launch (AUDIO (5) " ! " DENOISE " ! fakesink async=false appsrc ! "
                                    "video/x-raw,format=RGB,width=64,height=64 ! denoise.reference",
          NULL);
  gint64 begin;

  fail_unless (pipeline != NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  g_usleep (300 * 1000);
  begin = g_get_monotonic_time ();
  gst_element_set_state (pipeline, GST_STATE_NULL);
  fail_unless (g_get_monotonic_time () - begin < SOON_US);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static Suite *
states_suite (void)
{
  Suite *suite = suite_create ("states");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_up_down);
  tcase_add_test (tc, test_stop_while_computing);
  tcase_add_test (tc, test_flush_while_computing);
  tcase_add_test (tc, test_stop_without_portrait);
  return suite;
}

GST_CHECK_MAIN (states);
