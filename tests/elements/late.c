/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The late policy of avatardenoise, by a test clock that each denoising step advances: which
 * windows are skipped, how the steps change, what messages say, and that time stamps stay
 * continuous. */
#include "gst/gstavatarcaps.h"
#include "support.h"

#include <avatar/model.h>

#define FRAME (40 * GST_MSECOND)
/* Windows of 3 latents, 1 of them shared. */
#define FIRST 9
#define FURTHER 8
#define WINDOW (FURTHER * FRAME)
#define STEPS 4
/* The wait for a window, and the time for computing that the test allows. */
#define COMPUTE (300 * GST_MSECOND)
#define LATENCY (FIRST * FRAME + COMPUTE)

typedef struct
{
  GstHarness *h;
  GstTestClock *clock;
  GstBuffer *feature;
  GstClockTime step_cost;  /* clock time that a step takes */
  guint n_frames;          /* features pushed */
  GstClockTime end;        /* end of the latents and gaps so far */
  GstClockTimeDiff latest; /* largest lateness of a latent that came out */
  guint n_latents, n_gaps;
  GPtrArray *late; /* GstStructure */
  guint n_qos;
  guint64 dropped; /* frames, by the last QOS message */
} Live;

static GstBusSyncReply
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Live *live = data;
  GstProgressType type;
  g_autofree gchar *code = NULL;
  const GstStructure *s = gst_message_get_structure (message);

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_PROGRESS) {
    gst_message_parse_progress (message, &type, &code, NULL);
    if (g_str_equal (code, "denoise") && type != GST_PROGRESS_TYPE_START)
      gst_test_clock_advance_time (live->clock, live->step_cost);
  } else if (gst_message_has_name (message, "avatar-late")) {
    g_ptr_array_add (live->late, gst_structure_copy (s));
  } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_QOS) {
    gst_message_parse_qos_stats (message, NULL, NULL, &live->dropped);
    live->n_qos++;
  }
  gst_message_unref (message);
  return GST_BUS_DROP;
}

static GstCaps *
feature_caps (gsize *size)
{
  g_autoptr (AvatarModel) model = avatar_model_open (g_getenv ("AVATAR_MODEL"), NULL);
  const AvatarModelInfo *info = avatar_model_get_info (model);
  GstAvatarFeatureInfo features
      = { info->feature_steps, info->feature_states, info->feature_channels, info->fps, 1 };

  *size = gst_avatar_feature_info_get_size (&features);
  return gst_caps_fixate (gst_avatar_caps_new_features (&features, info->hash));
}

/* @decoder: elements after avatardenoise */
static void
live_start_with (Live *live, const gchar *policy, const gchar *decoder, gboolean is_live)
{
  g_autofree gchar *reference = sample_path ("portrait.png");
  g_autofree gchar *launch = g_strdup_printf (
      "avatardenoise window-latents=3 overlap=1 mode=stream steps=%u late-policy=%s reference=%s "
      "processing-latency=%" G_GUINT64_FORMAT " ! capsfilter caps=\"" SMALL_LATENTS "\" %s",
      STEPS, policy, reference, COMPUTE, decoder);
  g_autoptr (GstBus) bus = gst_bus_new ();
  gsize size;

  *live = (Live){ .latest = G_MININT64 };
  live->late = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_structure_free);
  live->h = gst_harness_new_parse (launch);
  gst_harness_set_live (live->h, is_live);
  gst_harness_use_testclock (live->h);
  live->clock = gst_harness_get_testclock (live->h);
  gst_bus_set_sync_handler (bus, on_message, live, NULL);
  gst_element_set_bus (live->h->element, bus);
  gst_harness_set_src_caps (live->h, feature_caps (&size));
  live->feature = gst_buffer_new_allocate (NULL, size, NULL);
  gst_buffer_memset (live->feature, 0, 0, size);
  if (is_live)
    fail_unless_equals_uint64 (gst_harness_query_latency (live->h),
        LATENCY + (*decoder ? COMPUTE : 0));
}

static void
live_start (Live *live, const gchar *policy, gboolean is_live)
{
  live_start_with (live, policy, "", is_live);
}

static void
live_end (Live *live)
{
  gst_element_set_bus (live->h->element, NULL);
  gst_harness_teardown (live->h);
  gst_object_unref (live->clock);
  gst_buffer_unref (live->feature);
  g_ptr_array_unref (live->late);
}

/* Takes what has come out: latents and gaps follow each other without a hole, and none begins a new
 * stream. */
static void
take_latents (Live *live)
{
  GstBuffer *buffer;

  while ((buffer = gst_harness_try_pull (live->h))) {
    GstClockTimeDiff lateness = GST_CLOCK_DIFF (GST_BUFFER_PTS (buffer) + LATENCY,
        gst_clock_get_time (GST_CLOCK (live->clock)));

    fail_unless_equals_uint64 (GST_BUFFER_PTS (buffer), live->end);
    fail_unless_equals_int (GST_BUFFER_IS_DISCONT (buffer), live->end == 0);
    live->end += GST_BUFFER_DURATION (buffer);
    live->latest = MAX (live->latest, lateness);
    live->n_latents++;
    gst_buffer_unref (buffer);
  }
}

static void
take_gap (Live *live, GstEvent *event)
{
  GstClockTime pts, duration;

  take_latents (live);
  gst_event_parse_gap (event, &pts, &duration);
  fail_unless_equals_uint64 (pts, live->end);
  fail_unless_equals_uint64 (duration, WINDOW);
  live->end += duration;
  live->n_gaps++;
}

/* Waits until the element has processed everything, by an event that follows it. */
static void
settle (Live *live)
{
  gboolean done = FALSE;

  fail_unless (gst_harness_push_event (live->h,
      gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, gst_structure_new_empty ("settled"))));
  while (!done) {
    GstEvent *event = gst_harness_pull_event (live->h);

    fail_unless (event != NULL);
    if (GST_EVENT_TYPE (event) == GST_EVENT_GAP)
      take_gap (live, event);
    done = GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM;
    gst_event_unref (event);
  }
  take_latents (live);
}

/* Pushes features up to the end of window @n, each when its audio has been heard, or at once if the
 * clock is later. */
static void
play_to (Live *live, guint n)
{
  for (; live->n_frames < FIRST + (n - 1) * FURTHER; live->n_frames++) {
    GstBuffer *buffer = gst_buffer_copy (live->feature);
    GstClockTime heard = (live->n_frames + 1) * FRAME;

    GST_BUFFER_PTS (buffer) = live->n_frames * FRAME;
    GST_BUFFER_DURATION (buffer) = FRAME;
    if (gst_clock_get_time (GST_CLOCK (live->clock)) < heard)
      gst_test_clock_set_time (live->clock, heard);
    fail_unless_equals_int (gst_harness_push (live->h, buffer), GST_FLOW_OK);
    settle (live);
  }
  fail_unless_equals_uint64 (live->end, live->n_frames * FRAME);
}

/* Asserts that message @i has this action and these steps, and a time that fits. */
static void
expect_late (Live *live, guint i, const gchar *action, guint steps, guint dropped)
{
  const GstStructure *s;
  GstClockTime running_time, pts, duration;
  guint found_steps, found_dropped;
  gint64 lateness;

  fail_unless (i < live->late->len, "no message %u", i);
  s = live->late->pdata[i];
  fail_unless (gst_structure_get (s, "running-time", GST_TYPE_CLOCK_TIME, &running_time,
      "timestamp", GST_TYPE_CLOCK_TIME, &pts, "duration", GST_TYPE_CLOCK_TIME, &duration,
      "lateness", G_TYPE_INT64, &lateness, "steps", G_TYPE_UINT, &found_steps, "dropped",
      G_TYPE_UINT, &found_dropped, NULL));
  fail_unless_equals_string (gst_structure_get_string (s, "action"), action);
  fail_unless_equals_int (found_steps, steps);
  fail_unless_equals_int (found_dropped, dropped);
  fail_unless_equals_uint64 (duration, WINDOW);
  fail_unless_equals_uint64 (pts % WINDOW, FRAME);
  fail_unless_equals_uint64 (running_time, pts);
}

static guint
count_actions (Live *live, const gchar *action)
{
  guint n = 0;

  for (guint i = 0; i < live->late->len; i++)
    n += g_str_equal (gst_structure_get_string (live->late->pdata[i], "action"), action) ? 1 : 0;
  return n;
}

/* On a machine that is fast enough, the policies have no effect. */
GST_START_TEST (test_in_time)
{
  static const gchar *const policies[] = { "block", "adapt", "hold" };
  Live live;

  for (guint i = 0; i < G_N_ELEMENTS (policies); i++) {
    live_start (&live, policies[i], TRUE);
    live.step_cost = COMPUTE / STEPS;
    play_to (&live, 6);
    fail_unless_equals_int (live.late->len, 0);
    fail_unless_equals_int (live.n_gaps, 0);
    fail_unless_equals_int (live.n_latents, 3 + 5 * 2);
    fail_unless (live.latest <= 0);
    live_end (&live);
  }
}
GST_END_TEST;

/* The delay grows by what each window takes too long. */
GST_START_TEST (test_block)
{
  Live live;

  live_start (&live, "block", TRUE);
  live.step_cost = 140 * GST_MSECOND;
  play_to (&live, 9);
  fail_unless_equals_int (live.late->len, 0);
  fail_unless_equals_int (live.n_gaps, 0);
  fail_unless_equals_int (live.n_latents, 3 + 8 * 2);
  fail_unless_equals_int64 (live.latest, 9 * STEPS * 140 * GST_MSECOND - 7 * WINDOW - LATENCY);
  live_end (&live);
}
GST_END_TEST;

/* At 4/7 of the speed every second window is skipped, and the delay stays below a window. */
GST_START_TEST (test_hold)
{
  const guint n_windows = 21;
  Live live;

  live_start (&live, "hold", TRUE);
  live.step_cost = 140 * GST_MSECOND;
  play_to (&live, n_windows);
  fail_unless_equals_int (live.n_gaps, n_windows / 2);
  fail_unless_equals_int (live.n_latents, 3 + n_windows / 2 * 2);
  fail_unless (live.latest <= (GstClockTimeDiff) WINDOW, "late by %" G_GINT64_FORMAT, live.latest);
  fail_unless_equals_int (live.late->len, n_windows / 2 * 2);
  for (guint i = 0; i < n_windows / 2; i++) {
    expect_late (&live, 2 * i, "skip", STEPS, FURTHER);
    expect_late (&live, 2 * i + 1, "recovered", STEPS, 0);
  }
  fail_unless_equals_int (live.n_qos, n_windows / 2);
  fail_unless_equals_uint64 (live.dropped, n_windows / 2 * FURTHER);
  live_end (&live);
}
GST_END_TEST;

/* After a stall of two seconds, what cannot be shown any more is skipped at once. */
GST_START_TEST (test_hold_stall)
{
  Live live;

  live_start (&live, "hold", TRUE);
  live.step_cost = 10 * GST_MSECOND;
  play_to (&live, 2);
  gst_test_clock_advance_time (live.clock, 2 * GST_SECOND);
  play_to (&live, 16);
  fail_unless (live.n_gaps >= 4 && live.n_gaps <= 7, "%u gaps", live.n_gaps);
  fail_unless_equals_int (count_actions (&live, "skip"), live.n_gaps);
  expect_late (&live, live.late->len - 1, "recovered", STEPS, 0);
  fail_unless (live.latest <= (GstClockTimeDiff) WINDOW);
  live_end (&live);
}
GST_END_TEST;

/* Steps become as few as keep up, and come back one by one when there is time again. */
GST_START_TEST (test_adapt)
{
  Live live;

  live_start (&live, "adapt", TRUE);
  live.step_cost = 140 * GST_MSECOND;
  play_to (&live, 12);
  expect_late (&live, 0, "steps", 1, 0); /* the first window has made it late */
  fail_unless_equals_int (count_actions (&live, "skip"), live.n_gaps);
  fail_unless (live.n_gaps <= 1);
  fail_unless (live.latest <= (GstClockTimeDiff) WINDOW, "late by %" G_GINT64_FORMAT, live.latest);
  live.step_cost = 20 * GST_MSECOND;
  play_to (&live, 30);
  expect_late (&live, live.late->len - 1, "recovered", STEPS, 0);
  fail_unless (count_actions (&live, "steps") >= 3);
  fail_unless_equals_int (count_actions (&live, "recovered"), 1);
  live_end (&live);
}
GST_END_TEST;

/* The limit holds for windows in silence as well, whose steps are another number. */
GST_START_TEST (test_adapt_idle)
{
  GstElement *denoise;
  Live live;

  live_start (&live, "adapt", TRUE);
  denoise = gst_harness_find_element (live.h, "avatardenoise");
  g_object_set (denoise, "idle-steps", 2, NULL);
  live.step_cost = 140 * GST_MSECOND;
  play_to (&live, 4); /* with speech */
  expect_late (&live, 0, "steps", 1, 0);
  GST_BUFFER_FLAG_SET (live.feature, GST_BUFFER_FLAG_GAP);
  play_to (&live, 12);
  fail_unless (live.latest <= (GstClockTimeDiff) WINDOW, "late by %" G_GINT64_FORMAT, live.latest);
  gst_object_unref (denoise);
  live_end (&live);
}
GST_END_TEST;

/* After the decoder, there is a frame for each feature, without a hole: the last one before a gap
 * is repeated. The event goes no further. */
GST_START_TEST (test_frames)
{
  g_autofree gchar *decoder
      = g_strdup_printf ("! avatarvaedecode tiling=stream processing-latency=%" G_GUINT64_FORMAT,
          COMPUTE);
  const guint n_windows = 8;
  Live live;

  live_start_with (&live, "hold", decoder, TRUE);
  live.step_cost = 140 * GST_MSECOND;
  play_to (&live, n_windows);
  fail_unless_equals_int (count_actions (&live, "skip"), n_windows / 2);
  fail_unless_equals_int (live.n_gaps, 0);
  fail_unless_equals_int (live.n_latents, live.n_frames); /* frames of the video */
  live_end (&live);
}
GST_END_TEST;

/* If one step is too slow, windows are skipped as well. */
GST_START_TEST (test_adapt_skips)
{
  Live live;

  live_start (&live, "adapt", TRUE);
  live.step_cost = 560 * GST_MSECOND;
  play_to (&live, 16);
  expect_late (&live, 0, "steps", 1, 0);
  fail_unless (live.n_gaps >= 6, "%u gaps", live.n_gaps);
  fail_unless_equals_int (count_actions (&live, "skip"), live.n_gaps);
  fail_unless_equals_int (count_actions (&live, "recovered"), 0);
  fail_unless_equals_int (live.n_qos, live.n_gaps);
  live_end (&live);
}
GST_END_TEST;

/* Windows that sinks report as late are skipped, in a pipeline that is not live as well. */
GST_START_TEST (test_qos)
{
  Live live;

  live_start (&live, "hold", FALSE);
  live.step_cost = GST_SECOND; /* no clock counts here */
  play_to (&live, 2);
  fail_unless_equals_int (live.n_gaps, 0);
  fail_unless (gst_harness_push_upstream_event (live.h,
      gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2.0, 2 * WINDOW, FRAME)));
  play_to (&live, 3); /* begins at 9 + 8 frames, earlier than 1 + 16 */
  fail_unless_equals_int (live.n_gaps, 0);
  fail_unless (gst_harness_push_upstream_event (live.h,
      gst_event_new_qos (GST_QOS_TYPE_UNDERFLOW, 2.0, 4 * WINDOW, FRAME)));
  play_to (&live, 6);
  fail_unless_equals_int (live.n_gaps, 1); /* that at 25; the next ones begin at 33 and 41 */
  expect_late (&live, 0, "skip", STEPS, FURTHER);
  fail_unless (gst_harness_push_upstream_event (live.h,
      gst_event_new_qos (GST_QOS_TYPE_OVERFLOW, 0.5, -(gint64) FRAME, 40 * FRAME)));
  play_to (&live, 8);
  fail_unless_equals_int (live.n_gaps, 1);
  live_end (&live);
}
GST_END_TEST;

static Suite *
late_suite (void)
{
  Suite *suite = suite_create ("late");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_in_time);
  tcase_add_test (tc, test_block);
  tcase_add_test (tc, test_hold);
  tcase_add_test (tc, test_hold_stall);
  tcase_add_test (tc, test_adapt);
  tcase_add_test (tc, test_adapt_skips);
  tcase_add_test (tc, test_adapt_idle);
  tcase_add_test (tc, test_frames);
  tcase_add_test (tc, test_qos);
  return suite;
}

GST_CHECK_MAIN (late);
