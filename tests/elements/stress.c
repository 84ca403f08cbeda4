/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random operations on a playing chain: state changes, flushes, property changes and events
 * avatar-clear in one thread; segments, new streams, other formats, gaps, jumps and silence in the
 * thread that feeds the audio. No error is posted, each frame follows the one before unless it has
 * the flag DISCONT, each event is answered, and the stream ends.
 * AVATAR_STRESS: number of operations, 50 if it is not set; AVATAR_STRESS_SEED: the seed. */
#include "support.h"

#define FRAME (40 * GST_MSECOND)
#define FRAME_SAMPLES 640
#define CHAIN                                                                                      \
  "avataraudioenc name=enc window-frames=10 context=2 device=cpu ! avatardenoise name=denoise "    \
  "steps=2 idle-steps=1 mode=stream window-latents=3 overlap=1 device=sim:4096 ! avatarvaedecode " \
  "tile-frames=16 device=sim:4096 ! " SMALL_VIDEO " ! fakesink name=sink async=false sync=false"

typedef struct
{
  GstElement *pipeline, *denoise;
  GstPad *pad; /* the encoder's sink pad, which the feeder pushes to */
  GRand *random;
  gint stop;     /* atomic: the feeder is to end */
  gint failed;   /* atomic: a buffer met an error, which is on the bus */
  gint n_pushed; /* atomic: buffers that were taken */
  gint n_sent, n_answered;

  /* The feeder, which is held between a stop or the begin of a flush and the restart, as an element
   * upstream is. */
  GMutex lock;
  GRand *feed;
  gboolean refused; /* a buffer was, and nothing may be pushed until the restart */
  gboolean begun;   /* stream, caps and segment were sent */
  gboolean is_s16;
  guint channels;
  GstClockTime time;

  /* used by the sink */
  GstClockTime end;
  guint n_frames, breaks;
} Stress;

static void
on_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, Stress *stress)
{
  gboolean follows
      = GST_CLOCK_TIME_IS_VALID (stress->end) && GST_BUFFER_PTS (buffer) == stress->end;

  stress->breaks += !follows && !GST_BUFFER_IS_DISCONT (buffer);
  stress->end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
  stress->n_frames++;
}

static GstBusSyncReply
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Stress *stress = data;

  if (gst_message_has_name (message, "avatar-cleared"))
    g_atomic_int_inc (&stress->n_answered);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR
      || GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
    return GST_BUS_PASS;
  return GST_BUS_DROP;
}

static void
send_clear (Stress *stress, GstEventType type)
{
  GstEvent *event = gst_event_new_custom (type, gst_structure_new_empty ("avatar-clear"));

  if (gst_pad_send_event (stress->pad, event))
    g_atomic_int_inc (&stress->n_sent);
}

/* -------------------------------------------------------------------------------- the feeder */

static void
send_caps (Stress *stress)
{
  g_autoptr (GstCaps) caps = gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING,
      stress->is_s16 ? "S16LE" : "F32LE", "rate", G_TYPE_INT, 16000, "channels", G_TYPE_INT,
      stress->channels, "layout", G_TYPE_STRING, "interleaved", NULL);

  if (stress->channels == 2)
    gst_caps_set_simple (caps, "channel-mask", GST_TYPE_BITMASK, G_GUINT64_CONSTANT (3), NULL);
  gst_pad_send_event (stress->pad, gst_event_new_caps (caps));
}

static void
send_segment (Stress *stress)
{
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  segment.start = stress->time;
  gst_pad_send_event (stress->pad, gst_event_new_segment (&segment));
}

static void
begin (Stress *stress)
{
  g_autofree gchar *id = g_strdup_printf ("stream-%u", g_rand_int (stress->feed));

  gst_pad_send_event (stress->pad, gst_event_new_stream_start (id));
  send_caps (stress);
  send_segment (stress);
  stress->begun = TRUE;
}

/* Returns a video frame of noise, or of silence with @level 0. */
static GstBuffer *
sound (Stress *stress, gdouble level)
{
  guint n = FRAME_SAMPLES * stress->channels;
  gsize size = n * (stress->is_s16 ? sizeof (gint16) : sizeof (gfloat));
  gpointer data = g_malloc0 (size);

  for (guint i = 0; i < n && level > 0; i++) {
    gdouble value = g_rand_double_range (stress->feed, -level, level);

    if (stress->is_s16)
      ((gint16 *) data)[i] = (gint16) (value * G_MAXINT16);
    else
      ((gfloat *) data)[i] = value;
  }
  return gst_buffer_new_wrapped (data, size);
}

/* Something serialized that is not the next buffer of sound. */
static void
disturb (Stress *stress)
{
  switch (g_rand_int_range (stress->feed, 0, 9)) {
    case 0:
      send_segment (stress);
      break;
    case 1:
      stress->time = g_rand_int_range (stress->feed, 0, 100) * GST_SECOND;
      send_segment (stress);
      break;
    case 2:
      begin (stress); /* another source */
      break;
    case 3:
      stress->is_s16 = !stress->is_s16;
      stress->channels = g_rand_int_range (stress->feed, 1, 3);
      send_caps (stress);
      break;
    case 4:
      gst_pad_send_event (stress->pad, gst_event_new_gap (stress->time, 10 * FRAME));
      stress->time += 10 * FRAME;
      break;
    case 5:
      stress->time += g_rand_int_range (stress->feed, 1, 20) * FRAME;
      break;
    case 6:
      stress->time -= MIN (stress->time, 5 * GST_SECOND);
      break;
    case 7:
      stress->time += 2 * 60 * GST_SECOND;
      break;
    default:
      send_clear (stress, GST_EVENT_CUSTOM_DOWNSTREAM);
      break;
  }
}

/* Pushes the next buffer, with what comes before it. Returns %FALSE if it was refused. */
static gboolean
feed_one (Stress *stress)
{
  gboolean disturbed = g_rand_int_range (stress->feed, 0, 12) == 0;
  gdouble level = g_rand_int_range (stress->feed, 0, 3) ? 0.4 : 0;
  GstBuffer *buffer;
  GstFlowReturn ret;

  if (!stress->begun)
    begin (stress);
  if (disturbed)
    disturb (stress);
  buffer = sound (stress, level);
  GST_BUFFER_PTS (buffer) = stress->time;
  GST_BUFFER_DURATION (buffer) = FRAME;
  if (disturbed)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  stress->time += FRAME;
  ret = gst_pad_chain (stress->pad, buffer);
  if (ret == GST_FLOW_OK) {
    g_atomic_int_inc (&stress->n_pushed);
    return TRUE;
  }
  stress->refused = TRUE;
  if (ret != GST_FLOW_FLUSHING)
    g_atomic_int_set (&stress->failed, TRUE);
  return FALSE;
}

static gpointer
feed (gpointer data)
{
  Stress *stress = data;

  while (!g_atomic_int_get (&stress->stop)) {
    gboolean fed;

    g_mutex_lock (&stress->lock);
    fed = !stress->refused && feed_one (stress);
    g_mutex_unlock (&stress->lock);
    if (!fed)
      g_usleep (1000);
  }
  return NULL;
}

/* ------------------------------------------------------------------------------ the operations */

static void
set_state (Stress *stress, GstState state)
{
  fail_if (gst_element_set_state (stress->pipeline, state) == GST_STATE_CHANGE_FAILURE);
}

static void
flush (Stress *stress)
{
  gst_pad_send_event (stress->pad, gst_event_new_flush_start ());
  if (g_rand_boolean (stress->random))
    send_clear (stress, GST_EVENT_CUSTOM_DOWNSTREAM_OOB); /* refused */
  g_mutex_lock (&stress->lock);
  stress->begun = stress->refused = FALSE;
  gst_pad_send_event (stress->pad, gst_event_new_flush_stop (g_rand_boolean (stress->random)));
  g_mutex_unlock (&stress->lock);
}

static void
restart (Stress *stress, GstState state)
{
  set_state (stress, state);
  g_mutex_lock (&stress->lock);
  stress->begun = stress->refused = FALSE;
  set_state (stress, GST_STATE_PLAYING);
  g_mutex_unlock (&stress->lock);
}

static void
set_property (Stress *stress)
{
  g_autofree gchar *portrait = sample_path ("portrait.png");

  switch (g_rand_int_range (stress->random, 0, 6)) {
    case 0:
      g_object_set (stress->denoise, "seed", (gint64) g_rand_int (stress->random), NULL);
      break;
    case 1:
      g_object_set (stress->denoise, "steps", g_rand_int_range (stress->random, 1, 4), NULL);
      break;
    case 2:
      g_object_set (stress->denoise, "idle-steps", g_rand_int_range (stress->random, 0, 3), NULL);
      break;
    case 3:
      g_object_set (stress->denoise, "reference", portrait, NULL);
      break;
    case 4:
      g_object_set (stress->denoise, "guidance-scale", g_rand_double_range (stress->random, 0, 3),
          NULL);
      break;
    default:
      g_object_set (stress->denoise, "prompt",
          g_rand_boolean (stress->random) ? "a calm face" : "a cheerful face", NULL);
      break;
  }
}

static void
operate (Stress *stress)
{
  switch (g_rand_int_range (stress->random, 0, 12)) {
    case 0:
      set_state (stress, GST_STATE_PAUSED);
      send_clear (stress, GST_EVENT_CUSTOM_DOWNSTREAM_OOB);
      set_state (stress, GST_STATE_PLAYING);
      break;
    case 1:
      restart (stress, GST_STATE_READY);
      break;
    case 2:
      restart (stress, GST_STATE_NULL);
      break;
    case 3:
    case 4:
      flush (stress);
      break;
    case 5:
    case 6:
    case 7:
      set_property (stress);
      break;
    default:
      send_clear (stress, GST_EVENT_CUSTOM_DOWNSTREAM_OOB);
      break;
  }
}

/* Waits until the feeder has pushed some further buffers. */
static void
wait_for_buffers (Stress *stress)
{
  gint until = g_atomic_int_get (&stress->n_pushed) + g_rand_int_range (stress->random, 1, 16);

  while (g_atomic_int_get (&stress->n_pushed) < until && !g_atomic_int_get (&stress->failed))
    g_usleep (1000);
}

static void
expect_no_error (Stress *stress, guint operation)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (stress->pipeline);
  g_autoptr (GstMessage) message = gst_bus_pop (bus);
  g_autofree gchar *text
      = message ? gst_structure_to_string (gst_message_get_structure (message)) : NULL;

  fail_if (message != NULL, "operation %u: %s", operation, text);
  fail_if (g_atomic_int_get (&stress->failed));
}

static guint
number_of (const gchar *variable, guint or_else)
{
  const gchar *text = g_getenv (variable);

  return text ? (guint) g_ascii_strtoull (text, NULL, 10) : or_else;
}

static void
stress_init (Stress *stress)
{
  guint seed = number_of ("AVATAR_STRESS_SEED", 1);
  g_autoptr (GstElement) enc = NULL;
  g_autoptr (GstElement) sink = NULL;
  g_autoptr (GstBus) bus = NULL;

  *stress = (Stress){ .pipeline = pipeline_new (CHAIN, TRUE), .channels = 1 };
  g_mutex_init (&stress->lock);
  stress->end = GST_CLOCK_TIME_NONE;
  stress->random = g_rand_new_with_seed (seed);
  stress->feed = g_rand_new_with_seed (seed + 1);
  stress->denoise = gst_bin_get_by_name (GST_BIN (stress->pipeline), "denoise");
  enc = gst_bin_get_by_name (GST_BIN (stress->pipeline), "enc");
  stress->pad = gst_element_get_static_pad (enc, "sink");
  sink = gst_bin_get_by_name (GST_BIN (stress->pipeline), "sink");
  g_object_set (sink, "signal-handoffs", TRUE, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (on_frame), stress);
  bus = gst_element_get_bus (stress->pipeline);
  gst_bus_set_sync_handler (bus, on_message, stress, NULL);
}

static void
stress_clear (Stress *stress)
{
  set_state (stress, GST_STATE_NULL);
  gst_object_unref (stress->pad);
  gst_object_unref (stress->denoise);
  gst_object_unref (stress->pipeline);
  g_rand_free (stress->random);
  g_rand_free (stress->feed);
  g_mutex_clear (&stress->lock);
}

GST_START_TEST (test_random_operations)
{
  guint n = number_of ("AVATAR_STRESS", 50);
  g_autoptr (GstMessage) message = NULL;
  g_autoptr (GstBus) bus = NULL;
  GThread *feeder;
  Stress stress;

  stress_init (&stress);
  bus = gst_element_get_bus (stress.pipeline);
  set_state (&stress, GST_STATE_PLAYING);
  feeder = g_thread_new ("feeder", feed, &stress);
  for (guint i = 0; i < n; i++) {
    wait_for_buffers (&stress);
    expect_no_error (&stress, i);
    operate (&stress);
  }
  wait_for_buffers (&stress);
  expect_no_error (&stress, n);
  g_atomic_int_set (&stress.stop, TRUE);
  g_thread_join (feeder);
  fail_unless (gst_pad_send_event (stress.pad, gst_event_new_eos ()));
  message = gst_bus_timed_pop (bus, GST_CLOCK_TIME_NONE);
  fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
  fail_unless_equals_int (stress.breaks, 0);
  fail_unless (stress.n_frames > 0);
  fail_unless (stress.n_answered >= stress.n_sent);
  stress_clear (&stress);
}
GST_END_TEST;

static Suite *
stress_suite (void)
{
  Suite *suite = suite_create ("stress");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_random_operations);
  return suite;
}

GST_CHECK_MAIN (stress);
