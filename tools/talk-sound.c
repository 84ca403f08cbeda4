/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* talk-sound FILE: decodes all the audio of a file as pipelines/talk will, and prints
 * LENGTH TOLERANCE UNPLACED CAPS
 * the length of the audio in ns; the largest timestamp jump that audiorate must ignore, in ns; the
 * number of channels if they have no positions, else 0; and the caps to which all of the audio is
 * converted: its own, or mono for channels without positions. Warnings go to stderr, one a line.
 * Exit status 1 if no audio can be decoded. */
#include <gst/audio/audio.h>
#include <gst/base/base.h>
#include <gst/gst.h>
#include <gst/pbutils/pbutils.h>
#include <string.h>

/* Larger jumps are pauses, smaller ones are due to the rounding of the container. */
#define LONGEST_JITTER GST_SECOND
/* Backward step that is larger than the rounding of any container: the timestamps are estimates. */
#define LONGEST_OVERLAP (100 * GST_MSECOND)
/* Maximum number of header bytes between two frames of a parser. */
#define FRAME_HEADER 64
/* Minimum duration of skipped audio that is reported. */
#define SHORTEST_LOSS (500 * GST_MSECOND)

/* Bytes of a stream without a container that its parser skipped. */
typedef struct
{
  GstPad *sink;
  guint64 next;            /* expected offset of the next frame */
  guint64 n_taken, n_lost; /* bytes */
} Parsed;

typedef struct
{
  GstElement *pipeline;
  GMutex lock;
  GstPad *sink; /* sink pad of the fakesink that counts */
  GstSegment segment;
  gint rate, channels, frame_bytes;
  gint unplaced;        /* maximum number of channels without positions */
  char *caps;           /* caps of the first audio */
  GstClockTime start;   /* running time of the first sample */
  GstClockTime samples; /* duration by the count of samples */
  GstClockTime filled;  /* duration including pauses in the timestamps */
  gboolean estimated;   /* the timestamps are derived from average byte rates */
  guint n_sounds;       /* number of audio streams */
  GString *others;      /* kinds of the other streams */
  char *missing;        /* decoder that is not installed */
  GPtrArray *parsed;    /* array of Parsed */
} Sound;

/* ------------------------------------------------------------------------------------- counting */

/* Reads the fields one by one, because GstAudioInfo refuses caps without a channel mask. */
static void
take_caps (Sound *self, GstCaps *caps)
{
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  GstAudioFormat format = gst_audio_format_from_string (gst_structure_get_string (s, "format"));
  guint64 mask = 0;

  gst_structure_get_int (s, "rate", &self->rate);
  gst_structure_get_int (s, "channels", &self->channels);
  gst_structure_get (s, "channel-mask", GST_TYPE_BITMASK, &mask, NULL);
  self->frame_bytes = gst_audio_format_get_info (format)->width / 8 * self->channels;
  if (self->channels > 2 && mask == 0)
    self->unplaced = MAX (self->unplaced, self->channels);
  if (self->caps)
    return;
  g_autoptr (GString) text = g_string_new ("audio/x-raw,layout=interleaved");
  g_string_append_printf (text, ",format=%s,rate=%d", gst_structure_get_string (s, "format"),
      self->rate);
  if (self->unplaced)
    g_string_append (text, ",channels=1");
  else
    g_string_append_printf (text, ",channels=%d", self->channels);
  if (self->channels > 2 && !self->unplaced)
    g_string_append_printf (text, ",channel-mask=(bitmask)0x%" G_GINT64_MODIFIER "x", mask);
  self->caps = g_strdup (text->str);
}

/* Counts the samples inside the segment, as audiorate will. */
static void
take_buffer (Sound *self, GstBuffer *whole)
{
  g_autoptr (GstBuffer) buffer = gst_audio_buffer_clip (gst_buffer_ref (whole), &self->segment,
      MAX (self->rate, 1), MAX (self->frame_bytes, 1));
  if (!buffer)
    return;
  GstClockTime duration = gst_util_uint64_scale (gst_buffer_get_size (buffer), GST_SECOND,
      (guint64) MAX (self->rate, 1) * MAX (self->frame_bytes, 1));
  GstClockTime time
      = gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, GST_BUFFER_PTS (buffer));

  if (GST_CLOCK_TIME_IS_VALID (time)) {
    if (!GST_CLOCK_TIME_IS_VALID (self->start))
      self->start = time;
    GstClockTimeDiff jump = GST_CLOCK_DIFF (self->start + self->filled, time);
    if (jump > (GstClockTimeDiff) LONGEST_JITTER)
      self->filled += jump;
    else if (jump < -(GstClockTimeDiff) LONGEST_OVERLAP)
      self->estimated = TRUE;
  }
  self->samples += duration;
  self->filled += duration;
}

static GstPadProbeReturn
count_sound (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  Sound *self = user_data;

  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    take_buffer (self, GST_PAD_PROBE_INFO_BUFFER (info));
  } else if (GST_EVENT_TYPE (info->data) == GST_EVENT_CAPS) {
    GstCaps *caps;
    gst_event_parse_caps (info->data, &caps);
    take_caps (self, caps);
  } else if (GST_EVENT_TYPE (info->data) == GST_EVENT_SEGMENT) {
    gst_event_copy_segment (info->data, &self->segment);
  }
  return GST_PAD_PROBE_OK;
}

/* Links like "decodebin : audioconvert" in gst-launch-1.0: one audio stream at a time, and the next
 * (a chained Ogg) after the first has ended. */
static void
add_pad (GstElement *decodebin, GstPad *pad, Sound *self)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);
  const char *kind = caps ? gst_structure_get_name (gst_caps_get_structure (caps, 0)) : "";

  g_mutex_lock (&self->lock);
  if (!caps)
    GST_INFO ("a stream of no known kind");
  else if (!g_str_equal (kind, "audio/x-raw"))
    g_string_append_printf (self->others, "%s%.*s", self->others->len ? ", " : "",
        (int) strcspn (kind, "/"), kind);
  else if (self->sink && gst_pad_is_linked (self->sink))
    self->n_sounds++;
  else if (self->sink)
    gst_pad_link (pad, self->sink);
  else {
    GstElement *fakesink = gst_element_factory_make ("fakesink", NULL);
    g_object_set (fakesink, "sync", FALSE, NULL);
    gst_bin_add (GST_BIN (self->pipeline), fakesink);
    self->sink = gst_element_get_static_pad (fakesink, "sink");
    gst_pad_add_probe (self->sink, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
        count_sound, self, NULL);
    gst_pad_link (pad, self->sink);
    gst_element_sync_state_with_parent (fakesink);
    self->n_sounds++;
  }
  g_mutex_unlock (&self->lock);
}

/* -------------------------------------------------------------------------------- skipped bytes */

static gboolean
offset_is_bytes (GstPad *pad)
{
  static const char *const kinds[]
      = { "audio/mpeg", "audio/x-ac3", "audio/x-eac3", "audio/x-dts", "audio/AMR", NULL };
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);

  return caps && g_strv_contains (kinds, gst_structure_get_name (gst_caps_get_structure (caps, 0)));
}

static GstPadProbeReturn
count_bytes (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  Parsed *parsed = user_data;
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  guint64 begin = GST_BUFFER_OFFSET (buffer), n = gst_buffer_get_size (buffer);

  /* Inside a container a parser gets buffers with timestamps instead of bytes of a file; and the
   * offsets of some formats (FLAC) are samples. */
  if (GST_PAD_MODE (parsed->sink) != GST_PAD_MODE_PULL || !offset_is_bytes (pad))
    return GST_PAD_PROBE_OK;
  if (parsed->n_taken > 0 && begin > parsed->next + FRAME_HEADER)
    parsed->n_lost += begin - parsed->next;
  parsed->next = begin + n;
  parsed->n_taken += n;
  return GST_PAD_PROBE_OK;
}

static void
add_element (GstBin *bin, GstBin *sub_bin, GstElement *element, Sound *self)
{
  GstElementFactory *factory = gst_element_get_factory (element);

  if (factory && g_str_equal (GST_OBJECT_NAME (factory), "wavparse"))
    self->estimated = TRUE;
  if (!GST_IS_BASE_PARSE (element))
    return;
  Parsed *parsed = g_new0 (Parsed, 1);
  g_autoptr (GstPad) src = gst_element_get_static_pad (element, "src");
  parsed->sink = gst_element_get_static_pad (element, "sink");
  gst_pad_add_probe (src, GST_PAD_PROBE_TYPE_BUFFER, count_bytes, parsed, NULL);
  g_mutex_lock (&self->lock);
  g_ptr_array_add (self->parsed, parsed);
  g_mutex_unlock (&self->lock);
}

static void
parsed_free (gpointer data)
{
  gst_object_unref (((Parsed *) data)->sink);
  g_free (data);
}

/* Returns the duration of the audio that a parser skipped, at the rate of the audio that it
 * read. */
static GstClockTime
lost_sound (Sound *self)
{
  GstClockTime lost = 0;

  for (guint i = 0; i < self->parsed->len; i++) {
    Parsed *parsed = g_ptr_array_index (self->parsed, i);
    gint64 end;
    if (parsed->n_taken == 0)
      continue;
    if (gst_pad_peer_query_duration (parsed->sink, GST_FORMAT_BYTES, &end)
        && (guint64) end > parsed->next)
      parsed->n_lost += end - parsed->next;
    lost = MAX (lost, gst_util_uint64_scale (self->samples, parsed->n_lost, parsed->n_taken));
  }
  return lost;
}

/* -------------------------------------------------------------------------------------- results */

/* Returns a reason for an error whose message gives none. */
static char *
error_text (GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *debug = NULL;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_ERROR)
    return g_strdup ("it has no stream");
  gst_message_parse_error (message, &error, &debug);
  if (!strstr (error->message, "Internal data stream error"))
    return g_strdup (error->message);
  const char *reason = debug ? strstr (debug, "reason ") : NULL;
  return g_strdup_printf ("its stream ended early, %s", reason ? reason : "without a reason");
}

static gboolean
explain (Sound *self, const char *path, GstMessage *message)
{
  g_autofree char *text = error_text (message);

  if (self->missing)
    g_printerr ("'%s' needs a decoder that is not installed: %s; install the GStreamer plugin "
                "that provides it, or convert the file to WAV\n",
        path, self->missing);
  else if (self->n_sounds == 0 && self->others->len > 0)
    g_printerr ("'%s' has no audio, only %s; expected a file with speech\n", path,
        self->others->str);
  else if (self->n_sounds == 0)
    g_printerr ("'%s' is not an audio file that GStreamer can read: %s\n", path, text);
  else
    g_printerr ("the audio of '%s' cannot be decoded: %s\n", path, text);
  return FALSE;
}

/* Watches for a stream without a sink, which may end without an error and without EOS on the
 * bus. */
static void
no_more_pads (GstElement *decodebin, Sound *self)
{
  if (self->n_sounds == 0)
    gst_element_post_message (self->pipeline,
        gst_message_new_application (GST_OBJECT (self->pipeline),
            gst_structure_new_empty ("no-sound")));
}

/* Returns TRUE if the file was decoded to its end. */
static gboolean
decode (Sound *self, const char *path)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (self->pipeline);

  gst_element_set_state (self->pipeline, GST_STATE_PLAYING);
  for (;;) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_EOS | GST_MESSAGE_ERROR | GST_MESSAGE_ELEMENT | GST_MESSAGE_APPLICATION);
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS)
      return TRUE;
    if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_ELEMENT)
      return explain (self, path, message);
    if (gst_is_missing_plugin_message (message) && !self->missing)
      self->missing = gst_missing_plugin_message_get_description (message);
  }
}

static gboolean
report (Sound *self, const char *path)
{
  GstClockTime lost = lost_sound (self);

  if (self->samples == 0) {
    g_printerr ("'%s' has 0 audio samples; expected at least one\n", path);
    return FALSE;
  }
  if (self->n_sounds > 1)
    g_printerr ("'%s' has %u audio streams; the first is used\n", path, self->n_sounds);
  if (self->unplaced > 0)
    g_printerr ("'%s' has %d channels without positions; they are averaged\n", path,
        self->unplaced);
  if (lost >= SHORTEST_LOSS)
    g_printerr (
        "'%s' has a section that GStreamer cannot read, about %.1f s after %.1f s of audio, "
        "which is dropped (joined files of different formats? convert it to WAV)\n",
        path, lost / (double) GST_SECOND, self->samples / (double) GST_SECOND);
  g_print ("%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT " %d %s\n",
      self->estimated ? self->samples : self->filled,
      self->estimated ? (guint64) G_MAXINT64 : (guint64) LONGEST_JITTER, self->unplaced,
      self->caps);
  return TRUE;
}

static void
sound_clear (Sound *self)
{
  gst_element_set_state (self->pipeline, GST_STATE_NULL);
  g_clear_pointer (&self->parsed, g_ptr_array_unref);
  gst_clear_object (&self->sink);
  gst_clear_object (&self->pipeline);
  g_string_free (self->others, TRUE);
  g_free (self->missing);
  g_free (self->caps);
  g_mutex_clear (&self->lock);
}

int
main (int argc, char **argv)
{
  Sound self = { .start = GST_CLOCK_TIME_NONE, .others = g_string_new (NULL) };

  gst_init (&argc, &argv);
  if (argc != 2) {
    g_printerr ("usage: talk-sound FILE\n");
    return 2;
  }
  self.pipeline = gst_pipeline_new (NULL);
  self.parsed = g_ptr_array_new_with_free_func (parsed_free);
  g_mutex_init (&self.lock);
  GstElement *source = gst_element_factory_make ("filesrc", NULL);
  GstElement *decodebin = gst_element_factory_make ("decodebin", NULL);
  gboolean good = source && decodebin;
  if (good) {
    g_object_set (source, "location", argv[1], NULL);
    gst_bin_add_many (GST_BIN (self.pipeline), source, decodebin, NULL);
    gst_element_link (source, decodebin);
    g_signal_connect (decodebin, "pad-added", G_CALLBACK (add_pad), &self);
    g_signal_connect (decodebin, "no-more-pads", G_CALLBACK (no_more_pads), &self);
    g_signal_connect (self.pipeline, "deep-element-added", G_CALLBACK (add_element), &self);
    good = decode (&self, argv[1]) && report (&self, argv[1]);
  } else {
    g_printerr ("GStreamer has no filesrc and decodebin; install gstreamer1.0-plugins-base\n");
  }
  sound_clear (&self);
  return good ? 0 : 1;
}
