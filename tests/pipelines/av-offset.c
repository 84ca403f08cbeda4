/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Offset between sound and mouth in a video of the demo model.
 *   av-offset VIDEO X1,Y1,X2,Y2 [SECONDS]
 * Decodes VIDEO with the time stamps of its container. X1,Y1,X2,Y2 is the box of the mouth in a
 * picture of 128 x 128 pixels. For each block of SECONDS (10) it prints the time of the block, the
 * offset at which the loudness of the audio and the opening of the mouth correlate best, in ms,
 * positive if the mouth is late, and the correlation. The last line has the median of the offsets
 * and their range. The speech must have pauses. The model itself moves the mouth some time before
 * or after the sound, so compare the offsets of two videos of the same speech. */
#include "tests/mouth.h"

#include <gst/gst.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define SIZE 128
#define RATE 16000
/* Resolution of the time axis, and largest offset that is found (ms). */
#define STEP 5
#define REACH 500

/* A quantity over time: times (ms) and values. */
typedef struct
{
  GArray *times, *values;
} Curve;

typedef struct
{
  GstElement *pipeline;
  int box[4];
  Curve loudness, opening;
} Measure;

static void
add_point (Curve *curve, double time, double value)
{
  g_array_append_val (curve->times, time);
  g_array_append_val (curve->values, value);
}

/* Adds a frame, which is shown for 40 ms, at its middle. */
static void
on_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, Measure *self)
{
  GstMapInfo map;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    return;
  if (map.size >= SIZE * SIZE * 3)
    add_point (&self->opening, GST_BUFFER_PTS (buffer) / 1e6 + 20,
        mouth_opening (map.data, SIZE, self->box));
  gst_buffer_unmap (buffer, &map);
}

/* Adds the loudness of pieces of 10 ms. */
static void
on_audio (GstElement *sink, GstBuffer *buffer, GstPad *pad, Measure *self)
{
  const gsize piece = RATE / 100;
  GstMapInfo map;

  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    return;
  for (gsize i = 0; i + piece <= map.size / sizeof (float); i += piece) {
    const float *samples = (const float *) map.data + i;
    double sum = 0;

    for (gsize j = 0; j < piece; j++)
      sum += samples[j] * samples[j];
    add_point (&self->loudness, GST_BUFFER_PTS (buffer) / 1e6 + 1e3 * (i + piece / 2.) / RATE,
        log10 (sum / piece + 1e-5));
  }
  gst_buffer_unmap (buffer, &map);
}

/* Returns the value at @time, interpolated. @at: (inout): index of the point before, for times that
 * rise */
static double
value_at (const Curve *curve, double time, guint *at)
{
  const double *times = (const double *) curve->times->data;
  const double *values = (const double *) curve->values->data;
  double part;

  while (*at + 2 < curve->times->len && times[*at + 1] < time)
    ++*at;
  part = CLAMP ((time - times[*at]) / MAX (times[*at + 1] - times[*at], 1e-3), 0, 1);
  return values[*at] + part * (values[*at + 1] - values[*at]);
}

/* Samples @curve at @n times from @begin (ms) on, and removes the mean. */
static double *
sample (const Curve *curve, double begin, guint n)
{
  double *values = g_new (double, n), mean = 0;
  guint at = 0;

  for (guint i = 0; i < n; i++) {
    values[i] = value_at (curve, begin + i * STEP, &at);
    mean += values[i] / n;
  }
  for (guint i = 0; i < n; i++)
    values[i] -= mean;
  return values;
}

/* Correlates the loudness from @begin on with the opening @lag ms later. */
static double
correlate (const Measure *self, double begin, guint n, int lag)
{
  g_autofree double *a = sample (&self->loudness, begin, n);
  g_autofree double *b = sample (&self->opening, begin + lag, n);
  double ab = 0, aa = 0, bb = 0;

  for (guint i = 0; i < n; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return ab / (sqrt (aa * bb) + 1e-9);
}

/* Prints the offset of the block of @length ms from @begin on and returns it. */
static double
measure_block (const Measure *self, double begin, double length)
{
  double best = -1, offset = 0;

  for (int lag = -REACH; lag <= REACH; lag += STEP) {
    double found = correlate (self, begin, (guint) (length / STEP), lag);

    if (found > best) {
      best = found;
      offset = lag;
    }
  }
  g_print ("%.1f s: %.0f ms, r %.3f\n", begin / 1e3, offset, best);
  return offset;
}

static int
compare (gconstpointer a, gconstpointer b)
{
  return *(const double *) a < *(const double *) b ? -1 : 1;
}

static gboolean
measure_blocks (const Measure *self, double length)
{
  g_autoptr (GArray) offsets = g_array_new (FALSE, FALSE, sizeof (double));
  const guint n_audio = self->loudness.times->len, n_video = self->opening.times->len;
  double begin, end;

  if (n_audio < 2 || n_video < 2) {
    g_printerr ("found %u frames and %u pieces of audio, expected video and audio\n", n_video,
        n_audio);
    return FALSE;
  }
  begin = MAX (g_array_index (self->loudness.times, double, 0),
              g_array_index (self->opening.times, double, 0))
      + REACH;
  end = MIN (g_array_index (self->loudness.times, double, n_audio - 1),
            g_array_index (self->opening.times, double, n_video - 1))
      - REACH;
  if (end - begin < length)
    length = end - begin;
  if (length < 1000) {
    g_printerr ("found %.1f s of audio and video, expected 2 s or more\n", (end - begin) / 1e3 + 1);
    return FALSE;
  }
  for (double at = begin; at + length <= end + STEP; at += length) {
    double offset = measure_block (self, at, length);

    g_array_append_val (offsets, offset);
  }
  g_array_sort (offsets, compare);
  g_print ("median %.0f ms, from %.0f to %.0f ms, %u blocks\n",
      g_array_index (offsets, double, offsets->len / 2), g_array_index (offsets, double, 0),
      g_array_index (offsets, double, offsets->len - 1), offsets->len);
  return TRUE;
}

static void
connect_sink (Measure *self, const char *name, GCallback callback)
{
  g_autoptr (GstElement) sink = gst_bin_get_by_name (GST_BIN (self->pipeline), name);

  g_signal_connect (sink, "handoff", callback, self);
}

static gboolean
decode (Measure *self, const char *path, GError **error)
{
  g_autoptr (GstElement) source = NULL;
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstMessage) message = NULL;

  self->pipeline = gst_parse_launch (
      "filesrc name=in ! decodebin name=d  d. ! video/x-raw ! queue max-size-time=0 max-size-bytes=0 "
      "max-size-buffers=0 ! videoconvert ! videoscale ! video/x-raw,format=RGB,width=128,height=128 ! "
      "fakesink name=video signal-handoffs=true  d. ! audio/x-raw ! queue max-size-time=0 "
      "max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample ! "
      "audio/x-raw,format=F32LE,rate=16000,channels=1 ! audiobuffersplit output-buffer-duration=1/10 ! "
      "fakesink name=audio signal-handoffs=true",
      error);
  if (!self->pipeline || *error)
    return FALSE;
  source = gst_bin_get_by_name (GST_BIN (self->pipeline), "in");
  g_object_set (source, "location", path, NULL);
  connect_sink (self, "video", G_CALLBACK (on_frame));
  connect_sink (self, "audio", G_CALLBACK (on_audio));
  bus = gst_element_get_bus (self->pipeline);
  gst_element_set_state (self->pipeline, GST_STATE_PLAYING);
  message
      = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, error, NULL);
  gst_element_set_state (self->pipeline, GST_STATE_NULL);
  return *error == NULL;
}

int
main (int argc, char **argv)
{
  Measure self = { 0 };
  g_autoptr (GError) error = NULL;
  double seconds = argc > 3 ? g_ascii_strtod (argv[3], NULL) : 10;
  gboolean ok;

  gst_init (&argc, &argv);
  if (argc < 3
      || sscanf (argv[2], "%d,%d,%d,%d", &self.box[0], &self.box[1], &self.box[2], &self.box[3])
          != 4) {
    g_printerr ("usage: av-offset VIDEO X1,Y1,X2,Y2 [SECONDS]\n");
    return 2;
  }
  for (guint i = 0; i < 4; i++)
    self.box[i] = CLAMP (self.box[i], 0, SIZE);
  for (guint i = 0; i < 2; i++) {
    Curve *curve = i ? &self.loudness : &self.opening;

    curve->times = g_array_new (FALSE, FALSE, sizeof (double));
    curve->values = g_array_new (FALSE, FALSE, sizeof (double));
  }
  ok = decode (&self, argv[1], &error);
  if (!ok)
    g_printerr ("av-offset: %s\n", error->message);
  ok = ok && measure_blocks (&self, seconds * 1000);
  for (guint i = 0; i < 2; i++) {
    Curve *curve = i ? &self.loudness : &self.opening;

    g_array_unref (curve->times);
    g_array_unref (curve->values);
  }
  g_clear_object (&self.pipeline);
  return !ok;
}
