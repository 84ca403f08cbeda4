/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* talk-check VIDEO LENGTH: checks the file that pipelines/talk has written. It must have one video
 * and one audio stream, each LENGTH ns long within one frame, with packets in order and evenly
 * spaced frames. Prints the problem on stderr; exit status 1. */
#include <gst/gst.h>

/* Tolerance for the last packet of audio and for the rounding of a container's clock. */
#define SOUND_SLACK (60 * GST_MSECOND)

/* One stream of the file. Times are running times in ns. */
typedef struct
{
  gboolean in_order; /* audio: packets are presented in decoding order */
  GstSegment segment;
  GArray *times;           /* array of guint64, the presentation times of the packets */
  gint64 end;              /* end of the last packet */
  GstClockTime last_order; /* decoding time of the last packet; Matroska has none */
  guint n_backwards;       /* packets whose decoding time decreases */
  guint n_hidden;          /* packets that the file excludes from presentation */
} Stream;

typedef struct
{
  GstElement *pipeline;
  Stream video, audio;
} Check;

static GstPadProbeReturn
take_packet (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  Stream *self = user_data;

  if (!(info->type & GST_PAD_PROBE_TYPE_BUFFER)) {
    if (GST_EVENT_TYPE (info->data) == GST_EVENT_SEGMENT)
      gst_event_copy_segment (info->data, &self->segment);
    return GST_PAD_PROBE_OK;
  }
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  GstClockTime order = self->in_order ? GST_BUFFER_PTS (buffer) : GST_BUFFER_DTS (buffer);
  guint64 time
      = gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, GST_BUFFER_PTS (buffer));
  if (GST_CLOCK_TIME_IS_VALID (self->last_order) && GST_CLOCK_TIME_IS_VALID (order)
      && order < self->last_order)
    self->n_backwards++;
  self->last_order = order;
  if (!GST_CLOCK_TIME_IS_VALID (time)) {
    self->n_hidden++;
    return GST_PAD_PROBE_OK;
  }
  g_array_append_val (self->times, time);
  if (GST_BUFFER_DURATION_IS_VALID (buffer))
    self->end = MAX (self->end, (gint64) (time + GST_BUFFER_DURATION (buffer)));
  return GST_PAD_PROBE_OK;
}

static void
add_pad (GstElement *parsebin, GstPad *pad, Check *self)
{
  /* A pad of a short file may come before its caps, so the current caps are not enough. */
  g_autoptr (GstCaps) caps = gst_pad_query_caps (pad, NULL);
  const char *kind = gst_caps_is_empty (caps) || gst_caps_is_any (caps)
      ? ""
      : gst_structure_get_name (gst_caps_get_structure (caps, 0));
  GstElement *fakesink = gst_element_factory_make ("fakesink", NULL);
  g_autoptr (GstPad) sink = gst_element_get_static_pad (fakesink, "sink");

  /* One thread feeds both sinks, so a sink that waited for the other to preroll would block it. */
  g_object_set (fakesink, "sync", FALSE, "async", FALSE, NULL);
  gst_bin_add (GST_BIN (self->pipeline), fakesink);
  if (g_str_has_prefix (kind, "video/") || g_str_has_prefix (kind, "audio/"))
    gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
        take_packet, *kind == 'v' ? &self->video : &self->audio, NULL);
  gst_pad_link (pad, sink);
  gst_element_sync_state_with_parent (fakesink);
}

static gint
compare_times (gconstpointer a, gconstpointer b)
{
  guint64 x = *(const guint64 *) a, y = *(const guint64 *) b;

  return (x > y) - (x < y);
}

static gboolean
check_length (const char *what, gint64 found, gint64 expected, gint64 slack)
{
  if (ABS (found - expected) <= slack)
    return TRUE;
  g_printerr ("%s is %.3f s long, expected %.3f s, the length of the input audio\n", what,
      found / (double) GST_SECOND, expected / (double) GST_SECOND);
  return FALSE;
}

/* Checks that the intervals between frames, in order of presentation, are equal. */
static gboolean
check_spacing (GArray *times)
{
  guint64 mean = times->len > 1
      ? (g_array_index (times, guint64, times->len - 1) - g_array_index (times, guint64, 0))
          / (times->len - 1)
      : 0;

  for (guint i = 1; i < times->len; i++) {
    guint64 step = g_array_index (times, guint64, i) - g_array_index (times, guint64, i - 1);
    if (step * 2 > mean && step * 2 < mean * 3)
      continue;
    g_printerr ("frame %u is shown %.1f ms after the one before it, expected about %.1f ms\n", i,
        step / 1e6, mean / 1e6);
    return FALSE;
  }
  return TRUE;
}

static gboolean
check (Check *self, gint64 length)
{
  GArray *frames = self->video.times;

  if (frames->len == 0 || self->audio.times->len == 0) {
    g_printerr ("%s is missing, expected video and audio\n",
        frames->len == 0 ? "the video stream" : "the audio stream");
    return FALSE;
  }
  if (self->video.n_backwards + self->audio.n_backwards > 0) {
    g_printerr ("%u video and %u audio packets have decreasing timestamps\n",
        self->video.n_backwards, self->audio.n_backwards);
    return FALSE;
  }
  if (self->video.n_hidden > 0) {
    g_printerr ("%u frames are outside of the presented time range, expected none\n",
        self->video.n_hidden);
    return FALSE;
  }
  g_array_sort (frames, compare_times);
  gint64 begin
      = MIN (g_array_index (frames, guint64, 0), g_array_index (self->audio.times, guint64, 0));
  gint64 frame = (self->video.end - begin) / frames->len;
  return check_spacing (frames)
      && check_length ("the video", self->video.end - begin, length, frame + GST_MSECOND)
      && check_length ("its audio", self->audio.end - begin, length, SOUND_SLACK);
}

/* Returns whether the file was read to its end. */
static gboolean
read_file (Check *self)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (self->pipeline);

  gst_element_set_state (self->pipeline, GST_STATE_PLAYING);
  g_autoptr (GstMessage) message
      = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  gst_element_set_state (self->pipeline, GST_STATE_NULL);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
    return TRUE;
  g_autoptr (GError) error = NULL;
  gst_message_parse_error (message, &error, NULL);
  g_printerr ("it cannot be read back: %s\n", error->message);
  return FALSE;
}

int
main (int argc, char **argv)
{
  Check self = { .video.last_order = GST_CLOCK_TIME_NONE, .audio.last_order = GST_CLOCK_TIME_NONE };
  GstElement *source, *parsebin;

  gst_init (&argc, &argv);
  if (argc != 3) {
    g_printerr ("usage: talk-check VIDEO LENGTH\n");
    return 2;
  }
  g_autoptr (GArray) video = g_array_new (FALSE, FALSE, sizeof (guint64));
  g_autoptr (GArray) audio = g_array_new (FALSE, FALSE, sizeof (guint64));
  self.video.times = video;
  self.audio.in_order = TRUE;
  self.audio.times = audio;
  g_autoptr (GstElement) pipeline = self.pipeline = gst_pipeline_new (NULL);
  source = gst_element_factory_make ("filesrc", NULL);
  parsebin = gst_element_factory_make ("parsebin", NULL);
  if (!source || !parsebin) {
    g_printerr ("GStreamer has no filesrc and parsebin; install gstreamer1.0-plugins-base\n");
    return 1;
  }
  g_object_set (source, "location", argv[1], NULL);
  gst_bin_add_many (GST_BIN (pipeline), source, parsebin, NULL);
  gst_element_link (source, parsebin);
  g_signal_connect (parsebin, "pad-added", G_CALLBACK (add_pad), &self);
  return read_file (&self) && check (&self, g_ascii_strtoll (argv[2], NULL, 10)) ? 0 : 1;
}
