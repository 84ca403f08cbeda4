/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tests avatarbin while it plays: another portrait, an error after frames were shown, and
 * continuous audio in a pipeline that plays already. */
#include "support.h"

#include <gst/check/gsttestclock.h>
#include <string.h>

#define SOUND                                                  \
  "audiotestsrc wave=saw samplesperbuffer=640 num-buffers=25 " \
  "! audio/x-raw,format=F32LE,rate=16000,channels=1"
/* Windows of 9, 8 and 8 frames, each decoded at once. */
#define BIN                                                               \
  "avatarbin name=avatar steps=1 mode=stream window-latents=3 overlap=1 " \
  "window-frames=8 context=2 tiling=stream prompt-cache-location=none"
#define FIRST 9
#define SINKS                                                                                      \
  " avatar.video ! video/x-raw,width=64,height=64,format=RGB ! fakesink name=sink avatar.audio ! " \
  "fakesink"
#define PICTURE "video/x-raw,format=RGB,width=64,height=64,framerate=(fraction)0/1"

typedef struct
{
  GstPad *pad; /* (nullable): the bin's reference */
  gboolean change, lower_budget;
  guint n_done; /* windows of the denoiser */
  guint n_told; /* messages avatar-settings */
  guint64 told; /* PTS from which the settings apply */
  GMutex lock;
  GCond cond;
  guint n_frames; /* at the bin's pad; guarded by @lock */
} Plan;

/* Sends a picture whose bytes are all @value. */
static void
push_picture (GstPad *pad, guint8 value)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 64 * 64 * 3, NULL);

  gst_buffer_memset (buffer, 0, value, 64 * 64 * 3);
  fail_unless_equals_int (gst_pad_chain (pad, buffer), GST_FLOW_OK);
}

static void
begin_pictures (GstPad *pad)
{
  g_autoptr (GstCaps) caps = gst_caps_from_string (PICTURE);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_send_event (pad, gst_event_new_stream_start ("pictures"));
  gst_pad_send_event (pad, gst_event_new_caps (caps));
  gst_pad_send_event (pad, gst_event_new_segment (&segment));
  push_picture (pad, 0x30);
}

static gboolean
is_paused (GstMessage *message)
{
  GstState before = GST_STATE_NULL, state = GST_STATE_NULL;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_STATE_CHANGED)
    gst_message_parse_state_changed (message, &before, &state, NULL);
  return before == GST_STATE_READY && state == GST_STATE_PAUSED;
}

static gboolean
is_window (GstMessage *message)
{
  g_autofree gchar *code = NULL;
  GstProgressType type;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return FALSE;
  gst_message_parse_progress (message, &type, &code, NULL);
  return g_str_equal (code, "denoise") && type == GST_PROGRESS_TYPE_COMPLETE;
}

/* Lowers the budget after the first frame has left. The decoder has all latents of the first
 * window. */
static void
lower_budget (GstElement *pipeline, Plan *plan)
{
  g_autoptr (GstElement) bin = gst_bin_get_by_name (GST_BIN (pipeline), "avatar");

  g_mutex_lock (&plan->lock);
  while (plan->n_frames == 0)
    g_cond_wait (&plan->cond, &plan->lock);
  g_mutex_unlock (&plan->lock);
  g_object_set (bin, "vram-budget", "1", NULL);
}

/* Called by the thread that denoises for its messages. */
static void
follow (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Plan *plan = data;

  if (!message || !g_str_equal (GST_MESSAGE_SRC_NAME (message), "denoise"))
    return;
  if (gst_message_has_name (message, "avatar-settings")) {
    plan->n_told++;
    gst_structure_get_clock_time (gst_message_get_structure (message), "timestamp", &plan->told);
  }
  if (plan->pad && is_paused (message))
    begin_pictures (plan->pad);
  if (!is_window (message))
    return;
  plan->n_done++;
  if (plan->change && plan->n_done == 1)
    push_picture (plan->pad, 0xc0);
  if (plan->lower_budget && plan->n_done == 2)
    lower_budget (pipeline, plan);
}

static GstPadProbeReturn
count_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Plan *plan = data;

  g_mutex_lock (&plan->lock);
  plan->n_frames++;
  g_cond_broadcast (&plan->cond);
  g_mutex_unlock (&plan->lock);
  return GST_PAD_PROBE_OK;
}

static Run *
run_plan (const gchar *launch, Plan *plan, gboolean pictures)
{
  GstElement *pipeline = pipeline_new (launch, !pictures);
  g_autoptr (GstElement) bin = gst_bin_get_by_name (GST_BIN (pipeline), "avatar");
  g_autoptr (GstPad) video = gst_element_get_static_pad (bin, "video");
  Run *run;

  g_mutex_init (&plan->lock);
  g_cond_init (&plan->cond);
  gst_pad_add_probe (video, GST_PAD_PROBE_TYPE_BUFFER, count_frame, plan, NULL);
  if (pictures)
    plan->pad = gst_element_request_pad_simple (bin, "reference");
  run = run_play (pipeline, follow, plan);
  if (plan->pad)
    gst_element_release_request_pad (bin, plan->pad);
  gst_clear_object (&plan->pad);
  gst_object_unref (pipeline);
  g_mutex_clear (&plan->lock);
  g_cond_clear (&plan->cond);
  return run;
}

/* A second picture on the bin's pad applies to the second window; the frames before it stay. */
GST_START_TEST (test_portrait)
{
  Plan one = { 0 }, two = { .change = TRUE };
  g_autoptr (Run) a = run_plan (SOUND " ! " BIN SINKS, &one, TRUE);
  g_autoptr (Run) b = run_plan (SOUND " ! " BIN SINKS, &two, TRUE);
  gsize size = 64 * 64 * 3, same = 0;

  g_assert_no_error (a->error);
  g_assert_no_error (b->error);
  fail_unless_equals_int (a->n_buffers, 25);
  fail_unless_equals_int (b->n_buffers, 25);
  fail_unless_equals_int (one.n_told, 0);
  fail_unless_equals_int (two.n_told, 1);
  fail_unless_equals_uint64 (two.told, FIRST * 40 * GST_MSECOND);
  fail_unless_equals_int (a->bytes->len, b->bytes->len);
  while (same < a->bytes->len && a->bytes->data[same] == b->bytes->data[same])
    same++;
  fail_unless_equals_int (same / size, FIRST);
}
GST_END_TEST;

/* The device's memory becomes too small after frames were shown: one error. */
GST_START_TEST (test_error)
{
  Plan plan = { .lower_budget = TRUE };
  g_autoptr (Run) run = run_plan (SOUND " ! " BIN " device=sim:4096" SINKS, &plan, FALSE);

  fail_unless_equals_int (run->n_errors, 1);
  fail_unless (g_error_matches (run->error, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NO_SPACE_LEFT));
  fail_unless (plan.n_frames >= 1 && plan.n_frames < 25);
}
GST_END_TEST;

typedef struct
{
  GstClockTime first[2]; /* PTS */
  gint n[2];
  GMutex lock;
} Joined;

static GstPadProbeReturn
take (Joined *joined, guint i, GstBuffer *buffer)
{
  g_mutex_lock (&joined->lock);
  if (joined->n[i]++ == 0)
    joined->first[i] = GST_BUFFER_PTS (buffer);
  g_mutex_unlock (&joined->lock);
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
take_video (GstPad *pad, GstPadProbeInfo *info, gpointer joined)
{
  return take (joined, 0, info->data);
}

static GstPadProbeReturn
take_audio (GstPad *pad, GstPadProbeInfo *info, gpointer joined)
{
  return take (joined, 1, info->data);
}

static gboolean
has_frames (Joined *joined)
{
  gboolean ret;

  g_mutex_lock (&joined->lock);
  ret = joined->n[0] >= FIRST && joined->n[1] > 0;
  g_mutex_unlock (&joined->lock);
  return ret;
}

/* A bin with continuous audio that joins a pipeline which has played for 5 s begins there. */
GST_START_TEST (test_joined)
{
  Joined joined = { .n = { 0 } };
  g_autoptr (GError) error = NULL;
  GstElement *pipeline = gst_pipeline_new (NULL), *part;
  g_autoptr (GstElement) bin = NULL;
  g_autoptr (GstPad) video = NULL, audio = NULL;
  g_autofree gchar *portrait = sample_path ("portrait.png");
  GstClock *clock = gst_test_clock_new ();

  g_mutex_init (&joined.lock);
  gst_pipeline_use_clock (GST_PIPELINE (pipeline), clock);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  gst_test_clock_set_time (GST_TEST_CLOCK (clock), 5 * GST_SECOND);
  part = gst_parse_launch (BIN
      " continuous=true avatar.video ! video/x-raw,width=64,height=64 ! "
      "fakesink async=false sync=false avatar.audio ! fakesink async=false sync=false",
      &error);
  g_assert_no_error (error);
  bin = gst_bin_get_by_name (GST_BIN (part), "avatar");
  g_object_set (bin, "reference", portrait, NULL);
  video = gst_element_get_static_pad (bin, "video");
  audio = gst_element_get_static_pad (bin, "audio");
  gst_pad_add_probe (video, GST_PAD_PROBE_TYPE_BUFFER, take_video, &joined, NULL);
  gst_pad_add_probe (audio, GST_PAD_PROBE_TYPE_BUFFER, take_audio, &joined, NULL);
  gst_bin_add (GST_BIN (pipeline), part);
  fail_unless (gst_element_sync_state_with_parent (part));
  while (!has_frames (&joined)) {
    GstClockID id;

    gst_test_clock_wait_for_next_pending_id (GST_TEST_CLOCK (clock), &id);
    gst_test_clock_set_time (GST_TEST_CLOCK (clock),
        MAX (gst_clock_id_get_time (id), gst_clock_get_time (clock)));
    gst_clock_id_unref (id);
    id = gst_test_clock_process_next_clock_id (GST_TEST_CLOCK (clock));
    g_clear_pointer (&id, gst_clock_id_unref);
  }
  fail_unless_equals_uint64 (joined.first[0], 5 * GST_SECOND);
  fail_unless_equals_uint64 (joined.first[1], 5 * GST_SECOND);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
  gst_object_unref (clock);
  g_mutex_clear (&joined.lock);
}
GST_END_TEST;

static Suite *
binchange_suite (void)
{
  Suite *suite = suite_create ("binchange");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_portrait);
  tcase_add_test (tc, test_error);
  tcase_add_test (tc, test_joined);
  return suite;
}

GST_CHECK_MAIN (binchange);
