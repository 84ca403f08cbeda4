/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode: as many frames as there was audio, in every format, at every start; frames made
 * ahead of a slow sink; queries in the video's units. */
#include "support.h"

static Run *
decode (const gchar *caps)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (7) " ! " DENOISE " ! avatarvaedecode ! " SMALL_VIDEO
                                   "%s ! fakesink name=sink",
          caps);
  Run *run = run_pipeline (launch, TRUE);

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 7);
  fail_unless_equals_uint64 (run->first_pts, 0);
  fail_unless_equals_uint64 (run->end, 7 * 40 * GST_MSECOND);
  return run;
}

static gdouble
mean (const guint8 *data, gsize n)
{
  gdouble sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += data[i];
  return sum / n;
}

GST_START_TEST (test_formats)
{
  g_autoptr (Run) rgb = decode (",format=RGB");
  g_autoptr (Run) i420 = decode (",format=I420");
  g_autoptr (Run) nv12 = decode (",format=NV12");
  const gsize pixels = 64 * 64;

  fail_unless_equals_int (rgb->bytes->len, 7 * 3 * pixels);
  fail_unless_equals_int (i420->bytes->len, 7 * pixels * 3 / 2);
  fail_unless_equals_int (nv12->bytes->len, i420->bytes->len);
  /* The same luma, and about as bright as the grey of RGB in video range. */
  for (guint i = 0; i < 7; i++)
    fail_unless (memcmp (i420->bytes->data + i * pixels * 3 / 2,
                     nv12->bytes->data + i * pixels * 3 / 2, pixels)
        == 0);
  fail_unless (ABS (mean (i420->bytes->data, pixels)
                   - (16 + mean (rgb->bytes->data, 3 * pixels) * 219 / 255))
      < 25);
  fail_if (memcmp (rgb->bytes->data, rgb->bytes->data + 6 * 3 * pixels, 3 * pixels) == 0,
      "the picture does not move");
}
GST_END_TEST;

/* Tiled or whole: a clip shorter than a tile comes out the same. */
GST_START_TEST (test_tiling)
{
  g_autoptr (Run) tiled
      = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode tiling=exact ! " SMALL_VIDEO
                                ",format=RGB ! fakesink name=sink",
          TRUE);
  g_autoptr (Run) whole
      = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode tiling=off ! " SMALL_VIDEO
                                ",format=RGB ! fakesink name=sink",
          TRUE);

  g_assert_no_error (tiled->error);
  fail_unless_equals_int (tiled->n_buffers, 9);
  fail_unless_equals_int (tiled->bytes->len, whole->bytes->len);
  fail_unless (memcmp (tiled->bytes->data, whole->bytes->data, whole->bytes->len) == 0);
}
GST_END_TEST;

/* Time that does not begin at 0 is kept to the end of the chain. */
GST_START_TEST (test_start_time)
{
  g_autoptr (Run) run = run_pipeline (
      "audiotestsrc timestamp-offset=3000000000 samplesperbuffer=500 num-buffers=5 ! "
      "audio/x-raw,format=F32LE,rate=16000,channels=1 ! avataraudioenc ! " DENOISE
      " ! avatarvaedecode ! " SMALL_VIDEO " ! fakesink name=sink",
      TRUE);

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 4); /* 2500 samples are 3.9 frames */
  fail_unless_equals_uint64 (run->first_pts, 3 * GST_SECOND);
  fail_unless_equals_uint64 (run->end, 3 * GST_SECOND + 160 * GST_MSECOND);
}
GST_END_TEST;

#define LATENT_CAPS                                                                      \
  "other/tensors,format=static,num_tensors=1,types=float32,dimensions=(string)8:8:1:16," \
  "framerate=25/4"

static GstBuffer *
latent_new (guint k)
{
  const gsize size = 16 * 8 * 8 * sizeof (float);
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, size, NULL);

  gst_buffer_memset (buffer, 0, 0, size);
  GST_BUFFER_OFFSET (buffer) = k;
  GST_BUFFER_PTS (buffer) = (k ? 4 * k - 3 : 0) * 40 * GST_MSECOND;
  GST_BUFFER_DURATION (buffer) = (k ? 4 : 1) * 40 * GST_MSECOND;
  return buffer;
}

/* Tiles of 16 frames: the first needs 5 latents and gives 13 frames, each further one 3 and 12. */
typedef struct
{
  gint received, tiles, most_ahead;
  gboolean blocked;
  GMutex lock;
  GCond cond;
} Ahead;

static GstPadProbeReturn
on_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Ahead *ahead = data;

  g_mutex_lock (&ahead->lock);
  while (ahead->blocked)
    g_cond_wait (&ahead->cond, &ahead->lock);
  ahead->received++;
  g_mutex_unlock (&ahead->lock);
  return GST_PAD_PROBE_OK;
}

static GstBusSyncReply
on_tile (GstBus *bus, GstMessage *message, gpointer data)
{
  Ahead *ahead = data;

  if (gst_message_has_name (message, "avatar-window")) {
    g_mutex_lock (&ahead->lock);
    ahead->most_ahead = MAX (ahead->most_ahead, ahead->tiles * 12 + 1 - ahead->received);
    ahead->tiles++;
    g_cond_broadcast (&ahead->cond);
    g_mutex_unlock (&ahead->lock);
  }
  return GST_BUS_DROP;
}

/* Behind a sink that blocks, latents are taken and the next tile is computed, but no more. */
GST_START_TEST (test_ahead)
{
  GstHarness *h = gst_harness_new_parse ("avatarvaedecode tile-frames=16");
  g_autoptr (GstBus) bus = gst_bus_new ();
  Ahead ahead = { .blocked = TRUE };

  g_mutex_init (&ahead.lock);
  g_cond_init (&ahead.cond);
  gst_bus_set_sync_handler (bus, on_tile, &ahead, NULL);
  gst_element_set_bus (h->element, bus);
  gst_pad_add_probe (h->sinkpad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, &ahead, NULL);
  gst_harness_set_src_caps_str (h, LATENT_CAPS);
  /* two tiles, and as many as wait for the third */
  for (guint k = 0; k < 8 + 33; k++)
    fail_unless_equals_int (gst_harness_push (h, latent_new (k)), GST_FLOW_OK);
  g_mutex_lock (&ahead.lock);
  while (ahead.tiles < 2)
    g_cond_wait (&ahead.cond, &ahead.lock);
  fail_unless_equals_int (ahead.received, 0);
  ahead.blocked = FALSE;
  g_cond_broadcast (&ahead.cond);
  g_mutex_unlock (&ahead.lock);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 1 + 4 * 40; i++) {
    GstBuffer *frame = gst_harness_pull (h);

    fail_unless_equals_uint64 (GST_BUFFER_PTS (frame), i * 40 * GST_MSECOND);
    gst_buffer_unref (frame);
  }
  /* 12 in the queue, one on its way out */
  fail_unless (ahead.most_ahead <= 13, "%d frames ahead", ahead.most_ahead);
  gst_bus_set_sync_handler (bus, NULL, NULL, NULL);
  gst_element_set_bus (h->element, NULL);
  gst_harness_teardown (h);
  g_mutex_clear (&ahead.lock);
  g_cond_clear (&ahead.cond);
}
GST_END_TEST;

/* A sink that has had enough (pngenc snapshot=true) ends the pipeline, though upstream's EOS was
 * taken long before. */
GST_START_TEST (test_enough)
{
  g_autoptr (Run) run = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode ! " SMALL_VIDEO
                                                " ! identity eos-after=2 ! fakesink name=sink",
      TRUE);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless (run->n_buffers < 9);
}
GST_END_TEST;

static GstPadProbeReturn
stay_blocked (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_PAD_PROBE_OK;
}

/* While what follows blocks, a flush and the state change down get through. */
GST_START_TEST (test_interrupted)
{
  GstHarness *h = gst_harness_new_parse ("avatarvaedecode tile-frames=16");

  gst_pad_add_probe (GST_PAD_PEER (h->sinkpad),
      GST_PAD_PROBE_TYPE_BLOCK | GST_PAD_PROBE_TYPE_BUFFER, stay_blocked, NULL, NULL);
  gst_harness_set_src_caps_str (h, LATENT_CAPS);
  for (guint round = 0; round < 3; round++) {
    GstSegment segment;

    for (guint k = 0; k < 8; k++)
      fail_unless_equals_int (gst_harness_push (h, latent_new (k)), GST_FLOW_OK);
    fail_unless (gst_harness_push_event (h, gst_event_new_flush_start ()));
    fail_unless_equals_int (gst_harness_push (h, latent_new (8)), GST_FLOW_FLUSHING);
    fail_unless (gst_harness_push_event (h, gst_event_new_flush_stop (TRUE)));
    gst_segment_init (&segment, GST_FORMAT_TIME);
    fail_unless (gst_harness_push_event (h, gst_event_new_segment (&segment)));
  }
  for (guint k = 0; k < 8; k++)
    fail_unless_equals_int (gst_harness_push (h, latent_new (k)), GST_FLOW_OK);
  gst_harness_teardown (h);
}
GST_END_TEST;

/* 190 ms of sound, which are begun 5 frames. */
static gboolean
answer_duration (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstFormat format;

  if (GST_QUERY_TYPE (query) != GST_QUERY_DURATION)
    return gst_pad_query_default (pad, parent, query);
  gst_query_parse_duration (query, &format, NULL);
  gst_query_set_duration (query, format,
      format == GST_FORMAT_TIME ? (gint64) (190 * GST_MSECOND) : 3040);
  return TRUE;
}

static void
check_times (GstPad *pad)
{
  const GstFormat formats[] = { GST_FORMAT_TIME, GST_FORMAT_DEFAULT, GST_FORMAT_BYTES };
  const gint64 frame[] = { 40 * GST_MSECOND, 1, 3 * 64 * 64 };
  gint64 value;

  for (guint i = 0; i < G_N_ELEMENTS (formats); i++) {
    fail_unless (gst_pad_query_duration (pad, formats[i], &value));
    fail_unless_equals_int64 (value, 5 * frame[i]);
    fail_unless (gst_pad_query_position (pad, formats[i], &value));
    fail_unless_equals_int64 (value, 5 * frame[i]);
    for (guint j = 0; j < G_N_ELEMENTS (formats); j++) {
      fail_unless (gst_pad_query_convert (pad, formats[i], 3 * frame[i], formats[j], &value));
      fail_unless_equals_int64 (value, 3 * frame[j]);
    }
  }
  fail_if (gst_pad_query_duration (pad, GST_FORMAT_PERCENT, &value));
}

static void
check_seek (GstHarness *h)
{
  GstEvent *event;
  GstFormat format;
  gint64 begin;

  while ((event = gst_harness_try_pull_upstream_event (h)))
    gst_event_unref (event);
  gst_harness_push_upstream_event (h,
      gst_event_new_seek (1.0, GST_FORMAT_DEFAULT, GST_SEEK_FLAG_FLUSH, GST_SEEK_TYPE_SET, 3,
          GST_SEEK_TYPE_NONE, -1));
  event = gst_harness_pull_upstream_event (h);
  fail_unless_equals_int (GST_EVENT_TYPE (event), GST_EVENT_SEEK);
  gst_event_parse_seek (event, NULL, &format, NULL, NULL, &begin, NULL, NULL);
  fail_unless_equals_int (format, GST_FORMAT_TIME);
  fail_unless_equals_int64 (begin, 120 * GST_MSECOND);
  gst_event_unref (event);
}

/* Upstream's samples are not the video's units. */
GST_START_TEST (test_queries)
{
  GstHarness *h = gst_harness_new_parse ("avatarvaedecode");
  GstPad *pad = GST_PAD_PEER (h->sinkpad);

  gst_pad_set_query_function (h->srcpad, answer_duration);
  gst_harness_set_sink_caps_str (h, "video/x-raw,format=RGB");
  gst_harness_set_src_caps_str (h, LATENT_CAPS);
  for (guint k = 0; k < 2; k++)
    fail_unless_equals_int (gst_harness_push (h, latent_new (k)), GST_FLOW_OK);
  fail_unless (gst_harness_push_event (h, gst_event_new_eos ()));
  for (guint i = 0; i < 5; i++)
    gst_buffer_unref (gst_harness_pull (h));
  check_times (pad);
  check_seek (h);
  gst_harness_teardown (h);
}
GST_END_TEST;

static GstEvent *
pull_event (GstHarness *h, GstEventType type)
{
  GstEvent *event = gst_harness_pull_event (h);

  while (event && GST_EVENT_TYPE (event) != type) {
    gst_event_unref (event);
    event = gst_harness_pull_event (h);
  }
  fail_unless (event != NULL);
  return event;
}

/* The stream after the decoder is video and does not have the tags of the sound. */
GST_START_TEST (test_stream)
{
  GstHarness *h = gst_harness_new_parse ("avatarvaedecode");
  GstStream *sound = gst_stream_new ("sound", NULL, GST_STREAM_TYPE_AUDIO, GST_STREAM_FLAG_SELECT);
  g_autoptr (GstStream) video = NULL;
  GstEvent *event = gst_event_new_stream_start ("sound");
  GstTagList *tags;
  const gchar *id;
  guint group;

  gst_event_set_stream (event, sound);
  gst_event_set_group_id (event, 7);
  fail_unless (gst_harness_push_event (h, event));
  fail_unless (gst_harness_push_event (h,
      gst_event_new_tag (gst_tag_list_new (GST_TAG_AUDIO_CODEC, "PCM", GST_TAG_BITRATE, 256000,
          GST_TAG_TITLE, "hello", NULL))));
  do {
    g_clear_object (&video);
    event = pull_event (h, GST_EVENT_STREAM_START);
    gst_event_parse_stream_start (event, &id);
    gst_event_parse_stream (event, &video);
    fail_unless (video != NULL && gst_stream_get_stream_type (video) == GST_STREAM_TYPE_VIDEO);
    fail_unless_equals_string (gst_stream_get_stream_id (video), id);
    if (!g_str_equal (id, "sound/video"))
      gst_event_unref (event); /* the harness's own */
  } while (!g_str_equal (id, "sound/video"));
  fail_unless (gst_event_parse_group_id (event, &group) && group == 7);
  gst_event_unref (event);
  event = pull_event (h, GST_EVENT_TAG);
  gst_event_parse_tag (event, &tags);
  fail_unless_equals_int (gst_tag_list_n_tags (tags), 1);
  fail_unless_equals_int (gst_tag_list_get_tag_size (tags, GST_TAG_TITLE), 1);
  gst_event_unref (event);
  gst_object_unref (sound);
  gst_harness_teardown (h);
}
GST_END_TEST;

static Suite *
vaedecode_suite (void)
{
  Suite *suite = suite_create ("vaedecode");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_formats);
  tcase_add_test (tc, test_tiling);
  tcase_add_test (tc, test_start_time);
  tcase_add_test (tc, test_ahead);
  tcase_add_test (tc, test_enough);
  tcase_add_test (tc, test_interrupted);
  tcase_add_test (tc, test_queries);
  tcase_add_test (tc, test_stream);
  return suite;
}

GST_CHECK_MAIN (vaedecode);
