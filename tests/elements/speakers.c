/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Several speakers: which voice moves which face, streams of different lengths, gaps, seeks, one
 * source for all, wrong faces, and pads that come and go. */
#include "support.h"

#define LEFT "40,120,160,240"
#define RIGHT "300,120,160,240"
#define VOICE(wave, frames)                                             \
  "audiotestsrc wave=" wave " samplesperbuffer=640 num-buffers=" frames \
  " ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! avataraudioenc ! queue"
#define SETTINGS " mode=stream window-latents=3 overlap=1 "
#define FACES(first, other) "face-box=" first " sink_0::face-box=" other " "
#define CHAIN(faces) DENOISE SETTINGS faces " ! " SMALL_LATENTS " ! fakesink name=sink "

static gboolean
is_same (const Run *a, const Run *b)
{
  g_assert_no_error (a->error);
  g_assert_no_error (b->error);
  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  return memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0;
}

/* Each voice belongs to its face, in whatever order the pads are. */
GST_START_TEST (test_order)
{
  g_autoptr (Run) a
      = run_pipeline (CHAIN (FACES (LEFT, RIGHT)) VOICE ("saw",
                          "9") " ! denoise.sink " VOICE ("ticks", "9") " ! denoise.sink_0",
          TRUE);
  g_autoptr (Run) b
      = run_pipeline (CHAIN (FACES (RIGHT, LEFT)) VOICE ("ticks",
                          "9") " ! denoise.sink " VOICE ("saw", "9") " ! denoise.sink_0",
          TRUE);
  g_autoptr (Run) c
      = run_pipeline (CHAIN (FACES (LEFT, RIGHT)) VOICE ("ticks",
                          "9") " ! denoise.sink " VOICE ("saw", "9") " ! denoise.sink_0",
          TRUE);

  fail_unless_equals_int (a->n_buffers, 3);
  fail_unless (is_same (a, b));
  fail_if (is_same (a, c));
}
GST_END_TEST;

/* The first stream sets the length. A stream that ends early, a pad without a peer, and a stream
 * that was silent from the start do not stop it. */
GST_START_TEST (test_lengths)
{
  static const gchar *const others[] = { VOICE ("saw", "4") " ! denoise.sink_0",
    VOICE ("saw", "30") " ! denoise.sink_0", "", VOICE ("silence", "11") " ! denoise.sink_0" };
  Run *runs[G_N_ELEMENTS (others)];

  for (guint i = 0; i < G_N_ELEMENTS (others); i++) {
    g_autofree gchar *launch
        = g_strconcat (CHAIN (FACES (LEFT, RIGHT)) VOICE ("ticks", "11") " ! denoise.sink ",
            others[i], NULL);
    GstElement *pipeline = pipeline_new (launch, TRUE);
    GstElement *denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
    GstPad *pad = gst_element_get_static_pad (denoise, "sink_0");

    if (!pad) {
      pad = gst_element_request_pad_simple (denoise, "sink_0");
      g_object_set (pad, "face-box", RIGHT, NULL);
    }
    runs[i] = run_play (pipeline, NULL, NULL);
    fail_unless_equals_int (runs[i]->n_buffers, 4);
    fail_unless_equals_uint64 (runs[i]->end, 11 * 40 * GST_MSECOND);
    gst_object_unref (pad);
    gst_object_unref (denoise);
    gst_object_unref (pipeline);
  }
  fail_if (is_same (runs[0], runs[1]));
  fail_if (is_same (runs[0], runs[2]));
  fail_if (is_same (runs[1], runs[2]));
  for (guint i = 0; i < G_N_ELEMENTS (others); i++)
    run_free (runs[i]);
}
GST_END_TEST;

/* Features for tests that push them by hand: one video frame of @value at @pts. */
static GstBuffer *
feature (gfloat value, GstClockTime pts)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, 10 * 4 * 64 * sizeof (gfloat), NULL);
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_WRITE));
  for (gsize i = 0; i < map.size / sizeof (gfloat); i++)
    ((gfloat *) map.data)[i] = value * ((i * 7 % 11) - 5.f);
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_DURATION (buffer) = 40 * GST_MSECOND;
  return buffer;
}

/* Times of the features of the other speaker, at most 8; -1: a gap event for the frame. @clear: the
 * speech is dropped by an event before the first speaker begins. */
typedef struct
{
  gint ms[8];
  guint n;
  gboolean clear;
} Times;

#define FEATURES                                             \
  "other/tensors,format=static,num_tensors=1,types=float32," \
  "dimensions=(string)64:4:10,framerate=25/1"

/* Starts an element for tests that push features by hand. @h, @other: (out): the pads of both
 * speakers. @caps: caps of the features of the other */
static GstElement *
start_by_hand (GstHarness **h, GstHarness **other, const gchar *caps)
{
  g_autofree gchar *portrait = sample_path ("portrait.png");
  GstElement *denoise = gst_object_ref_sink (gst_parse_launch (
      "avatardenoise steps=1 mode=stream window-latents=3 overlap=1 face-box=" LEFT, NULL));
  GstPad *pad;

  g_object_set (denoise, "reference", portrait, NULL);
  *h = gst_harness_new_with_element (denoise, "sink", "src");
  gst_harness_set_sink_caps_str (*h, SMALL_LATENTS);
  *other = gst_harness_new_with_element (denoise, "sink_0", NULL);
  pad = gst_element_get_static_pad (denoise, "sink_0");
  g_object_set (pad, "face-box", RIGHT, NULL);
  gst_object_unref (pad);
  gst_element_set_state (denoise, GST_STATE_READY);
  gst_element_set_state (denoise, GST_STATE_PLAYING);
  gst_harness_set_src_caps_str (*h, FEATURES);
  gst_harness_set_src_caps_str (*other, caps);
  return denoise;
}

/* Returns the latents of 9 frames with the features of @times on the other pad. */
static GBytes *
run_times (const Times *times)
{
  GstHarness *h, *other;
  g_autoptr (GstElement) denoise = start_by_hand (&h, &other, FEATURES);
  GByteArray *bytes = g_byte_array_new ();
  GstBuffer *buffer;

  for (guint i = 0; i < times->n; i++) {
    GstClockTime frame = 40 * GST_MSECOND;

    if (times->ms[i] < 0) {
      gst_harness_push_event (other, gst_event_new_gap (i * frame, frame));
      continue;
    }
    buffer = feature (i + 1, times->ms[i] * GST_MSECOND);
    fail_unless_equals_int (gst_harness_push (other, buffer), GST_FLOW_OK);
  }
  if (times->clear)
    fail_unless (gst_harness_push_event (other,
        gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB,
            gst_structure_new_empty ("avatar-clear"))));
  gst_harness_push_event (other, gst_event_new_eos ());
  for (guint i = 0; i < 9; i++)
    fail_unless_equals_int (gst_harness_push (h, feature (.1f * i, i * 40 * GST_MSECOND)),
        GST_FLOW_OK);
  gst_harness_push_event (h, gst_event_new_eos ());
  for (guint i = 0; i < 3; i++) {
    GstMapInfo map;

    buffer = gst_harness_pull (h);
    fail_unless (buffer && gst_buffer_map (buffer, &map, GST_MAP_READ));
    g_byte_array_append (bytes, map.data, map.size);
    gst_buffer_unmap (buffer, &map);
    gst_buffer_unref (buffer);
  }
  gst_harness_teardown (other);
  gst_harness_teardown (h);
  return g_byte_array_free_to_bytes (bytes);
}

/* Features belong to the frame of their time: rounded times, missing ones, and gap events. */
GST_START_TEST (test_times)
{
  static const Times plain = { { 0, 40, 80, 120, 160 }, 5, FALSE };
  static const Times same[]
      = { { { 15, 55, 95, 135, 175 }, 5, FALSE }, { { 0, 41, 79, 121, 160 }, 5, FALSE } };
  static const Times gap = { { 0, 40, -1, 120, 160 }, 5, FALSE },
                     late = { { 40, 80, 120, 160 }, 4, FALSE };
  static const Times gaps = { { -1, -1, -1, -1, -1, -1, -1, -1 }, 8, FALSE },
                     none = { { 0 }, 0, FALSE };
  static const Times other[]
      = { { { 0, 40, 80, 120 }, 4, FALSE }, { { 0, 40, 80, 200, 240 }, 5, FALSE } };
  g_autoptr (GBytes) expected = run_times (&plain);
  g_autoptr (GBytes) with_gap = run_times (&gap), begins_late = run_times (&late);
  g_autoptr (GBytes) only_gaps = run_times (&gaps), silent = run_times (&none);

  fail_if (g_bytes_equal (expected, with_gap));
  fail_if (g_bytes_equal (expected, begins_late));
  fail_unless (g_bytes_equal (silent, only_gaps));
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GBytes) a = run_times (&same[i]), b = run_times (&other[i]);

    fail_unless (g_bytes_equal (expected, a), "%u", i);
    fail_if (g_bytes_equal (expected, b), "%u", i);
  }
}
GST_END_TEST;

/* Features of another model, which may have the same shape, are one error. */
GST_START_TEST (test_other_model)
{
  GstHarness *h, *other;
  g_autoptr (GstElement) denoise
      = start_by_hand (&h, &other, FEATURES ",model=(string)0123456789abcdef");
  g_autoptr (GstBus) bus = gst_bus_new ();
  g_autoptr (GstMessage) message = NULL;
  g_autoptr (GError) error = NULL;

  gst_element_set_bus (denoise, bus);
  gst_harness_push (other, feature (1, 0));
  gst_harness_push (h, feature (1, 0));
  message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ERROR);
  gst_message_parse_error (message, &error, NULL);
  fail_unless (strstr (error->message, "sink_0: the features come from model 0123456789abcdef"),
      "%s", error->message);
  gst_element_set_bus (denoise, NULL);
  gst_harness_teardown (other);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* Returns the latents after @n seeks to the start. */
static Run *
run_after_seeks (const gchar *launch, guint n)
{
  GstElement *pipeline = pipeline_new (launch, TRUE);
  Run *run;

  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  for (guint i = 0; i < n; i++) {
    gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
    fail_unless (gst_element_seek_simple (pipeline, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH, 0));
  }
  gst_element_get_state (pipeline, NULL, NULL, GST_CLOCK_TIME_NONE);
  run = run_play (pipeline, NULL, NULL);
  gst_object_unref (pipeline);
  return run;
}

/* A flushing seek reaches all streams, in whatever order, and the video is complete after it. */
GST_START_TEST (test_seek)
{
  static const gchar *const source
      = "filesrc location=%s ! wavparse ! audioconvert ! audioresample ! avataraudioenc ! queue ";
  g_autofree gchar *path = sample_path ("hello.wav");
  g_autofree gchar *one = g_strdup_printf (source, path);
  g_autofree gchar *launch = g_strconcat (CHAIN (FACES (LEFT, RIGHT)), one, "! denoise.sink ", one,
      "! denoise.sink_0", NULL);
  g_autoptr (Run) plain = run_pipeline (launch, TRUE), sought = run_after_seeks (launch, 3);

  g_assert_no_error (plain->error);
  g_assert_no_error (sought->error);
  fail_unless (sought->eos);
  fail_unless_equals_int (sought->n_buffers, plain->n_buffers);
  fail_unless_equals_uint64 (sought->first_pts, 0);
  fail_unless_equals_uint64 (sought->end, plain->end);
}
GST_END_TEST;

/* One source for both, with default queues, and more features than the element queues. */
GST_START_TEST (test_tee)
{
  g_autoptr (Run) run = run_pipeline (
      "avatardenoise name=denoise steps=1 window-latents=33 overlap=1 mode=stream " FACES (LEFT,
          RIGHT) " ! " SMALL_LATENTS " ! fakesink name=sink audiotestsrc wave=ticks "
                 "num-buffers=800 samplesperbuffer=640 ! audio/x-raw,format=F32LE,rate=16000,channels=1 "
                 "! tee name=t t. ! queue ! avataraudioenc ! denoise.sink "
                 "t. ! queue ! avataraudioenc ! denoise.sink_0",
      TRUE);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (run->n_buffers, 201);
}
GST_END_TEST;

/* Wrong faces are one error before the first latent, which names the pad. */
GST_START_TEST (test_wrong_faces)
{
  static const gchar *const wrong[][2] = {
    { "face-box=" LEFT, "pad sink_0 has no face-box and no face-mask" },
    { "face-box=" LEFT " sink_0::face-box=\"\"", "no face-box" },
    { "face-box=" LEFT " sink_0::face-box=" RIGHT " sink_0::face-mask=/tmp/m.png", "both" },
    { "face-box=" LEFT " sink_0::face-box=1,2,3", "sink_0: face-box \"1,2,3\" is invalid" },
    { "face-box=" LEFT " sink_0::face-box=1,2,3,4,5", "is invalid" },
    { "face-box=" LEFT " sink_0::face-box=-1,2,3,4", "is invalid" },
    { "face-box=" LEFT " sink_0::face-box=1,2,0,4", "is invalid" },
    { "face-box=" LEFT " sink_0::face-box=\"%%s%%n,1,1,1\"", "is invalid" },
    { "face-box=" LEFT " sink_0::face-box=4294967295,1,4294967295,1", "not inside the portrait" },
    { "face-box=" LEFT " sink_0::face-box=500,120,160,240", "sink_0: face-box 500,120,160,240" },
    { "face-box=500,120,160,240 sink_0::face-box=" RIGHT, "avatardenoise: face-box 500" },
    { "face-box=" LEFT " sink_0::face-box=" LEFT, "nothing is left of the face of speaker 1" },
    { "face-box=0,0,512,512 sink_0::face-box=" LEFT, "nothing is left of the face of speaker 1" },
    { "face-box=" LEFT " sink_0::face-mask=/nowhere.png", "sink_0: " },
  };

  for (guint i = 0; i < G_N_ELEMENTS (wrong); i++) {
    g_autofree gchar *launch = g_strconcat (DENOISE SETTINGS, wrong[i][0],
        " ! " SMALL_LATENTS " ! fakesink name=sink " VOICE ("saw",
            "9") " ! denoise.sink " VOICE ("saw", "9") " ! denoise.sink_0",
        NULL);
    g_autoptr (Run) run = run_pipeline (launch, TRUE);

    fail_unless (run->error && strstr (run->error->message, wrong[i][1]), "%s: %s", wrong[i][0],
        run->error ? run->error->message : "no error");
    fail_unless_equals_int (run->n_errors, 1);
    fail_unless_equals_int (run->n_buffers, 0);
  }
}
GST_END_TEST;

/* A mask of another size, or without white, is refused; one that fits is used. */
GST_START_TEST (test_mask)
{
  g_autofree gchar *path = sample_path ("portrait.png");
  g_autofree gchar *launch = g_strdup_printf (DENOISE SETTINGS
      "face-box=40,120,60,60 "
      "sink_0::face-mask=%s ! " SMALL_LATENTS " ! fakesink name=sink " VOICE ("saw",
          "9") " ! denoise.sink " VOICE ("saw", "9") " ! denoise.sink_0",
      path);
  GstElement *pipeline = pipeline_new (launch, TRUE);
  GstElement *denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autoptr (Run) right = run_play (pipeline, NULL, NULL), wrong = NULL;
  g_autofree gchar *other = g_build_filename (g_getenv ("AVATAR_CORPUS"), "image", "dot.png", NULL);

  g_assert_no_error (right->error);
  fail_unless_equals_int (right->n_buffers, 3);
  gst_child_proxy_set (GST_CHILD_PROXY (denoise), "sink_0::face-mask", other, NULL);
  wrong = run_play (pipeline, NULL, NULL);
  fail_unless (wrong->error && strstr (wrong->error->message, "sink_0: "), "%s",
      wrong->error ? wrong->error->message : "no error");
  gst_object_unref (denoise);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* At most three further speakers; their names, and pads that are given back. */
GST_START_TEST (test_pads)
{
  GstElement *denoise = gst_element_factory_make ("avatardenoise", NULL);
  GstPad *pads[3];

  gst_object_ref_sink (denoise);
  for (guint i = 0; i < 3; i++)
    pads[i] = gst_element_request_pad_simple (denoise, "sink_%u");
  fail_unless_equals_string (GST_PAD_NAME (pads[2]), "sink_2");
  fail_unless (gst_element_request_pad_simple (denoise, "sink_%u") == NULL);
  fail_unless_equals_int (gst_child_proxy_get_children_count (GST_CHILD_PROXY (denoise)), 3);
  gst_element_release_request_pad (denoise, pads[1]);
  fail_unless (gst_element_get_static_pad (denoise, "sink_1") == NULL);
  gst_object_unref (pads[1]);
  pads[1] = gst_element_request_pad_simple (denoise, "sink_1");
  fail_unless (pads[1] != NULL);
  for (guint i = 0; i < 3; i++) {
    gst_element_release_request_pad (denoise, pads[i]);
    gst_object_unref (pads[i]);
  }
  gst_object_unref (denoise);
  denoise = gst_object_ref_sink (gst_element_factory_make ("avatardenoise", NULL));
  pads[0] = gst_element_request_pad_simple (denoise, "sink_1");
  pads[1] = gst_element_request_pad_simple (denoise, "sink_%u"); /* has another name */
  fail_unless (pads[0] && pads[1]);
  fail_if (g_str_equal (GST_PAD_NAME (pads[0]), GST_PAD_NAME (pads[1])));
  for (guint i = 0; i < 2; i++) {
    gst_element_release_request_pad (denoise, pads[i]);
    gst_object_unref (pads[i]);
  }
  gst_object_unref (denoise);
}
GST_END_TEST;

/* The event avatar-clear on one pad makes that speaker silent, and not the first one. */
GST_START_TEST (test_clear)
{
  static const Times speech = { { 0, 40, 80, 120, 160 }, 5, FALSE }, none = { { 0 }, 0, FALSE };
  static const Times dropped = { { 0, 40, 80, 120, 160 }, 5, TRUE };
  g_autoptr (GBytes) a = run_times (&speech), b = run_times (&dropped), c = run_times (&none);

  fail_if (g_bytes_equal (a, b));
  fail_unless (g_bytes_equal (b, c));
}
GST_END_TEST;

/* Dropped speech of the first speaker does not make a window idle in which another one speaks. */
GST_START_TEST (test_clear_first)
{
  GstHarness *h, *other;
  g_autoptr (GstElement) denoise = start_by_hand (&h, &other, FEATURES);
  g_autoptr (GstBus) bus = gst_bus_new ();
  guint steps = 0;

  g_object_set (denoise, "steps", 2, "idle-steps", 1, NULL);
  gst_element_set_bus (denoise, bus);
  for (guint i = 0; i < 9; i++) {
    GstClockTime pts = i * 40 * GST_MSECOND;
    GstBuffer *buffer = feature (1, pts);

    if (i == 5)
      fail_unless (gst_harness_push_event (h,
          gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB,
              gst_structure_new_empty ("avatar-clear"))));
    if (i >= 5)
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
    gst_harness_push (other, feature (i + 1, pts));
    gst_harness_push (h, buffer);
  }
  while (steps == 0) {
    g_autoptr (GstMessage) message
        = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_ELEMENT);

    if (gst_message_has_name (message, "avatar-window"))
      fail_unless (gst_structure_get_uint (gst_message_get_structure (message), "steps", &steps));
  }
  fail_unless_equals_int (steps, 2);
  gst_element_set_bus (denoise, NULL);
  gst_harness_teardown (other);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
speakers_suite (void)
{
  Suite *suite = suite_create ("speakers");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_order);
  tcase_add_test (tc, test_lengths);
  tcase_add_test (tc, test_times);
  tcase_add_test (tc, test_other_model);
  tcase_add_test (tc, test_clear);
  tcase_add_test (tc, test_clear_first);
  tcase_add_test (tc, test_seek);
  tcase_add_test (tc, test_tee);
  tcase_add_test (tc, test_wrong_faces);
  tcase_add_test (tc, test_mask);
  tcase_add_test (tc, test_pads);
  return suite;
}

GST_CHECK_MAIN (speakers);
