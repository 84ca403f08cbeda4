/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarbin: the same frames as the three elements, the same audio as its input, audio that leaves
 * with the video of its time, and the properties of its stages. */
#include "support.h"

#include <gst/audio/audio.h>
#include <gst/check/gsttestclock.h>
#include <string.h>

/* Audio that the bin has to convert, 40 ms a buffer. */
#define SOUND(frames)                                                \
  "audiotestsrc wave=saw samplesperbuffer=1764 num-buffers=" #frames \
  " ! audio/x-raw,format=S32LE,rate=44100,channels=2"
#define SHORT_SOUND(buffers)                                         \
  "audiotestsrc wave=saw samplesperbuffer=441 num-buffers=" #buffers \
  " ! audio/x-raw,format=S16LE,rate=44100,channels=1"
#define BIN "avatarbin name=avatar steps=1"
/* Windows of few frames, so that frames leave before the audio has ended. */
#define STREAM_BIN BIN " window-frames=8 context=2 mode=stream window-latents=3 overlap=1"
#define VIDEO " avatar.video ! " SMALL_VIDEO

static void
expect_same_bytes (const Run *a, const Run *b)
{
  fail_unless (a->bytes->len > 0);
  fail_unless_equals_int (a->bytes->len, b->bytes->len);
  fail_unless (memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0);
}

static GstElement *
get_child (GstElement *pipeline, const gchar *name)
{
  GstElement *child = gst_bin_get_by_name (GST_BIN (pipeline), name);

  fail_unless (child != NULL, "no element %s", name);
  return child;
}

/* The bin makes the frames of the three elements, and converts the audio as a pipeline does. The
 * pad "audio" is not linked. */
GST_START_TEST (test_frames)
{
  static const gchar *const formats[] = { "S32LE,rate=44100,channels=2", "U8,rate=8000,channels=1",
    "F64BE,rate=48000,channels=2,layout=non-interleaved", "F32LE,rate=16000,channels=1" };

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    g_autofree gchar *sound
        = g_strdup_printf ("audiotestsrc wave=saw num-buffers=5 ! audio/x-raw,format=%s",
            formats[i]);
    g_autofree gchar *in_bin
        = g_strdup_printf ("%s ! " BIN " ! " SMALL_VIDEO ",format=RGB ! fakesink name=sink", sound);
    g_autofree gchar *alone
        = g_strdup_printf ("%s ! audioconvert ! audioresample ! avataraudioenc ! avatardenoise "
                           "name=denoise steps=1 ! avatarvaedecode ! " SMALL_VIDEO
                           ",format=RGB ! fakesink name=sink",
            sound);
    g_autoptr (Run) bin = run_pipeline (in_bin, TRUE);
    g_autoptr (Run) elements = run_pipeline (alone, TRUE);

    g_assert_no_error (bin->error);
    fail_unless (bin->eos);
    fail_unless_equals_uint64 (bin->end, elements->end);
    fail_unless_equals_int (bin->windows->len, 3);
    expect_same_bytes (bin, elements);
  }
}
GST_END_TEST;

/* Audio leaves as it entered. */
GST_START_TEST (test_audio)
{
  g_autoptr (Run) bin
      = run_pipeline (SOUND (9) " ! " BIN VIDEO " ! fakesink avatar.audio ! fakesink name=sink",
          TRUE);
  g_autoptr (Run) sound = run_pipeline (SOUND (9) " ! fakesink name=sink", FALSE);

  g_assert_no_error (bin->error);
  fail_unless (bin->eos);
  fail_unless (gst_caps_is_equal (bin->caps, sound->caps));
  fail_unless_equals_int (bin->n_buffers, 9);
  expect_same_bytes (bin, sound);
}
GST_END_TEST;

/* The portrait may come from a video. */
GST_START_TEST (test_reference_pad)
{
  g_autoptr (Run) run = run_pipeline (
      SOUND (5) " ! " BIN " avatar.video ! fakesink name=sink "
                "videotestsrc num-buffers=1 ! video/x-raw,format=RGB,width=64,height=64 ! "
                "avatar.reference",
      FALSE);
  GstElement *bin = gst_element_factory_make ("avatarbin", NULL);
  GstPad *pad = gst_element_request_pad_simple (bin, "reference");
  GstElement *denoise = get_child (bin, "denoise");

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 5);
  fail_unless (pad != NULL);
  fail_unless_equals_int (GST_ELEMENT (denoise)->numsinkpads, 2);
  gst_element_release_request_pad (bin, pad);
  gst_object_unref (pad);
  fail_unless_equals_int (GST_ELEMENT (denoise)->numsinkpads, 1);
  gst_object_unref (denoise);
  gst_object_unref (bin);
}
GST_END_TEST;

static const gchar *const stages[] = { "audioenc", "denoise", "decode" };

/* Sets @value, of the type of @pspec, to one that is not the default. */
static void
choose_value (GParamSpec *pspec, GValue *value)
{
  g_value_init (value, pspec->value_type);
  if (G_IS_PARAM_SPEC_STRING (pspec))
    g_value_set_string (value, g_str_equal (pspec->name, "vram-budget") ? "4096" : "other");
  else if (G_IS_PARAM_SPEC_BOOLEAN (pspec))
    g_value_set_boolean (value, !G_PARAM_SPEC_BOOLEAN (pspec)->default_value);
  else if (G_IS_PARAM_SPEC_ENUM (pspec))
    g_value_set_enum (value,
        G_PARAM_SPEC_ENUM (pspec)
            ->enum_class->values[G_PARAM_SPEC_ENUM (pspec)->enum_class->n_values - 1]
            .value);
  else if (G_IS_PARAM_SPEC_INT (pspec))
    g_value_set_int (value, G_PARAM_SPEC_INT (pspec)->maximum);
  else if (G_IS_PARAM_SPEC_UINT (pspec))
    g_value_set_uint (value, G_PARAM_SPEC_UINT (pspec)->maximum);
  else if (G_IS_PARAM_SPEC_INT64 (pspec))
    g_value_set_int64 (value, G_PARAM_SPEC_INT64 (pspec)->maximum);
  else if (G_IS_PARAM_SPEC_UINT64 (pspec))
    g_value_set_uint64 (value, G_PARAM_SPEC_UINT64 (pspec)->maximum);
  else if (G_IS_PARAM_SPEC_DOUBLE (pspec))
    g_value_set_double (value, G_PARAM_SPEC_DOUBLE (pspec)->minimum / 2);
  else
    fail_unless (FALSE, "%s is of a type that this test does not know", pspec->name);
}

static void
expect_property (GObject *object, GParamSpec *pspec, const GValue *expected)
{
  g_auto (GValue) value = G_VALUE_INIT;

  g_object_get_property (object, pspec->name, &value);
  fail_unless (g_param_values_cmp (pspec, &value, expected) == 0, "%s of %s", pspec->name,
      GST_OBJECT_NAME (object));
}

static void
check_stage_property (GstElement *bin, GstElement *stage, GParamSpec *theirs)
{
  GParamSpec *ours = g_object_class_find_property (G_OBJECT_GET_CLASS (bin), theirs->name);
  g_auto (GValue) value = G_VALUE_INIT;

  fail_unless (ours != NULL, "avatarbin has no property %s", theirs->name);
  fail_unless (ours->value_type == theirs->value_type);
  fail_unless (g_param_values_cmp (ours, g_param_spec_get_default_value (ours),
                   g_param_spec_get_default_value (theirs))
      == 0);
  fail_unless_equals_int (ours->flags & GST_PARAM_MUTABLE_PLAYING,
      theirs->flags & GST_PARAM_MUTABLE_PLAYING);
  expect_property (G_OBJECT (bin), ours, g_param_spec_get_default_value (ours));
  choose_value (ours, &value);
  g_object_set_property (G_OBJECT (bin), ours->name, &value);
  expect_property (G_OBJECT (stage), theirs, &value);
  expect_property (G_OBJECT (bin), ours, &value);
}

/* Every property of a stage is one of the bin, except deprecated ones, and "stats", whose contents
 * the bin's property of this name has. */
GST_START_TEST (test_properties)
{
  guint n_checked = 0;

  for (guint i = 0; i < G_N_ELEMENTS (stages); i++) {
    GstElement *first = gst_element_factory_make ("avatarbin", NULL);
    GstElement *found = get_child (first, stages[i]);
    guint n;
    g_autofree GParamSpec **pspecs
        = g_object_class_list_properties (G_OBJECT_GET_CLASS (found), &n);

    for (guint j = 0; j < n; j++) {
      GstElement *bin, *stage;

      if (pspecs[j]->owner_type != G_OBJECT_TYPE (found) || pspecs[j]->flags & G_PARAM_DEPRECATED
          || g_str_equal (pspecs[j]->name, "stats"))
        continue;
      bin = gst_element_factory_make ("avatarbin", NULL);
      stage = get_child (bin, stages[i]);
      check_stage_property (bin, stage, pspecs[j]);
      n_checked++;
      gst_object_unref (stage);
      gst_object_unref (bin);
    }
    gst_object_unref (found);
    gst_object_unref (first);
  }
  fail_unless (n_checked > 30);
}
GST_END_TEST;

static void
count_notify (GObject *object, GParamSpec *pspec, gpointer count)
{
  ++*(guint *) count;
}

/* A property that a stage changes, as after a value that was refused, is announced by the bin. */
GST_START_TEST (test_notify)
{
  GstElement *bin = gst_element_factory_make ("avatarbin", NULL);
  GstElement *denoise = get_child (bin, "denoise");
  guint n = 0;

  g_signal_connect (bin, "notify::steps", G_CALLBACK (count_notify), &n);
  g_object_set (denoise, "steps", 3, NULL);
  fail_unless_equals_int (n, 1);
  g_object_set (bin, "steps", 4, NULL);
  fail_unless_equals_int (n, 2);
  gst_object_unref (denoise);
  gst_object_unref (bin);
}
GST_END_TEST;

/* A profile sets what the presets of its name set. */
GST_START_TEST (test_profiles)
{
  static const gchar *const profiles[][2]
      = { { "live", "Live" }, { "realtime", "Realtime" }, { "quality", "Quality" } };

  for (guint i = 0; i < G_N_ELEMENTS (profiles); i++) {
    GstElement *bin = gst_element_factory_make ("avatarbin", NULL);

    g_object_set (bin, "window-frames", 50, "window-latents", 11, "tile-frames", 32, NULL);
    gst_util_set_object_arg (G_OBJECT (bin), "profile", profiles[i][0]);
    for (guint j = 0; j < G_N_ELEMENTS (stages); j++) {
      GstElement *stage = get_child (bin, stages[j]);
      g_autoptr (GstElement) element
          = gst_element_factory_create (gst_element_get_factory (stage), NULL);
      g_auto (GStrv) names = gst_preset_get_property_names (GST_PRESET (element));

      fail_unless (gst_preset_load_preset (GST_PRESET (element), profiles[i][1]));
      for (guint k = 0; names[k]; k++) {
        g_auto (GValue) value = G_VALUE_INIT;

        g_object_get_property (G_OBJECT (element), names[k], &value);
        expect_property (G_OBJECT (stage),
            g_object_class_find_property (G_OBJECT_GET_CLASS (stage), names[k]), &value);
      }
      gst_object_unref (stage);
    }
    gst_object_unref (bin);
  }
}
GST_END_TEST;

static void
take_stats (GstElement *pipeline, GstMessage *message, gpointer data)
{
  g_autoptr (GstElement) bin = NULL;

  if (message)
    return;
  bin = get_child (pipeline, "avatar");
  g_object_get (bin, "stats", data, NULL);
}

/* The statistics of all stages. */
GST_START_TEST (test_stats)
{
  GstElement *pipeline = pipeline_new (SOUND (5) " ! " BIN VIDEO " ! fakesink", TRUE);
  g_autoptr (GstStructure) stats = NULL;
  g_autoptr (Run) run = run_play (pipeline, take_stats, &stats);
  guint64 frames = 0;

  g_assert_no_error (run->error);
  for (guint i = 0; i < G_N_ELEMENTS (stages); i++) {
    g_autoptr (GstStructure) stage = NULL;
    guint n = 0;

    fail_unless (gst_structure_get (stats, stages[i], GST_TYPE_STRUCTURE, &stage, NULL));
    fail_unless (gst_structure_get_uint (stage, "frames", &n));
    frames += n;
  }
  fail_unless_equals_uint64 (frames, 15);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* Running times at the pads of the bin. */
typedef struct
{
  GMutex lock;
  GstSegment video_segment, audio_segment;
  GstClockTime video_end, lead; /* the largest lead of a buffer's begin */
  guint n_frames, n_buffers, n_before_video;
} Leads;

static GstPadProbeReturn
on_video (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Leads *leads = data;
  GstBuffer *frame = info->data;

  g_mutex_lock (&leads->lock);
  leads->video_end = GST_BUFFER_PTS (frame) + GST_BUFFER_DURATION (frame);
  leads->n_frames++;
  g_mutex_unlock (&leads->lock);
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
on_audio (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Leads *leads = data;
  GstClockTime begin = GST_BUFFER_PTS (info->data);

  g_mutex_lock (&leads->lock);
  leads->n_buffers++;
  leads->n_before_video += leads->n_frames == 0;
  if (begin >= leads->video_end)
    leads->lead = MAX (leads->lead, begin - leads->video_end + 1);
  g_mutex_unlock (&leads->lock);
  return GST_PAD_PROBE_OK;
}

static Run *
run_measuring (const gchar *launch, Leads *leads)
{
  GstElement *pipeline = pipeline_new (launch, TRUE), *bin = get_child (pipeline, "avatar");
  g_autoptr (GstPad) video = gst_element_get_static_pad (bin, "video");
  g_autoptr (GstPad) audio = gst_element_get_static_pad (bin, "audio");
  Run *run;

  g_mutex_init (&leads->lock);
  gst_pad_add_probe (video, GST_PAD_PROBE_TYPE_BUFFER, on_video, leads, NULL);
  gst_pad_add_probe (audio, GST_PAD_PROBE_TYPE_BUFFER, on_audio, leads, NULL);
  run = run_play (pipeline, NULL, NULL);
  gst_object_unref (bin);
  gst_object_unref (pipeline);
  g_mutex_clear (&leads->lock);
  return run;
}

/* With sinks that take everything at once, no buffer of audio begins later than in the frame
 * that is being pushed, which the probe has not counted yet. Without the bin's control, all of
 * the audio would leave before the first frame. */
GST_START_TEST (test_no_lead)
{
  Leads leads = { 0 };
  g_autoptr (Run) run = run_measuring (SHORT_SOUND (100) " ! " STREAM_BIN " max-audio-lead=0" VIDEO
                                                         " ! fakesink async=false avatar.audio ! "
                                                         "fakesink async=false",
      &leads);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (leads.n_frames, 25);
  fail_unless_equals_int (leads.n_buffers, 100);
  fail_unless (leads.n_before_video <= 4);
  fail_unless (leads.lead <= 40 * GST_MSECOND);
}
GST_END_TEST;

/* A muxer holds a frame until it has audio of its time. */
GST_START_TEST (test_muxer)
{
  Leads leads = { 0 };
  g_autoptr (Run) run = run_measuring (SHORT_SOUND (100) " ! " STREAM_BIN " max-audio-lead=0" VIDEO
                                                         " ! videoconvert ! matroskamux name=m ! "
                                                         "fakesink name=sink avatar.audio ! m.",
      &leads);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (leads.n_frames, 25);
  fail_unless_equals_int (leads.n_buffers, 100);
  fail_unless (leads.lead <= 40 * GST_MSECOND);
}
GST_END_TEST;

/* An encoder that needs more audio than a frame lasts, before a muxer that holds the frame. No
 * queue lets the frames pass. */
static void
check_encoder (const gchar *branches)
{
  Leads leads = { 0 };
  g_autofree gchar *launch
      = g_strdup_printf (SHORT_SOUND (100) " ! " STREAM_BIN VIDEO " ! videoconvert ! %s ! fakesink",
          branches);
  g_autoptr (Run) run = run_measuring (launch, &leads);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (leads.n_frames, 25);
  fail_unless_equals_int (leads.n_buffers, 100);
  fail_unless (leads.lead < GST_SECOND);
}

GST_START_TEST (test_encoders)
{
  check_encoder ("m.  avatar.audio ! audioconvert ! audioresample ! opusenc frame-size=60 ! m.  "
                 "matroskamux name=m");
  check_encoder ("x264enc tune=zerolatency ! m.  avatar.audio ! audioconvert ! avenc_aac ! m.  "
                 "flvmux name=m streamable=true");
}
GST_END_TEST;

static GstPadProbeReturn
count_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer count)
{
  g_atomic_int_inc ((gint *) count);
  return GST_PAD_PROBE_OK;
}

static void
wait_for_message (GstElement *pipeline, GstMessageType type)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  g_autoptr (GstMessage) message
      = gst_bus_timed_pop_filtered (bus, 600 * GST_SECOND, type | GST_MESSAGE_ERROR);

  fail_unless (message && GST_MESSAGE_TYPE (message) != GST_MESSAGE_ERROR);
}

/* Both sinks send the seek; the stages are flushed once. The stream starts again at its target. */
GST_START_TEST (test_seek)
{
  g_autofree gchar *sound = sample_path ("hello.wav");
  g_autofree gchar *launch = g_strdup_printf ("filesrc location=%s ! wavparse ! " STREAM_BIN VIDEO
                                              " ! fakesink name=sink avatar.audio ! fakesink",
      sound);
  GstElement *pipeline = pipeline_new (launch, TRUE), *bin = get_child (pipeline, "avatar");
  g_autoptr (GstPad) video = gst_element_get_static_pad (bin, "video");
  g_autoptr (GstPad) audio = gst_element_get_static_pad (bin, "audio");
  g_autoptr (GstPad) tee = NULL;
  GstElement *entry = get_child (bin, "tee");
  gint n_frames = 0, n_flushes = 0;

  tee = gst_element_get_static_pad (entry, "sink");
  gst_element_set_state (pipeline, GST_STATE_PAUSED);
  wait_for_message (pipeline, GST_MESSAGE_ASYNC_DONE);
  gst_pad_add_probe (tee, GST_PAD_PROBE_TYPE_EVENT_FLUSH, count_buffer, &n_flushes, NULL);
  gst_pad_add_probe (video, GST_PAD_PROBE_TYPE_BUFFER, count_buffer, &n_frames, NULL);
  fail_unless (
      gst_element_seek (pipeline, 1, GST_FORMAT_TIME, GST_SEEK_FLAG_FLUSH | GST_SEEK_FLAG_ACCURATE,
          GST_SEEK_TYPE_SET, 400 * GST_MSECOND, GST_SEEK_TYPE_SET, 1200 * GST_MSECOND));
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_message (pipeline, GST_MESSAGE_EOS);
  fail_unless_equals_int (n_frames, 20);
  fail_unless_equals_int (n_flushes, 2);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (entry);
  gst_object_unref (bin);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* An error of a stage ends both streams. */
GST_START_TEST (test_error)
{
  g_autoptr (Run) run
      = run_pipeline (SHORT_SOUND (100) " ! " STREAM_BIN " noise-location=/nowhere/noise" VIDEO
                                        " ! fakesink avatar.audio ! fakesink",
          TRUE);

  fail_unless_equals_int (run->n_errors, 1);
  fail_unless (strstr (run->error->message, "/nowhere/noise") != NULL);
}
GST_END_TEST;

static GstPadProbeReturn
count_test_event (GstPad *pad, GstPadProbeInfo *info, gpointer count)
{
  if (gst_event_has_name (info->data, "test"))
    g_atomic_int_inc ((gint *) count);
  return GST_PAD_PROBE_OK;
}

/* A downstream event that is sent to the bin enters with the audio and leaves with both streams. */
GST_START_TEST (test_send_event)
{
  GstElement *pipeline
      = pipeline_new ("appsrc name=src ! " STREAM_BIN VIDEO
                      " ! fakesink async=false avatar.audio ! fakesink async=false",
          TRUE);
  GstElement *bin = get_child (pipeline, "avatar");
  static const gchar *const names[] = { "video", "audio" };
  gint n[2] = { 0 };

  for (guint i = 0; i < 2; i++) {
    g_autoptr (GstPad) pad = gst_element_get_static_pad (bin, names[i]);
    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, count_test_event, &n[i], NULL);
  }
  fail_unless (gst_element_set_state (pipeline, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (gst_element_send_event (bin,
      gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, gst_structure_new_empty ("test"))));
  fail_unless_equals_int (n[0], 1);
  fail_unless_equals_int (n[1], 1);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bin);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* Both pads report the latency of the video. */
GST_START_TEST (test_latency)
{
  GstElement *pipeline = pipeline_new ("audiotestsrc is-live=true ! " STREAM_BIN VIDEO
                                       " ! fakesink avatar.audio ! fakesink",
      TRUE);
  GstElement *bin = get_child (pipeline, "avatar");
  static const gchar *const names[] = { "video", "audio" };
  GstClockTime min[2], max[2];

  fail_unless (gst_element_set_state (pipeline, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GstPad) pad = gst_element_get_static_pad (bin, names[i]);
    g_autoptr (GstQuery) query = gst_query_new_latency ();
    gboolean live;

    while (!gst_pad_query (pad, query)) /* until the source knows its format */
      g_usleep (1000);
    gst_query_parse_latency (query, &live, &min[i], &max[i]);
    fail_unless (live);
  }
  /* The encoder's window and context are a part of it. */
  fail_unless (min[0] >= 400 * GST_MSECOND);
  fail_unless_equals_uint64 (min[0], min[1]);
  fail_unless_equals_uint64 (max[0], max[1]);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bin);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* Sends avatar-clear, as the stages pass it on, before the first frame leaves. */
static GstPadProbeReturn
clear_once (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstStructure *s = gst_structure_new ("avatar-clear", "position", GST_TYPE_CLOCK_TIME,
      90 * GST_MSECOND, "audio-to", GST_TYPE_CLOCK_TIME, 200 * GST_MSECOND, NULL);

  fail_unless (
      gst_pad_send_event (data, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, s)));
  return GST_PAD_PROBE_REMOVE;
}

/* Audio after the position of an event avatar-clear, up to what was received before it, is silence.
 * The audio before and after it stays. */
static void
check_clear (const gchar *caps, gsize bytes_per_second, guint8 silence, gsize sample)
{
  g_autofree gchar *sound = g_strdup_printf (
      "audiotestsrc wave=saw samplesperbuffer=1764 num-buffers=9 ! audio/x-raw,%s", caps);
  g_autofree gchar *launch
      = g_strdup_printf ("%s ! " STREAM_BIN VIDEO " ! fakesink avatar.audio ! fakesink name=sink",
          sound);
  g_autofree gchar *plain = g_strdup_printf ("%s ! fakesink name=sink", sound);
  GstElement *pipeline = pipeline_new (launch, TRUE), *decode = get_child (pipeline, "decode");
  g_autoptr (GstPad) src = gst_element_get_static_pad (decode, "src");
  g_autoptr (GstPad) sink = gst_element_get_static_pad (decode, "sink");
  gsize begin = bytes_per_second * 9 / 100, end = bytes_per_second / 5;
  g_autoptr (Run) run = NULL, whole = run_pipeline (plain, FALSE);

  gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_BUFFER, clear_once, sink, NULL);
  run = run_play (pipeline, NULL, NULL);
  g_assert_no_error (run->error);
  begin -= begin % sample;
  fail_unless_equals_int (run->bytes->len, whole->bytes->len);
  for (gsize i = 0; i < run->bytes->len; i++) {
    guint8 expected = i >= begin && i < end ? silence : whole->bytes->data[i];

    fail_unless_equals_int (run->bytes->data[i], expected);
  }
  gst_object_unref (decode);
  gst_object_unref (pipeline);
}

GST_START_TEST (test_clear)
{
  check_clear ("format=S32LE,rate=44100,channels=2", 44100 * 8, 0, 8);
  check_clear ("format=U8,rate=44100,channels=1", 44100, 0x80, 1);
}
GST_END_TEST;

/* Says that a buffer has fewer samples than fit into it. */
static GstPadProbeReturn
shorten_audio (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstAudioInfo audio;

  info->data = gst_buffer_make_writable (GST_PAD_PROBE_INFO_BUFFER (info));
  gst_audio_info_set_format (&audio, GST_AUDIO_FORMAT_U24LE, 44100, 1, NULL);
  gst_buffer_add_audio_meta (info->data, &audio, 100, NULL);
  return GST_PAD_PROBE_OK;
}

/* Silence that would begin after the last sample of a buffer changes nothing. */
GST_START_TEST (test_clear_short)
{
  GstElement *pipeline = pipeline_new (
      "audiotestsrc samplesperbuffer=1764 num-buffers=9 ! audio/x-raw,format=U24LE,rate=44100 ! " STREAM_BIN
          VIDEO " ! fakesink avatar.audio ! fakesink name=sink",
      TRUE);
  GstElement *sync = get_child (pipeline, "sync");
  g_autoptr (GstPad) video = gst_element_get_static_pad (sync, "video_sink");
  g_autoptr (GstPad) audio = gst_element_get_static_pad (sync, "audio_sink");
  g_autoptr (Run) run = NULL;

  gst_pad_add_probe (audio, GST_PAD_PROBE_TYPE_BUFFER, shorten_audio, NULL, NULL);
  gst_pad_add_probe (audio, GST_PAD_PROBE_TYPE_BUFFER, clear_once, video, NULL);
  run = run_play (pipeline, NULL, NULL);
  g_assert_no_error (run->error);
  gst_object_unref (sync);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* A pipeline whose clock the test moves, with continuous audio from a pad of the test. */
typedef struct
{
  GstElement *pipeline, *bin;
  GstClock *clock;
  GstPad *src;
  GByteArray *samples; /* F32, 48 kHz, two channels */
  GstClockTime end;    /* end of the audio */
  gint n_frames;
} Live;

/* Checks that audio has no gaps, and keeps it. */
static GstPadProbeReturn
take_audio (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Live *live = data;
  GstMapInfo map;

  fail_unless_equals_uint64 (GST_BUFFER_PTS (info->data), live->end);
  live->end += GST_BUFFER_DURATION (info->data);
  fail_unless (gst_buffer_map (info->data, &map, GST_MAP_READ));
  g_byte_array_append (live->samples, map.data, map.size);
  gst_buffer_unmap (info->data, &map);
  return GST_PAD_PROBE_OK;
}

static void
live_start (Live *live)
{
  g_autoptr (GstPad) sink = NULL, audio = NULL, video = NULL;

  live->pipeline = pipeline_new (STREAM_BIN
      " continuous=true" VIDEO " ! fakesink async=false avatar.audio ! fakesink async=false",
      TRUE);
  live->bin = get_child (live->pipeline, "avatar");
  live->clock = gst_test_clock_new ();
  live->samples = g_byte_array_new ();
  sink = gst_element_get_static_pad (live->bin, "audio_sink");
  audio = gst_element_get_static_pad (live->bin, "audio");
  video = gst_element_get_static_pad (live->bin, "video");
  gst_pad_add_probe (audio, GST_PAD_PROBE_TYPE_BUFFER, take_audio, live, NULL);
  gst_pad_add_probe (video, GST_PAD_PROBE_TYPE_BUFFER, count_buffer, &live->n_frames, NULL);
  live->src = gst_pad_new ("src", GST_PAD_SRC);
  fail_unless (gst_pad_link (live->src, sink) == GST_PAD_LINK_OK);
  gst_pad_set_active (live->src, TRUE);
  gst_pipeline_use_clock (GST_PIPELINE (live->pipeline), live->clock);
  fail_unless_equals_int (gst_element_set_state (live->pipeline, GST_STATE_PAUSED),
      GST_STATE_CHANGE_NO_PREROLL);
  gst_element_set_state (live->pipeline, GST_STATE_PLAYING);
}

/* Lets the timeline run until @time. */
static void
live_run (Live *live, GstClockTime time)
{
  while (gst_clock_get_time (live->clock) < time) {
    GstClockID id;

    gst_test_clock_wait_for_next_pending_id (GST_TEST_CLOCK (live->clock), &id);
    gst_test_clock_set_time (GST_TEST_CLOCK (live->clock),
        MAX (gst_clock_id_get_time (id), gst_clock_get_time (live->clock)));
    gst_clock_id_unref (id);
    id = gst_test_clock_process_next_clock_id (GST_TEST_CLOCK (live->clock));
    if (id)
      gst_clock_id_unref (id);
  }
}

static void
live_begin_stream (Live *live, const gchar *caps_text)
{
  g_autoptr (GstCaps) caps = gst_caps_from_string (caps_text);
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_push_event (live->src, gst_event_new_stream_start (caps_text));
  gst_pad_push_event (live->src, gst_event_new_caps (caps));
  gst_pad_push_event (live->src, gst_event_new_segment (&segment));
}

/* Sends @size bytes of constant sound. */
static void
live_push (Live *live, GstClockTime pts, GstClockTime duration, gsize size)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);

  gst_buffer_memset (buffer, 0, 0x20, size);
  GST_BUFFER_PTS (buffer) = pts;
  GST_BUFFER_DURATION (buffer) = duration;
  fail_unless_equals_int (gst_pad_push (live->src, buffer), GST_FLOW_OK);
}

/* Returns the number of samples that are not silent, and @n_ranges: the number of
 * ranges that they make. */
static guint
live_count (Live *live, guint *n_ranges)
{
  const gfloat *samples = (const gfloat *) live->samples->data;
  gboolean before = FALSE;
  guint n = 0;

  *n_ranges = 0;
  for (gsize i = 0; i < live->samples->len / sizeof (gfloat); i += 2) {
    gboolean loud = samples[i] > 0.1 || samples[i] < -0.1;

    n += loud;
    *n_ranges += loud && !before;
    before = loud;
  }
  return n;
}

/* Wrong times of the source, another format, a flush, and the end of a source: all other audio is
 * played, silence fills the rest, and EOS to the pipeline ends it. */
GST_START_TEST (test_continuous)
{
  Live live = { 0 };
  GstClockTime video_end;
  guint n, n_ranges;

  live_start (&live);
  live_run (&live, 300 * GST_MSECOND); /* no source yet */
  live_begin_stream (&live, "audio/x-raw,format=S16LE,rate=48000,channels=1,layout=interleaved");
  live_push (&live, 5 * GST_SECOND, 100 * GST_MSECOND, 9600);
  live_run (&live, 700 * GST_MSECOND);
  live_push (&live, GST_SECOND, 100 * GST_MSECOND, 9600); /* back in time */
  live_run (&live, 1100 * GST_MSECOND);
  live_push (&live, 2 * GST_SECOND, 100 * GST_MSECOND, 9600);
  gst_pad_push_event (live.src, gst_event_new_flush_start ()); /* drops what was pushed last */
  gst_pad_push_event (live.src, gst_event_new_flush_stop (FALSE));
  gst_pad_push_event (live.src, gst_event_new_eos ());
  live_run (&live, 1300 * GST_MSECOND);
  live_begin_stream (&live, "audio/x-raw,format=F32LE,rate=24000,channels=2,layout=interleaved");
  gst_pad_push_event (live.src, gst_event_new_gap (0, GST_SECOND));
  live_push (&live, 0, 100 * GST_MSECOND, 19200);
  live_run (&live, 1900 * GST_MSECOND);
  fail_unless (gst_element_send_event (live.pipeline, gst_event_new_eos ()));
  wait_for_message (live.pipeline, GST_MESSAGE_EOS);
  n = live_count (&live, &n_ranges);
  fail_unless_equals_int (n_ranges, 2);
  fail_unless (n >= 9600 && n <= 9700, "%u samples, expected 9600", n);
  fail_unless (live.end >= 1700 * GST_MSECOND && live.end < 2 * GST_SECOND);
  video_end = live.n_frames * 40 * GST_MSECOND;
  fail_unless (video_end + 40 * GST_MSECOND > live.end && video_end < live.end + 80 * GST_MSECOND);
  gst_element_set_state (live.pipeline, GST_STATE_NULL);
  g_byte_array_unref (live.samples);
  gst_object_unref (live.src);
  gst_object_unref (live.clock);
  gst_object_unref (live.bin);
  gst_object_unref (live.pipeline);
}
GST_END_TEST;

static Suite *
bin_suite (void)
{
  Suite *suite = suite_create ("bin");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_frames);
  tcase_add_test (tc, test_audio);
  tcase_add_test (tc, test_reference_pad);
  tcase_add_test (tc, test_properties);
  tcase_add_test (tc, test_notify);
  tcase_add_test (tc, test_profiles);
  tcase_add_test (tc, test_stats);
  tcase_add_test (tc, test_no_lead);
  tcase_add_test (tc, test_muxer);
  tcase_add_test (tc, test_encoders);
  tcase_add_test (tc, test_seek);
  tcase_add_test (tc, test_error);
  tcase_add_test (tc, test_send_event);
  tcase_add_test (tc, test_latency);
  tcase_add_test (tc, test_clear);
  tcase_add_test (tc, test_clear_short);
  tcase_add_test (tc, test_continuous);
  return suite;
}

GST_CHECK_MAIN (bin);
