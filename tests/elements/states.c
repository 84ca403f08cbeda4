/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State changes. Stopping and flushing do not wait for the computation: no further step follows,
 * although many are left. */
#include "support.h"

/* Hundreds of steps, so that there is something to interrupt. A file, as audiotestsrc counts its
 * buffers on over a seek. */
#define LONG_RUN                                                                      \
  "filesrc location=%s ! wavparse ! audioconvert ! audioresample ! avataraudioenc ! " \
  "avatardenoise name=denoise steps=500 ! avatarvaedecode ! " SMALL_VIDEO             \
  " ! fakesink name=sink async=false"

GST_START_TEST (test_up_down)
{
  static const gchar *const names[]
      = { "avataraudioenc", "avatardenoise", "avatarvaedecode", "avatarbin" };
  g_autofree gchar *portrait = sample_path ("portrait.png");

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElement *element = gst_element_factory_make (names[i], NULL);
    fail_unless (element != NULL);
    if (i % 2 == 1)
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

/* A queue is closed before its pad, when the element stops. An event that it refuses then must be
 * refused as flushing: as an error, it would end the source. */
GST_START_TEST (test_event_at_a_closed_queue)
{
  static const gchar *const names[] = { "avatardenoise", "avatarvaedecode" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    GstElement *element = gst_element_factory_make (names[i], NULL);
    g_autoptr (GstPad) pad = gst_element_get_static_pad (element, "sink");
    GstPadEventFullFunction event = GST_PAD_EVENTFULLFUNC (pad);

    fail_unless (event != NULL);
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_READY),
        GST_STATE_CHANGE_SUCCESS);
    fail_unless_equals_int (event (pad, GST_OBJECT (element),
                                gst_event_new_tag (gst_tag_list_new_empty ())),
        GST_FLOW_FLUSHING);
    fail_unless_equals_int (gst_element_set_state (element, GST_STATE_NULL),
        GST_STATE_CHANGE_SUCCESS);
    gst_object_unref (element);
  }
}
GST_END_TEST;

/* Stops or flushes at a step of the denoiser. */
typedef struct
{
  GMutex lock;
  GCond cond;
  GstPad *src;        /* the denoiser's, which its task belongs to */
  gboolean stop_here; /* the next step is to wait until the task has been told to stop */
  gboolean waits;     /* that step has come */
  gboolean stopped;   /* the task has been told so, and has not begun anew */
  guint late_steps;   /* steps after the stop */
} Steps;

/* In the task's thread. @steps->lock is held. */
static void
wait_for_stop (Steps *steps)
{
  steps->stop_here = FALSE;
  steps->waits = TRUE;
  g_cond_broadcast (&steps->cond);
  g_mutex_unlock (&steps->lock);
  /* The element cancels the computation first, then stops or pauses its task. */
  while (gst_pad_get_task_state (steps->src) == GST_TASK_STARTED)
    g_usleep (1000);
  g_mutex_lock (&steps->lock);
  steps->stopped = TRUE;
}

static GstBusSyncReply
on_step (GstBus *bus, GstMessage *message, gpointer data)
{
  Steps *steps = data;
  g_autofree gchar *code = NULL;
  GstProgressType type;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return GST_BUS_PASS;
  gst_message_parse_progress (message, &type, &code, NULL);
  if (!g_str_equal (code, "denoise"))
    return GST_BUS_PASS;
  g_mutex_lock (&steps->lock);
  if (type == GST_PROGRESS_TYPE_START)
    steps->stopped = FALSE;
  else if (type == GST_PROGRESS_TYPE_CONTINUE || type == GST_PROGRESS_TYPE_COMPLETE) {
    if (steps->stopped)
      steps->late_steps++;
    else if (steps->stop_here)
      wait_for_stop (steps);
  }
  g_mutex_unlock (&steps->lock);
  return GST_BUS_PASS;
}

static GstElement *
start_long_run (Steps *steps)
{
  g_autofree gchar *sound = sample_path ("hello.wav");
  g_autofree gchar *launch = g_strdup_printf (LONG_RUN, sound);
  GstElement *pipeline = gst_parse_launch (launch, NULL);
  GstElement *denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  g_autofree gchar *portrait = sample_path ("portrait.png");

  g_mutex_init (&steps->lock);
  g_cond_init (&steps->cond);
  steps->src = gst_element_get_static_pad (denoise, "src");
  g_object_set (denoise, "reference", portrait, NULL);
  gst_object_unref (denoise);
  gst_bus_set_sync_handler (bus, on_step, steps, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  return pipeline;
}

/* Waits for the end of a step, at which the task stays until it has been told to stop. */
static void
wait_for_step (Steps *steps)
{
  g_mutex_lock (&steps->lock);
  steps->stop_here = TRUE;
  steps->waits = FALSE;
  while (!steps->waits)
    g_cond_wait (&steps->cond, &steps->lock);
  g_mutex_unlock (&steps->lock);
}

static void
end_long_run (GstElement *pipeline, Steps *steps)
{
  gst_element_set_state (pipeline, GST_STATE_NULL);
  fail_unless (steps->stopped);
  fail_unless_equals_int (steps->late_steps, 0);
  gst_object_unref (pipeline);
  gst_object_unref (steps->src);
  g_mutex_clear (&steps->lock);
  g_cond_clear (&steps->cond);
}

GST_START_TEST (test_stop_while_computing)
{
  Steps steps = { 0 };
  GstElement *pipeline = start_long_run (&steps);

  wait_for_step (&steps);
  end_long_run (pipeline, &steps);
}
GST_END_TEST;

GST_START_TEST (test_flush_while_computing)
{
  Steps steps = { 0 };
  GstElement *pipeline = start_long_run (&steps);

  for (guint i = 0; i < 3; i++) {
    wait_for_step (&steps);
    fail_unless (gst_element_seek_simple (pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  }
  /* It computes again after the last one. */
  wait_for_step (&steps);
  end_long_run (pipeline, &steps);
}
GST_END_TEST;

static GstPadProbeReturn
count_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer count)
{
  g_atomic_int_inc ((gint *) count);
  return GST_PAD_PROBE_OK;
}

/* Pops messages up to EOS or, if @step, up to the first step of a window. Counts starts and ends;
 * @open: TRUE if a start has no end yet. */
typedef struct
{
  guint starts, completes, cancels;
  gboolean open;
} Progress;

static void
follow_progress (GstElement *pipeline, gboolean step, Progress *p)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);

  while (TRUE) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop_filtered (bus, 60 * GST_SECOND,
        GST_MESSAGE_PROGRESS | GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    g_autofree gchar *code = NULL;
    GstProgressType type;

    fail_unless (message && GST_MESSAGE_TYPE (message) != GST_MESSAGE_ERROR);
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
      return;
    gst_message_parse_progress (message, &type, &code, NULL);
    if (!g_str_equal (code, "denoise"))
      continue;
    fail_unless (p->open == (type != GST_PROGRESS_TYPE_START));
    p->open = type == GST_PROGRESS_TYPE_START || type == GST_PROGRESS_TYPE_CONTINUE;
    p->starts += type == GST_PROGRESS_TYPE_START;
    p->completes += type == GST_PROGRESS_TYPE_COMPLETE;
    p->cancels += type == GST_PROGRESS_TYPE_CANCELED;
    if (step && type == GST_PROGRESS_TYPE_CONTINUE)
      return;
  }
}

/* Every start is completed or canceled before the next start. */
GST_START_TEST (test_progress_of_a_cut_window)
{
  g_autofree gchar *sound = sample_path ("hello.wav");
  g_autofree gchar *launch = g_strdup_printf ("filesrc location=%s ! wavparse ! audioconvert ! "
                                              "audioresample ! avataraudioenc ! " DENOISE
                                              "00 ! " SMALL_LATENTS " ! fakesink",
      sound);
  GstElement *pipeline = pipeline_new (launch, TRUE);
  Progress progress = { 0 };

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  follow_progress (pipeline, TRUE, &progress);
  fail_unless (gst_element_seek (pipeline, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH,
      GST_SEEK_TYPE_SET, 0, GST_SEEK_TYPE_SET, 40 * GST_MSECOND));
  follow_progress (pipeline, FALSE, &progress);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  fail_if (progress.open);
  fail_unless_equals_int (progress.starts, 2);
  fail_unless_equals_int (progress.cancels, 1);
  fail_unless_equals_int (progress.completes, 1);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* Nobody who sends a portrait: the task waits for it, and must stop waiting, or this never ends. */
GST_START_TEST (test_stop_without_portrait)
{
  GstElement *pipeline
      = gst_parse_launch (AUDIO (5) " ! " DENOISE " ! fakesink async=false appsrc ! "
                                    "video/x-raw,format=RGB,width=64,height=64 ! denoise.reference",
          NULL);
  GstElement *denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  GstPad *sink = gst_element_get_static_pad (denoise, "sink");
  gint features = 0;

  gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_BUFFER, count_buffer, &features, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  while (g_atomic_int_get (&features) < 2)
    g_usleep (1000);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (sink);
  gst_object_unref (denoise);
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
  tcase_add_test (tc, test_event_at_a_closed_queue);
  tcase_add_test (tc, test_stop_while_computing);
  tcase_add_test (tc, test_flush_while_computing);
  tcase_add_test (tc, test_progress_of_a_cut_window);
  tcase_add_test (tc, test_stop_without_portrait);
  return suite;
}

GST_CHECK_MAIN (states);
