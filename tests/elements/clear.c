/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event avatar-clear: speech that is not yet in the video becomes silence from the position
 * that the answer states, to the frame; time goes on without a break; and everything after is as if
 * the silence had been there from the start. The device is a simulated GPU. */
#include "support.h"

#include <avatar/audio.h>
#include <string.h>

#define FRAME (40 * GST_MSECOND)
#define FRAME_SAMPLES 640
#define DEVICE "device=sim:4096"
#define ENCODER "avataraudioenc name=enc window-frames=10 context=2 device=cpu"
/* Windows of 9 video frames, then 8. */
#define DENOISER(settings)                                                                 \
  "avatardenoise name=denoise mode=stream window-latents=3 overlap=1 " settings " " DEVICE \
  " ! " SMALL_LATENTS " ! fakesink name=sink async=false"
#define FIRST_FRAMES 9
#define STEPS 3
#define WITH_IDLE_STEPS DENOISER ("steps=3 idle-steps=1")
#define WITHOUT_IDLE_STEPS DENOISER ("steps=3")
#define N_CLEARS 200
#define MAX_WINDOWS 1000

/* An answer. Frames are counted from the start of the stream. */
typedef struct
{
  guint id;
  guint32 seqnum;
  guint64 from, to; /* frames that are dropped */
} Cleared;

/* A pipeline that an application feeds, and what came out of it. */
typedef struct
{
  GstElement *pipeline, *src, *enc, *denoise;
  GRand *random;
  guint64 n_pushed; /* frames of audio */

  GMutex lock;
  GByteArray *features, *latents;
  GByteArray *gaps; /* TRUE for each of the features that has the flag GAP */
  GstCaps *feature_caps;
  guint n_features, n_latents, n_cancelled;
  GstClockTime end; /* end of the last latent */
  guint breaks;     /* latents that do not follow the one before */
  GArray *cleared;  /* Cleared */
  guint n_sent;
  gboolean clear_in_step; /* the next step of a window sends an event */
  guint n_windows;
  guint steps[MAX_WINDOWS];       /* steps of each window */
  GstClockTime ends[MAX_WINDOWS]; /* end of each window */
} Talk;

static void
append (GByteArray *bytes, GstBuffer *buffer)
{
  GstMapInfo map;

  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  g_byte_array_append (bytes, map.data, map.size);
  gst_buffer_unmap (buffer, &map);
}

static GstPadProbeReturn
on_feature (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Talk *talk = data;
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  guint8 is_gap = GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP);

  g_mutex_lock (&talk->lock);
  if (!talk->feature_caps)
    talk->feature_caps = gst_pad_get_current_caps (pad);
  append (talk->features, buffer);
  talk->n_features++;
  g_byte_array_append (talk->gaps, &is_gap, 1);
  g_mutex_unlock (&talk->lock);
  return GST_PAD_PROBE_OK;
}

static void
on_latent (GstElement *sink, GstBuffer *buffer, GstPad *pad, Talk *talk)
{
  g_mutex_lock (&talk->lock);
  if (talk->n_latents++ > 0)
    talk->breaks += GST_BUFFER_PTS (buffer) != talk->end || GST_BUFFER_IS_DISCONT (buffer);
  talk->end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
  append (talk->latents, buffer);
  g_mutex_unlock (&talk->lock);
}

static void
take_answer (Talk *talk, GstMessage *message)
{
  const GstStructure *s = gst_message_get_structure (message);
  GstClockTime position, stream, running, to, dropped;
  Cleared cleared = { .seqnum = gst_message_get_seqnum (message) };
  guint seqnum;

  fail_unless (gst_structure_get (s, "id", G_TYPE_UINT, &cleared.id, "position",
      GST_TYPE_CLOCK_TIME, &position, "stream-time", GST_TYPE_CLOCK_TIME, &stream, "running-time",
      GST_TYPE_CLOCK_TIME, &running, "audio-to", GST_TYPE_CLOCK_TIME, &to, "dropped",
      GST_TYPE_CLOCK_TIME, &dropped, "seqnum", G_TYPE_UINT, &seqnum, NULL));
  fail_unless_equals_int (seqnum, cleared.seqnum);
  if (!GST_CLOCK_TIME_IS_VALID (to)) /* no audio has come yet */
    position = stream = running = to = 0;
  fail_unless_equals_uint64 (position % FRAME, 0);
  fail_unless_equals_uint64 (stream, position);
  fail_unless_equals_uint64 (running, position);
  fail_unless (position <= to, "position %" G_GUINT64_FORMAT " end %" G_GUINT64_FORMAT, position,
      to);
  fail_unless_equals_uint64 (dropped, to - position);
  cleared.from = position / FRAME;
  cleared.to = to / FRAME;
  g_mutex_lock (&talk->lock);
  g_array_append_val (talk->cleared, cleared);
  g_mutex_unlock (&talk->lock);
}

/* Sends an event with the next number, out of band or in order with the audio. */
static void
send_clear (Talk *talk, GstEventType type)
{
  guint id = g_atomic_int_add ((gint *) &talk->n_sent, 1);
  GstStructure *s = gst_structure_new ("avatar-clear", "id", G_TYPE_UINT, id, NULL);
  GstElement *to = type == GST_EVENT_CUSTOM_DOWNSTREAM ? talk->src : talk->enc;

  fail_unless (gst_element_send_event (to, gst_event_new_custom (type, s)));
}

static void
take_window (Talk *talk, const GstStructure *s)
{
  GstClockTime begin, duration;
  guint steps;

  if (!g_str_equal (gst_structure_get_string (s, "stage"), "denoise"))
    return;
  fail_unless (gst_structure_get (s, "steps", G_TYPE_UINT, &steps, "timestamp", GST_TYPE_CLOCK_TIME,
      &begin, "duration", GST_TYPE_CLOCK_TIME, &duration, NULL));
  g_mutex_lock (&talk->lock);
  fail_unless (talk->n_windows < MAX_WINDOWS);
  talk->steps[talk->n_windows] = steps;
  talk->ends[talk->n_windows++] = begin + duration;
  g_mutex_unlock (&talk->lock);
}

static GstBusSyncReply
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Talk *talk = data;
  g_autofree gchar *code = NULL;
  GstProgressType type;
  gboolean clear;

  if (gst_message_has_name (message, "avatar-cleared"))
    take_answer (talk, message);
  if (gst_message_has_name (message, "avatar-window"))
    take_window (talk, gst_message_get_structure (message));
  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return GST_BUS_PASS;
  gst_message_parse_progress (message, &type, &code, NULL);
  g_mutex_lock (&talk->lock);
  talk->n_cancelled += type == GST_PROGRESS_TYPE_CANCELED;
  clear = talk->clear_in_step && type == GST_PROGRESS_TYPE_CONTINUE;
  if (clear)
    talk->clear_in_step = FALSE;
  g_mutex_unlock (&talk->lock);
  if (clear)
    send_clear (talk, GST_EVENT_CUSTOM_DOWNSTREAM_OOB);
  return GST_BUS_PASS;
}

static void
watch (Talk *talk)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (talk->pipeline);
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (talk->pipeline), "sink");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (talk->denoise, "sink");

  gst_bus_set_sync_handler (bus, on_message, talk, NULL);
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_feature, talk, NULL);
  g_object_set (sink, "signal-handoffs", TRUE, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (on_latent), talk);
}

/* @chain: the elements between appsrc and sink */
static void
talk_init (Talk *talk, const gchar *chain, const gchar *caps)
{
  g_autofree gchar *launch
      = g_strdup_printf ("appsrc name=src format=time block=true max-bytes=100000 caps=%s ! %s",
          caps, chain);

  *talk = (Talk){ .pipeline = pipeline_new (launch, TRUE), .random = g_rand_new_with_seed (1) };
  talk->src = gst_bin_get_by_name (GST_BIN (talk->pipeline), "src");
  talk->enc = gst_bin_get_by_name (GST_BIN (talk->pipeline), "enc");
  talk->denoise = gst_bin_get_by_name (GST_BIN (talk->pipeline), "denoise");
  talk->features = g_byte_array_new ();
  talk->latents = g_byte_array_new ();
  talk->gaps = g_byte_array_new ();
  talk->cleared = g_array_new (FALSE, FALSE, sizeof (Cleared));
  g_mutex_init (&talk->lock);
  watch (talk);
  gst_element_set_state (talk->pipeline, GST_STATE_PLAYING);
}

static void
talk_clear (Talk *talk)
{
  gst_element_set_state (talk->pipeline, GST_STATE_NULL);
  g_clear_object (&talk->src);
  g_clear_object (&talk->enc);
  g_clear_object (&talk->denoise);
  gst_object_unref (talk->pipeline);
  g_rand_free (talk->random);
  g_byte_array_unref (talk->features);
  g_byte_array_unref (talk->latents);
  g_byte_array_unref (talk->gaps);
  g_array_unref (talk->cleared);
  gst_clear_caps (&talk->feature_caps);
  g_mutex_clear (&talk->lock);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Talk, talk_clear)

static void
push (Talk *talk, GstBuffer *buffer, guint64 frame)
{
  GstFlowReturn ret;

  GST_BUFFER_PTS (buffer) = frame * FRAME;
  GST_BUFFER_DURATION (buffer) = FRAME;
  g_signal_emit_by_name (talk->src, "push-buffer", buffer, &ret);
  gst_buffer_unref (buffer);
  fail_unless_equals_int (ret, GST_FLOW_OK);
}

/* Pushes @n frames of noise, whose level changes from frame to frame. */
static void
push_speech (Talk *talk, guint n)
{
  for (guint i = 0; i < n; i++) {
    gfloat *samples = g_new (gfloat, FRAME_SAMPLES);
    gdouble level = g_rand_double_range (talk->random, 0.05, 0.5);

    for (guint j = 0; j < FRAME_SAMPLES; j++)
      samples[j] = g_rand_double_range (talk->random, -level, level);
    push (talk, gst_buffer_new_wrapped (samples, FRAME_SAMPLES * sizeof (gfloat)),
        talk->n_pushed++);
  }
}

static void
end_stream (Talk *talk)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (talk->pipeline);
  g_autoptr (GstMessage) message = NULL;
  GstFlowReturn ret;

  g_signal_emit_by_name (talk->src, "end-of-stream", &ret);
  message
      = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  fail_unless_equals_int (GST_MESSAGE_TYPE (message), GST_MESSAGE_EOS);
}

static guint
value_of (Talk *talk, const guint *value)
{
  guint ret;

  g_mutex_lock (&talk->lock);
  ret = *value;
  g_mutex_unlock (&talk->lock);
  return ret;
}

/* Waits until the latents of all complete windows are out. A window of audio, with its context, and
 * one of latents may be incomplete. */
static void
settle (Talk *talk)
{
  while (4 * value_of (talk, &talk->n_latents) + 12 + 8 + 4 < talk->n_pushed)
    g_usleep (1000);
}

/* Returns the features that should have been denoised: those of silence from each position on. */
static void
replace_dropped (Talk *talk)
{
  gsize size = talk->features->len / talk->n_features;
  g_autoptr (AvatarModel) model = avatar_model_open (g_getenv ("AVATAR_MODEL"), NULL);
  g_autoptr (AvatarDevice) device = avatar_device_open ("cpu", NULL);
  g_autofree gfloat *silence = g_malloc (size);

  fail_unless (avatar_audio_compute_silence (model, device, silence, NULL));
  for (guint i = 0; i < talk->cleared->len; i++) {
    const Cleared *c = &g_array_index (talk->cleared, Cleared, i);

    for (guint64 frame = c->from; frame < MIN (c->to, talk->n_features); frame++) {
      memcpy (talk->features->data + frame * size, silence, size);
      talk->gaps->data[frame] = TRUE;
    }
  }
}

/* Denoises the features of @talk, after replace_dropped(), and expects the same latents. */
static void
expect_latents (Talk *talk, const gchar *denoiser)
{
  g_autofree gchar *caps = gst_caps_to_string (talk->feature_caps);
  g_autofree gchar *quoted = g_strdup_printf ("\"%s\"", caps);
  gsize size = talk->features->len / talk->n_features;
  g_auto (Talk) expected;

  talk_init (&expected, denoiser, quoted);
  for (guint i = 0; i < talk->n_features; i++) {
    GstBuffer *buffer = gst_buffer_new_memdup (talk->features->data + i * size, size);

    if (talk->gaps->data[i])
      GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
    push (&expected, buffer, i);
  }
  end_stream (&expected);
  fail_unless_equals_int (talk->n_latents, expected.n_latents);
  fail_unless_equals_int (talk->latents->len, expected.latents->len);
  size = talk->latents->len / talk->n_latents;
  for (guint i = 0; i < talk->n_latents; i++)
    fail_unless (memcmp (talk->latents->data + i * size, expected.latents->data + i * size, size)
            == 0,
        "latent %u differs", i);
}

static void
expect_answers (Talk *talk)
{
  const Cleared *before = NULL;

  fail_unless_equals_int (talk->cleared->len, talk->n_sent);
  for (guint i = 0; i < talk->cleared->len; i++) {
    const Cleared *c = &g_array_index (talk->cleared, Cleared, i);

    fail_unless (c->to <= talk->n_pushed);
    fail_if (before && c->from < before->from);
    before = c;
  }
}

/* Events at random points: between two buffers, with much or little waiting, and within windows. */
static void
clear_at_random (Talk *talk)
{
  while ((guint) g_atomic_int_get ((gint *) &talk->n_sent) < N_CLEARS) {
    push_speech (talk, g_rand_int_range (talk->random, 1, 6));
    switch (g_rand_int_range (talk->random, 0, 5)) {
      case 0:
        settle (talk);
        break;
      case 1:
        g_mutex_lock (&talk->lock);
        talk->clear_in_step = TRUE;
        g_mutex_unlock (&talk->lock);
        break;
      case 2:
        send_clear (talk, GST_EVENT_CUSTOM_DOWNSTREAM);
        break;
      default:
        send_clear (talk, GST_EVENT_CUSTOM_DOWNSTREAM_OOB);
        break;
    }
  }
  g_mutex_lock (&talk->lock);
  talk->clear_in_step = FALSE;
  g_mutex_unlock (&talk->lock);
}

#define AUDIO_CAPS "audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved"

GST_START_TEST (test_random_points)
{
  g_auto (Talk) talk;

  talk_init (&talk, ENCODER " ! " WITH_IDLE_STEPS, AUDIO_CAPS);
  clear_at_random (&talk);
  push_speech (&talk, 20);
  end_stream (&talk);
  expect_answers (&talk);
  fail_unless_equals_int (talk.breaks, 0);
  fail_unless_equals_uint64 (talk.end, talk.n_pushed * FRAME);
  fail_unless_equals_int (talk.n_features, talk.n_pushed);
  replace_dropped (&talk);
  expect_latents (&talk, WITH_IDLE_STEPS);
}
GST_END_TEST;

/* Sends an event within the first window, which has speech, and silence after it. */
static void
clear_in_first_window (Talk *talk, const gchar *chain)
{
  talk_init (talk, chain, AUDIO_CAPS);
  talk->clear_in_step = TRUE;
  push_speech (talk, 12);
  settle (talk);
  while (value_of (talk, &talk->n_windows) == 0)
    g_usleep (1000);
}

/* A window in its first step gives way to silence, if this takes no more steps than it has. */
GST_START_TEST (test_abandon)
{
  g_auto (Talk) talk;
  const Cleared *cleared;

  clear_in_first_window (&talk, ENCODER " ! " WITH_IDLE_STEPS);
  fail_unless_equals_int (talk.cleared->len, 1);
  cleared = &g_array_index (talk.cleared, Cleared, 0);
  fail_unless_equals_uint64 (cleared->from, 0);
  fail_unless_equals_uint64 (cleared->to, 12);
  fail_unless_equals_int (talk.n_cancelled, 1);
  fail_unless_equals_int (talk.steps[0], 1);
  push_speech (&talk, 28);
  end_stream (&talk);
  for (guint i = 1; i < talk.n_windows; i++)
    fail_unless_equals_int (talk.steps[i], STEPS);
  fail_unless_equals_int (talk.n_cancelled, 1);
  replace_dropped (&talk);
  expect_latents (&talk, WITH_IDLE_STEPS);
}
GST_END_TEST;

/* Else it is completed, and the position is its end. */
GST_START_TEST (test_complete)
{
  g_auto (Talk) talk;
  const Cleared *cleared;

  clear_in_first_window (&talk, ENCODER " ! " WITHOUT_IDLE_STEPS);
  fail_unless_equals_int (talk.cleared->len, 1);
  cleared = &g_array_index (talk.cleared, Cleared, 0);
  fail_unless_equals_uint64 (cleared->from, FIRST_FRAMES);
  fail_unless_equals_uint64 (cleared->to, 12);
  fail_unless_equals_uint64 (talk.ends[0], FIRST_FRAMES * FRAME);
  push_speech (&talk, 28);
  end_stream (&talk);
  for (guint i = 0; i < talk.n_windows; i++)
    fail_unless_equals_int (talk.steps[i], STEPS);
  fail_unless_equals_int (talk.n_cancelled, 0);
  replace_dropped (&talk);
  expect_latents (&talk, WITHOUT_IDLE_STEPS);
}
GST_END_TEST;

/* With nothing to drop: before the first audio, and after all of it. */
GST_START_TEST (test_nothing_waits)
{
  g_auto (Talk) talk;
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstMessage) message = NULL;
  GstClockTime position, dropped;
  GstPad *pad;

  talk_init (&talk, ENCODER " ! " WITH_IDLE_STEPS, AUDIO_CAPS);
  send_clear (&talk, GST_EVENT_CUSTOM_DOWNSTREAM_OOB);
  fail_unless_equals_int (talk.cleared->len, 1);
  push_speech (&talk, 20);
  end_stream (&talk);
  bus = gst_element_get_bus (talk.pipeline);
  gst_bus_set_sync_handler (bus, NULL, NULL, NULL);
  pad = gst_element_get_static_pad (talk.enc, "sink");
  fail_unless (gst_pad_send_event (pad,
      gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB,
          gst_structure_new_empty ("avatar-clear"))));
  gst_object_unref (pad);
  message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT);
  while (!gst_message_has_name (message, "avatar-cleared")) {
    gst_message_unref (message);
    message = gst_bus_pop_filtered (bus, GST_MESSAGE_ELEMENT);
  }
  fail_unless (gst_structure_get (gst_message_get_structure (message), "position",
      GST_TYPE_CLOCK_TIME, &position, "dropped", GST_TYPE_CLOCK_TIME, &dropped, NULL));
  fail_unless_equals_uint64 (position, 20 * FRAME);
  fail_unless_equals_uint64 (dropped, 0);
}
GST_END_TEST;

/* The event goes on downstream with the position. */
static GstPadProbeReturn
on_event (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  GstEvent *event = GST_PAD_PROBE_INFO_EVENT (info);
  GstClockTime *position = data;

  if (gst_event_has_name (event, "avatar-clear"))
    fail_unless (
        gst_structure_get_clock_time (gst_event_get_structure (event), "position", position));
  return GST_PAD_PROBE_OK;
}

GST_START_TEST (test_downstream)
{
  g_auto (Talk) talk;
  GstClockTime position = 0;
  g_autoptr (GstElement) sink = NULL;
  g_autoptr (GstPad) pad = NULL;

  talk_init (&talk, ENCODER " ! " WITHOUT_IDLE_STEPS, AUDIO_CAPS);
  sink = gst_bin_get_by_name (GST_BIN (talk.pipeline), "sink");
  pad = gst_element_get_static_pad (sink, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_event, &position, NULL);
  push_speech (&talk, 12);
  while (value_of (&talk, &talk.n_latents) < 3)
    g_usleep (1000);
  send_clear (&talk, GST_EVENT_CUSTOM_DOWNSTREAM_OOB);
  fail_unless_equals_uint64 (position, FIRST_FRAMES * FRAME);
}
GST_END_TEST;

/* A flush drops all, and begins at the portrait again. */
GST_START_TEST (test_flush)
{
  g_auto (Talk) talk;

  talk_init (&talk, ENCODER " ! " WITH_IDLE_STEPS, AUDIO_CAPS);
  push_speech (&talk, 30);
  settle (&talk);
  fail_unless (gst_element_send_event (talk.src, gst_event_new_flush_start ()));
  g_mutex_lock (&talk.lock);
  g_byte_array_set_size (talk.features, 0);
  g_byte_array_set_size (talk.latents, 0);
  g_byte_array_set_size (talk.gaps, 0);
  talk.n_features = talk.n_latents = 0;
  g_mutex_unlock (&talk.lock);
  fail_unless (gst_element_send_event (talk.src, gst_event_new_flush_stop (TRUE)));
  push_speech (&talk, 30);
  end_stream (&talk);
  fail_unless_equals_int (talk.n_features, 30);
  expect_latents (&talk, WITH_IDLE_STEPS);
}
GST_END_TEST;

static Suite *
clear_suite (void)
{
  Suite *suite = suite_create ("clear");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_random_points);
  tcase_add_test (tc, test_abandon);
  tcase_add_test (tc, test_complete);
  tcase_add_test (tc, test_nothing_waits);
  tcase_add_test (tc, test_downstream);
  tcase_add_test (tc, test_flush);
  return suite;
}

GST_CHECK_MAIN (clear);
