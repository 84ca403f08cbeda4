/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Continuous audio from an intermittent source: see the header. An audiomixer outputs by the clock,
 * with silence where it has no input. A probe on its sink pad moves the input in time. The source
 * keeps its distances between buffers as long as they are short and it keeps up with the clock;
 * else the next buffer plays at once. */
#include "gst/gstavatartimeline.h"

GST_DEBUG_CATEGORY_STATIC (avatar_timeline_debug);
#define GST_CAT_DEFAULT avatar_timeline_debug

/* Time that the mixer waits for input of the current position: the jitter that sources may have. */
#define LATENCY (100 * GST_MSECOND)
/* Largest hole in the source's time stamps that becomes silence of the same length. */
#define MAX_HOLE GST_SECOND
/* Largest step back of time stamps that is jitter. */
#define MAX_JITTER (200 * GST_MSECOND)

#define CAPS "audio/x-raw,format=F32LE,rate=48000,channels=2,layout=interleaved"
#define MIXER                                                                       \
  "audioconvert ! audioresample ! " CAPS                                            \
  " ! audiomixer name=mixer force-live=true start-time-selection=set start-time=0 " \
  "latency=100000000 output-buffer-duration=20000000 ! capsfilter caps=" CAPS

/* The first fields are used by the streaming thread of the mixer's sink pad. */
typedef struct
{
  GstElement *mixer;            /* not owned */
  GstSegment segment;           /* the source's */
  GstClockTime in_end, out_end; /* end of the last buffer, in the source's and in running time */
  gboolean started;             /* a buffer has entered */
  GstClockTime begin;           /* start of the output; object lock of @mixer */
} Timeline;

static GQuark
timeline_quark (void)
{
  return g_quark_from_static_string ("gst-avatar-timeline");
}

static GstClockTime
time_of (Timeline *self, GstBuffer *buffer)
{
  GstClockTime time = GST_CLOCK_TIME_NONE;

  if (self->segment.format == GST_FORMAT_TIME && GST_BUFFER_PTS_IS_VALID (buffer))
    time = gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, GST_BUFFER_PTS (buffer));
  return GST_CLOCK_TIME_IS_VALID (time) ? time : self->in_end;
}

/* Returns the running time for a buffer at @in of the source's time, or NONE if it does not
 * continue what came before. */
static GstClockTime
continued (Timeline *self, GstClockTime in)
{
  GstClockTimeDiff step;

  if (!GST_CLOCK_TIME_IS_VALID (self->in_end) || !GST_CLOCK_TIME_IS_VALID (in))
    return GST_CLOCK_TIME_NONE;
  step = GST_CLOCK_DIFF (self->in_end, in);
  if (step < -(GstClockTimeDiff) MAX_JITTER || step > (GstClockTimeDiff) MAX_HOLE)
    return GST_CLOCK_TIME_NONE;
  return (GstClockTime) MAX (0, (GstClockTimeDiff) self->out_end + step);
}

/* Keeps the mixer from going back: when its first input arrives, it moves its output, which may
 * have begun, to the earlier of its position and this time. */
static void
start_at (Timeline *self, GstClockTime out)
{
  if (!self->started)
    g_object_set (self->mixer, "start-time", out, NULL);
  self->started = TRUE;
}

/* Chooses when @buffer plays, and stamps it. */
static void
place (Timeline *self, GstBuffer *buffer)
{
  GstClockTime now = gst_element_get_current_running_time (self->mixer);
  GstClockTime in = time_of (self, buffer), out = continued (self, in);

  if (!GST_CLOCK_TIME_IS_VALID (now))
    now = 0;
  if (!GST_CLOCK_TIME_IS_VALID (out) || out + LATENCY < now) {
    out = GST_CLOCK_TIME_IS_VALID (self->out_end) ? MAX (now, self->out_end) : now;
    GST_DEBUG_OBJECT (self->mixer, "audio at %" GST_TIME_FORMAT " plays at %" GST_TIME_FORMAT,
        GST_TIME_ARGS (in), GST_TIME_ARGS (out));
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
  }
  start_at (self, out);
  GST_BUFFER_PTS (buffer) = out;
  GST_BUFFER_DTS (buffer) = GST_CLOCK_TIME_NONE;
  if (!GST_BUFFER_DURATION_IS_VALID (buffer))
    GST_BUFFER_DURATION (buffer)
        = gst_util_uint64_scale_int (gst_buffer_get_size (buffer), GST_SECOND, 48000 * 2 * 4);
  self->in_end = GST_CLOCK_TIME_IS_VALID (in) ? in + GST_BUFFER_DURATION (buffer)
                                              : GST_BUFFER_DURATION (buffer);
  self->out_end = out + GST_BUFFER_DURATION (buffer);
}

/* Replaces the source's segment by one of running time. */
static GstEvent *
take_segment (Timeline *self, GstEvent *event)
{
  GstSegment segment;
  GstEvent *new;

  gst_event_copy_segment (event, &self->segment);
  gst_segment_init (&segment, GST_FORMAT_TIME);
  new = gst_event_new_segment (&segment);
  gst_event_set_seqnum (new, gst_event_get_seqnum (event));
  gst_event_unref (event);
  return new;
}

static GstPadProbeReturn
on_input (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Timeline *self = data;

  if (GST_IS_BUFFER (info->data)) {
    info->data = gst_buffer_make_writable (GST_BUFFER (info->data));
    place (self, info->data);
    return GST_PAD_PROBE_OK;
  }
  switch (GST_EVENT_TYPE (info->data)) {
    case GST_EVENT_SEGMENT:
      info->data = take_segment (self, info->data);
      return GST_PAD_PROBE_OK;
    case GST_EVENT_GAP: /* silence needs no input */
      return GST_PAD_PROBE_DROP;
    case GST_EVENT_FLUSH_STOP:
      self->in_end = self->out_end = GST_CLOCK_TIME_NONE;
      return GST_PAD_PROBE_OK;
    default:
      return GST_PAD_PROBE_OK;
  }
}

/* Drops the end of a source: another one may follow. */
static GstPadProbeReturn
drop_eos (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_EVENT_TYPE (info->data) == GST_EVENT_EOS ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

/* Drops output of the time before the element was set to PLAYING: a mixer begins at running time 0,
 * also if the pipeline plays already. */
static GstPadProbeReturn
drop_past (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Timeline *self = data;
  GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);
  gboolean past;

  GST_OBJECT_LOCK (self->mixer);
  past = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer) <= self->begin;
  GST_OBJECT_UNLOCK (self->mixer);
  return past ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

GstElement *
gst_avatar_timeline_new (GError **error)
{
  GstElement *bin = gst_parse_bin_from_description (MIXER, TRUE, error);
  g_autoptr (GstElement) mixer = NULL;
  g_autoptr (GstPad) sink = NULL, mixer_sink = NULL, mixer_src = NULL, idle = NULL;
  Timeline *self;

  GST_DEBUG_CATEGORY_INIT (avatar_timeline_debug, "avatartimeline", 0, "Continuous audio");
  if (!bin)
    return NULL;
  mixer = gst_bin_get_by_name (GST_BIN (bin), "mixer");
  sink = gst_element_get_static_pad (bin, "sink");
  mixer_sink = gst_element_get_static_pad (mixer, "sink_0");
  /* Never has data: the mixer waits until the time of each output, so that bursts of input play at
   * the speed of the clock, and does not forward the flush of its only input. */
  idle = gst_element_request_pad_simple (mixer, "sink_%u");
  self = g_new0 (Timeline, 1);
  self->mixer = mixer;
  self->in_end = self->out_end = self->begin = GST_CLOCK_TIME_NONE;
  g_object_set_qdata_full (G_OBJECT (bin), timeline_quark (), self, g_free);
  mixer_src = gst_element_get_static_pad (mixer, "src");
  gst_pad_add_probe (mixer_src, GST_PAD_PROBE_TYPE_BUFFER, drop_past, self, NULL);
  gst_pad_add_probe (sink, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, drop_eos, NULL, NULL);
  gst_pad_add_probe (mixer_sink,
      GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM
          | GST_PAD_PROBE_TYPE_EVENT_FLUSH,
      on_input, self, NULL);
  return bin;
}

void
gst_avatar_timeline_prepare (GstElement *timeline)
{
  Timeline *self = g_object_get_qdata (G_OBJECT (timeline), timeline_quark ());

  self->in_end = self->out_end = GST_CLOCK_TIME_NONE;
  self->started = FALSE;
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  GST_OBJECT_LOCK (self->mixer);
  self->begin = GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self->mixer);
}

void
gst_avatar_timeline_play (GstElement *timeline, GstClockTime now)
{
  Timeline *self = g_object_get_qdata (G_OBJECT (timeline), timeline_quark ());

  GST_OBJECT_LOCK (self->mixer);
  if (!GST_CLOCK_TIME_IS_VALID (self->begin))
    self->begin = now;
  GST_OBJECT_UNLOCK (self->mixer);
}
