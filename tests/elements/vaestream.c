/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode with tiling=stream: groups that end with a marker or by their length, gaps,
 * short streams, latency. What is decoded is tested in tests/unit/decoder.c. */
#include "gst/gstavatarquery.h"
#include "support.h"

#define LATENT_CAPS                                                                      \
  "other/tensors,format=static,num_tensors=1,types=float32,dimensions=(string)8:8:1:16," \
  "framerate=25/4"
#define FRAME (40 * GST_MSECOND)
#define SIZE (3 * 64 * 64)

/* The output of a decoder, in order. */
typedef struct
{
  GstHarness *h;
  GMutex lock;
  GByteArray *bytes;
  GArray *pts;    /* GstClockTime, of each frame */
  GArray *groups; /* guint, frames of each avatar-window message */
  guint n_disconts;
  guint n_gaps, frames_before_gap; /* GAP events, and frames before the first */
} Output;

static GstBusSyncReply
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Output *out = data;
  guint frames;

  if (gst_message_has_name (message, "avatar-window")) {
    fail_unless (gst_structure_get_uint (gst_message_get_structure (message), "frames", &frames));
    g_mutex_lock (&out->lock);
    g_array_append_val (out->groups, frames);
    g_mutex_unlock (&out->lock);
  }
  return GST_BUS_DROP;
}

static GstPadProbeReturn
on_item (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Output *out = data;

  if (GST_IS_EVENT (info->data)) {
    if (GST_EVENT_TYPE (info->data) == GST_EVENT_GAP && out->n_gaps++ == 0)
      out->frames_before_gap = out->pts->len;
  } else {
    GstBuffer *frame = GST_PAD_PROBE_INFO_BUFFER (info);
    GstMapInfo map;

    fail_unless (gst_buffer_map (frame, &map, GST_MAP_READ));
    fail_unless_equals_int (map.size, SIZE);
    g_byte_array_append (out->bytes, map.data, map.size);
    gst_buffer_unmap (frame, &map);
    g_array_append_val (out->pts, GST_BUFFER_PTS (frame));
    out->n_disconts += GST_BUFFER_IS_DISCONT (frame) ? 1 : 0;
    fail_unless_equals_uint64 (GST_BUFFER_DURATION (frame), FRAME);
  }
  return GST_PAD_PROBE_OK;
}

static void
output_init (Output *out, const gchar *element)
{
  g_autoptr (GstBus) bus = gst_bus_new ();

  *out = (Output){ .h = gst_harness_new_parse (element) };
  g_mutex_init (&out->lock);
  out->bytes = g_byte_array_new ();
  out->pts = g_array_new (FALSE, FALSE, sizeof (GstClockTime));
  out->groups = g_array_new (FALSE, FALSE, sizeof (guint));
  gst_bus_set_sync_handler (bus, on_message, out, NULL);
  gst_element_set_bus (out->h->element, bus);
  gst_pad_add_probe (out->h->sinkpad,
      GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_item, out, NULL);
  gst_harness_set_sink_caps_str (out->h, "video/x-raw,format=RGB");
  gst_harness_set_src_caps_str (out->h, LATENT_CAPS);
}

static void
output_clear (Output *out)
{
  gst_element_set_bus (out->h->element, NULL);
  gst_harness_teardown (out->h);
  g_byte_array_unref (out->bytes);
  g_array_unref (out->pts);
  g_array_unref (out->groups);
  g_mutex_clear (&out->lock);
}

/* Pushes latent @k, whose values depend on @k, at the time that it has in a stream without gaps,
 * later by @shift, and with the number @offset. */
static void
push_numbered (Output *out, guint k, GstClockTime shift, guint offset, GstBufferFlags flags)
{
  const gsize n = 16 * 8 * 8;
  GRand *rand = g_rand_new_with_seed (k);
  gfloat *values = g_new (gfloat, n);
  GstBuffer *buffer = gst_buffer_new_wrapped (values, n * sizeof (gfloat));

  for (gsize i = 0; i < n; i++)
    values[i] = g_rand_double_range (rand, -1, 1);
  g_rand_free (rand);
  GST_BUFFER_OFFSET (buffer) = offset;
  GST_BUFFER_OFFSET_END (buffer) = offset + 1;
  GST_BUFFER_PTS (buffer) = (k ? 4 * k - 3 : 0) * FRAME + shift;
  GST_BUFFER_DURATION (buffer) = (k ? 4 : 1) * FRAME;
  GST_BUFFER_FLAG_SET (buffer, flags);
  fail_unless_equals_int (gst_harness_push (out->h, buffer), GST_FLOW_OK);
}

static void
push_latent (Output *out, guint k, GstClockTime shift, GstBufferFlags flags)
{
  push_numbered (out, k, shift, k, flags);
}

static void
push_latents (Output *out, guint first, guint n, GstClockTime shift)
{
  for (guint i = 0; i < n; i++)
    push_latent (out, first + i, shift, i + 1 == n ? GST_BUFFER_FLAG_MARKER : 0);
}

/* Waits for @n frames. */
static void
pull (Output *out, guint n)
{
  for (guint i = 0; i < n; i++)
    gst_buffer_unref (gst_harness_pull (out->h));
}

/* Ends the stream, and waits for its end. */
static void
finish (Output *out)
{
  GstEvent *event = NULL;

  fail_unless (gst_harness_push_event (out->h, gst_event_new_eos ()));
  do {
    gst_clear_event (&event);
    event = gst_harness_pull_event (out->h);
    fail_unless (event != NULL);
  } while (GST_EVENT_TYPE (event) != GST_EVENT_EOS);
  gst_event_unref (event);
}

static void
expect_frames (Output *out, guint n)
{
  fail_unless_equals_int (out->pts->len, n);
  fail_unless_equals_int (out->n_disconts, 1);
  for (guint i = 0; i < n; i++)
    fail_unless_equals_uint64 (g_array_index (out->pts, GstClockTime, i), i * FRAME);
}

static void
expect_groups (Output *out, const guint *frames, guint n)
{
  fail_unless_equals_int (out->groups->len, n);
  for (guint i = 0; i < n; i++)
    fail_unless_equals_int (g_array_index (out->groups, guint, i), frames[i]);
}

/* The frames of a window come before a latent of the next one. Without a marker at the end, EOS
 * ends the last group. */
GST_START_TEST (test_markers)
{
  static const guint groups[] = { 9, 8, 4, 8 };
  Output out;

  output_init (&out, "avatarvaedecode tiling=stream");
  push_latents (&out, 0, 3, 0);
  pull (&out, 9);
  push_latents (&out, 3, 2, 0);
  pull (&out, 8);
  push_latents (&out, 5, 1, 0);
  pull (&out, 4);
  push_latent (&out, 6, 0, 0);
  push_latent (&out, 7, 0, 0);
  finish (&out);
  expect_frames (&out, 29);
  expect_groups (&out, groups, G_N_ELEMENTS (groups));
  output_clear (&out);
}
GST_END_TEST;

/* After an element that loses flags, and for a window that is too long, tile-frames decides. */
GST_START_TEST (test_lengths)
{
  static const guint groups[] = { 9, 12, 12, 4, 8 };
  Output out;

  output_init (&out, "avatarvaedecode tiling=stream tile-frames=12");
  for (guint k = 0; k < 6; k++)
    push_latent (&out, k, 0, 0);
  pull (&out, 21);
  push_latents (&out, 6, 4, 0);
  pull (&out, 16);
  push_latent (&out, 10, 0, 0);
  push_latent (&out, 11, 0, 0);
  finish (&out);
  expect_frames (&out, 45);
  expect_groups (&out, groups, G_N_ELEMENTS (groups));
  output_clear (&out);
}
GST_END_TEST;

/* The context changes the frames of later groups, and those only. */
GST_START_TEST (test_context)
{
  Output few, more;

  output_init (&few, "avatarvaedecode tiling=stream context-latents=1");
  output_init (&more, "avatarvaedecode tiling=stream context-latents=3");
  for (guint i = 0; i < 2; i++) {
    push_latents (&few, 4 * i, 4, 0);
    push_latents (&more, 4 * i, 4, 0);
  }
  finish (&few);
  finish (&more);
  expect_frames (&few, 29);
  expect_frames (&more, 29);
  fail_unless (memcmp (few.bytes->data, more.bytes->data, 13 * SIZE) == 0);
  fail_if (memcmp (few.bytes->data + 13 * SIZE, more.bytes->data + 13 * SIZE, SIZE) == 0);
  output_clear (&few);
  output_clear (&more);
}
GST_END_TEST;

/* An end after each number of latents. */
GST_START_TEST (test_short)
{
  for (guint n = 1; n <= 3; n++) {
    Output out;

    output_init (&out, "avatarvaedecode tiling=stream");
    for (guint k = 0; k < n; k++)
      push_latent (&out, k, 0, 0);
    finish (&out);
    expect_frames (&out, 4 * n - 3);
    output_clear (&out);
  }
}
GST_END_TEST;

/* Checks a gap of 24 frames after 3 latents. @flags: flags of the latent before it; @skipped:
 * number of latents that are left out in the count of OFFSET. */
static void
check_gap (const Output *expected, GstBufferFlags flags, guint skipped)
{
  const GstClockTime duration = 24 * FRAME;
  const guint8 *frames;
  Output out;

  output_init (&out, "avatarvaedecode tiling=stream");
  push_latent (&out, 0, 0, 0);
  push_latent (&out, 1, 0, 0);
  push_latent (&out, 2, 0, flags);
  fail_unless (gst_harness_push_event (out.h, gst_event_new_gap (9 * FRAME, duration)));
  pull (&out, 9 + 24);
  push_numbered (&out, 3, duration, 3 + skipped, 0);
  push_numbered (&out, 4, duration, 4 + skipped, GST_BUFFER_FLAG_MARKER);
  pull (&out, 8);
  finish (&out);
  expect_frames (&out, 17 + 24);
  fail_unless_equals_int (out.n_gaps, 0);
  frames = out.bytes->data;
  fail_unless (memcmp (frames, expected->bytes->data, 9 * SIZE) == 0);
  for (guint i = 9; i < 9 + 24; i++)
    fail_unless (memcmp (frames + i * SIZE, frames + 8 * SIZE, SIZE) == 0);
  fail_unless (memcmp (frames + 33 * SIZE, expected->bytes->data + 9 * SIZE, 8 * SIZE) == 0);
  output_clear (&out);
}

/* The last frame stays during a gap, and the stream continues as if there had been none. */
GST_START_TEST (test_gap)
{
  Output expected;

  output_init (&expected, "avatarvaedecode tiling=stream");
  push_latents (&expected, 0, 3, 0);
  push_latents (&expected, 3, 2, 0);
  finish (&expected);
  expect_frames (&expected, 17);
  check_gap (&expected, GST_BUFFER_FLAG_MARKER, 0);
  check_gap (&expected, GST_BUFFER_FLAG_MARKER, 6);
  check_gap (&expected, 0, 0);
  output_clear (&expected);
}
GST_END_TEST;

/* Gaps whose lengths are no whole frames add up to the right time. */
GST_START_TEST (test_gaps)
{
  const GstClockTime duration = FRAME + FRAME / 4;
  Output out;

  output_init (&out, "avatarvaedecode tiling=stream");
  for (guint k = 0; k < 9; k++) {
    push_latents (&out, k, 1, k * duration);
    fail_unless (gst_harness_push_event (out.h,
        gst_event_new_gap ((4 * k + 1) * FRAME + k * duration, duration)));
  }
  finish (&out);
  expect_frames (&out, 4 * 8 + 1 + 11);
  output_clear (&out);
}
GST_END_TEST;

/* A gap of more than a minute, one in another place, and one with other tilings end the stream:
 * the event follows the frames before it, and a new stream begins after it. */
GST_START_TEST (test_gap_ends)
{
  static const struct
  {
    const gchar *element;
    GstClockTime pts, duration;
  } cases[] = {
    { "avatarvaedecode tiling=stream", 9 * FRAME, 61 * GST_SECOND },
    { "avatarvaedecode tiling=stream", 20 * FRAME, GST_SECOND },
    { "avatarvaedecode tiling=exact", 9 * FRAME, GST_SECOND },
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    GstClockTime shift = cases[i].pts + cases[i].duration;
    Output out;

    output_init (&out, cases[i].element);
    push_latents (&out, 0, 3, 0);
    fail_unless (
        gst_harness_push_event (out.h, gst_event_new_gap (cases[i].pts, cases[i].duration)));
    push_latents (&out, 0, 2, shift);
    finish (&out);
    fail_unless_equals_int (out.n_gaps, 1);
    fail_unless_equals_int (out.frames_before_gap, 9);
    fail_unless_equals_int (out.pts->len, 9 + 5);
    fail_unless_equals_int (out.n_disconts, 2);
    fail_unless_equals_uint64 (g_array_index (out.pts, GstClockTime, 9), shift);
    output_clear (&out);
  }
}
GST_END_TEST;

/* Caps with a rate of one frame each nanosecond do not make a gap endless. */
GST_START_TEST (test_gap_rate)
{
  GstHarness *h = gst_harness_new_parse ("avatarvaedecode tiling=stream");
  g_autoptr (GstCaps) caps = gst_caps_from_string (LATENT_CAPS);
  GstBuffer *latent = gst_buffer_new_wrapped (g_new0 (gfloat, 16 * 8 * 8), 16 * 8 * 8 * 4);

  caps = gst_caps_make_writable (caps);
  gst_caps_set_simple (caps, "framerate", GST_TYPE_FRACTION, 250000000, 1, NULL);
  gst_harness_set_drop_buffers (h, TRUE);
  gst_harness_set_src_caps (h, g_steal_pointer (&caps));
  GST_BUFFER_PTS (latent) = 0;
  GST_BUFFER_FLAG_SET (latent, GST_BUFFER_FLAG_MARKER);
  fail_unless_equals_int (gst_harness_push (h, latent), GST_FLOW_OK);
  fail_unless (gst_harness_push_event (h, gst_event_new_gap (1, GST_SECOND)));
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  while (!GST_PAD_IS_EOS (h->sinkpad) && gst_harness_buffers_received (h) < 20000)
    g_usleep (1000);
  fail_unless_equals_int (gst_harness_buffers_received (h), 1);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* After lost latents, the first one gives one frame, the last of those that it represents. The
 * frames of later ones have the right times, and the stream is not divided again. */
GST_START_TEST (test_lost)
{
  static const gchar *const elements[]
      = { "avatarvaedecode tiling=stream", "avatarvaedecode tile-frames=16" };

  for (guint i = 0; i < G_N_ELEMENTS (elements); i++) {
    Output out;

    output_init (&out, elements[i]);
    push_latents (&out, 0, 3, 0);
    push_latents (&out, 5, 3, 0);
    finish (&out);
    fail_unless_equals_int (out.pts->len, 9 + 9);
    fail_unless_equals_int (out.n_disconts, 2);
    for (guint k = 0; k < 9; k++) {
      fail_unless_equals_uint64 (g_array_index (out.pts, GstClockTime, k), k * FRAME);
      fail_unless_equals_uint64 (g_array_index (out.pts, GstClockTime, 9 + k), (20 + k) * FRAME);
    }
    output_clear (&out);
  }
}
GST_END_TEST;

/* No latent waits: the latency is the time to decode the longest group. */
GST_START_TEST (test_queries)
{
  GstHarness *h = gst_harness_new_parse ("avatarvaedecode tiling=stream tile-frames=20");
  g_autoptr (GstQuery) need = gst_avatar_query_new_need ();
  g_autoptr (GstQuery) need_tile = gst_avatar_query_new_need ();

  gst_harness_set_upstream_latency (h, 100 * GST_MSECOND);
  fail_unless_equals_uint64 (gst_harness_query_latency (h), 20 * FRAME + 100 * GST_MSECOND);
  fail_unless (gst_pad_peer_query (h->srcpad, need));
  fail_unless_equals_int (gst_avatar_query_get_need (need), 1);
  fail_unless (gst_avatar_query_needs_window (need));
  gst_harness_teardown (h);

  h = gst_harness_new_parse ("avatarvaedecode tile-frames=16");
  fail_unless_equals_uint64 (gst_harness_query_latency (h), (16 + 12) * FRAME);
  fail_unless (gst_pad_peer_query (h->srcpad, need_tile));
  fail_unless_equals_int (gst_avatar_query_get_need (need_tile), 5);
  fail_if (gst_avatar_query_needs_window (need_tile));
  gst_harness_teardown (h);
}
GST_END_TEST;

static void
on_latent (GstElement *sink, GstBuffer *buffer, GstPad *pad, GString *marks)
{
  g_string_append_c (marks, GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_MARKER) ? '|' : '-');
}

/* avatardenoise marks the last latent of each window, the last of which is shorter. */
GST_START_TEST (test_windows)
{
  GstElement *pipeline
      = pipeline_new (AUDIO (18) " ! " DENOISE
                                 " mode=stream window-latents=3 overlap=1 ! " SMALL_LATENTS
                                 " ! fakesink name=sink",
          TRUE);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  g_autoptr (GString) marks = g_string_new (NULL);
  g_autoptr (Run) run = NULL;

  g_signal_connect (sink, "handoff", G_CALLBACK (on_latent), marks);
  run = run_play (pipeline, NULL, NULL);
  g_assert_no_error (run->error);
  fail_unless_equals_string (marks->str, "--|-||");
  gst_object_unref (sink);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static guint
count_groups (const Run *run)
{
  guint n = 0;

  for (guint i = 0; i < run->windows->len; i++)
    n += g_strcmp0 (gst_structure_get_string (run->windows->pdata[i], "stage"), "decode") == 0;
  return n;
}

/* Latents that pass GDP, which drops the mark, are decoded in the same groups: the windows of the
 * denoiser, which the caps have. */
GST_START_TEST (test_gdp)
{
  static const gchar *const ways[] = { "", "gdppay ! gdpdepay ! " };
  Run *runs[2];

  for (guint i = 0; i < 2; i++) {
    g_autofree gchar *launch
        = g_strdup_printf (AUDIO (33) " ! " DENOISE
                                      " mode=stream window-latents=4 overlap=1 ! " SMALL_LATENTS
                                      " ! %s"
                                      "avatarvaedecode tiling=stream ! " SMALL_VIDEO
                                      " ! fakesink name=sink",
            ways[i]);

    runs[i] = run_pipeline (launch, TRUE);
    g_assert_no_error (runs[i]->error);
    fail_unless_equals_int (runs[i]->n_buffers, 33);
    fail_unless_equals_int (count_groups (runs[i]), 3); /* 13, 12 and 8 frames */
  }
  fail_unless_equals_int (runs[0]->bytes->len, runs[1]->bytes->len);
  fail_unless (memcmp (runs[0]->bytes->data, runs[1]->bytes->data, runs[0]->bytes->len) == 0);
  run_free (runs[0]);
  run_free (runs[1]);
}
GST_END_TEST;

/* A window arrives as a whole, though a queue beside the decoder is full with one latent. */
GST_START_TEST (test_tee)
{
  g_autoptr (Run) run
      = run_pipeline (AUDIO (22) " ! " DENOISE
                                 " mode=stream window-latents=3 overlap=1 ! tee name=t  "
                                 "t. ! queue max-size-buffers=1 ! fakesink  "
                                 "t. ! queue ! avatarvaedecode tiling=stream ! " SMALL_VIDEO
                                 " ! fakesink name=sink",
          TRUE);

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 22);
  fail_unless_equals_uint64 (run->end, 22 * FRAME);
}
GST_END_TEST;

static Suite *
vaestream_suite (void)
{
  Suite *suite = suite_create ("vaestream");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_markers);
  tcase_add_test (tc, test_lengths);
  tcase_add_test (tc, test_context);
  tcase_add_test (tc, test_short);
  tcase_add_test (tc, test_gap);
  tcase_add_test (tc, test_gaps);
  tcase_add_test (tc, test_gap_ends);
  tcase_add_test (tc, test_gap_rate);
  tcase_add_test (tc, test_lost);
  tcase_add_test (tc, test_queries);
  tcase_add_test (tc, test_windows);
  tcase_add_test (tc, test_gdp);
  tcase_add_test (tc, test_tee);
  return suite;
}

GST_CHECK_MAIN (vaestream);
