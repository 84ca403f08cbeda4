/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "live-gate.h"
#include <gst/video/video-event.h>

/* The streams of a gate: video first, so that audio finds it at a fixed place. */
enum
{
  VIDEO,
  AUDIO,
  N_STREAMS
};

static const char *const names[N_STREAMS] = { "video", "audio" };

/* One stream. All fields but the pads are protected by the gate's lock. */
typedef struct
{
  GstPad *sink, *src;
  GstSegment segment;
  GstClockTime end;     /* running time at which the newest buffer ends, or NONE */
  gboolean eos;         /* EOS has arrived */
  gboolean flushing;    /* a waiting buffer must be given up */
  gboolean started;     /* a buffer has passed since the gate was opened */
  gint64 pushing_since; /* monotonic time (us), or 0 */
} Stream;

struct _AvatarLiveGate
{
  GstElement parent;
  GMutex lock;
  GCond moved; /* the video has advanced, ended, or is flushed */
  gboolean open;
  gboolean used;     /* the gate has been opened or closed: until then, buffers wait */
  gboolean has_data; /* a buffer waits or has passed */
  GstClockTime key;  /* running time of the video's first key frame since the gate was opened */
  Stream streams[N_STREAMS];
};

G_DEFINE_TYPE (AvatarLiveGate, avatar_live_gate, GST_TYPE_ELEMENT)

static GstStaticPadTemplate templates[2 * N_STREAMS] = {
  GST_STATIC_PAD_TEMPLATE ("video", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS_ANY),
  GST_STATIC_PAD_TEMPLATE ("audio", GST_PAD_SINK, GST_PAD_REQUEST, GST_STATIC_CAPS_ANY),
  GST_STATIC_PAD_TEMPLATE ("video_src", GST_PAD_SRC, GST_PAD_SOMETIMES, GST_STATIC_CAPS_ANY),
  GST_STATIC_PAD_TEMPLATE ("audio_src", GST_PAD_SRC, GST_PAD_SOMETIMES, GST_STATIC_CAPS_ANY),
};

static Stream *
stream_of (AvatarLiveGate *self, GstPad *pad)
{
  Stream *video = &self->streams[VIDEO];

  return pad == video->sink || pad == video->src ? video : &self->streams[AUDIO];
}

/* Tells the bin around this element, which keeps the message from the application. */
static void
post (AvatarLiveGate *self, GstStructure *structure)
{
  gst_element_post_message (GST_ELEMENT (self),
      gst_message_new_application (GST_OBJECT (self), structure));
}

/* Holds audio back until the video has reached it, so that both can be cut at one time. The queue
 * before this element holds the audio meanwhile. Returns FALSE if the pad is flushing. */
static gboolean
wait_for_video (AvatarLiveGate *self, Stream *stream, GstClockTime start)
{
  const Stream *video = &self->streams[VIDEO];

  while (stream != video && video->sink && !video->eos && !stream->flushing
      && (!GST_CLOCK_TIME_IS_VALID (video->end) || video->end <= start))
    g_cond_wait (&self->moved, &self->lock);
  return !stream->flushing;
}

/* Holds the first buffers until there is an output, so that it gets the stream from its start. */
static void
wait_for_use (AvatarLiveGate *self, Stream *stream)
{
  gboolean first = !self->has_data;

  self->has_data = TRUE;
  if (first) {
    g_mutex_unlock (&self->lock);
    post (self, gst_structure_new_empty ("live-gate-data"));
    g_mutex_lock (&self->lock);
  }
  while (!self->used && !stream->flushing)
    g_cond_wait (&self->moved, &self->lock);
}

/* Decides if a buffer passes: from the first key frame on if there is video. */
static gboolean
passes (AvatarLiveGate *self, Stream *stream, GstBuffer *buffer, GstClockTime start)
{
  const Stream *video = &self->streams[VIDEO];

  if (!self->open)
    return FALSE;
  if (!GST_CLOCK_TIME_IS_VALID (self->key)) {
    if (video->sink
        && (stream != video || GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_DELTA_UNIT)))
      return FALSE;
    self->key = start;
  }
  return start >= self->key;
}

/* Pushes, and reports a failure without passing it on: it must not stop what feeds the output. */
static void
push (AvatarLiveGate *self, Stream *stream, GstBuffer *buffer)
{
  GstFlowReturn ret = gst_pad_push (stream->src, buffer);
  gboolean failed;

  g_mutex_lock (&self->lock);
  stream->pushing_since = 0;
  failed = self->open && ret != GST_FLOW_OK && ret != GST_FLOW_FLUSHING;
  g_mutex_unlock (&self->lock);
  if (failed)
    post (self,
        gst_structure_new ("live-gate-failed", "reason", G_TYPE_STRING, gst_flow_get_name (ret),
            NULL));
}

static GstFlowReturn
chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  AvatarLiveGate *self = (AvatarLiveGate *) parent;
  Stream *stream = stream_of (self, pad);
  GstClockTime duration = GST_BUFFER_DURATION_IS_VALID (buffer) ? GST_BUFFER_DURATION (buffer) : 0;
  gboolean pass;

  g_mutex_lock (&self->lock);
  GstClockTime start = gst_segment_to_running_time (&stream->segment, GST_FORMAT_TIME,
      GST_BUFFER_DTS_OR_PTS (buffer));
  if (!GST_CLOCK_TIME_IS_VALID (start))
    start = GST_CLOCK_TIME_IS_VALID (stream->end) ? stream->end : 0;
  if (!wait_for_video (self, stream, start)) {
    g_mutex_unlock (&self->lock);
    gst_buffer_unref (buffer);
    return GST_FLOW_FLUSHING;
  }
  wait_for_use (self, stream);
  pass = passes (self, stream, buffer, start);
  stream->end = start + MAX (duration, 1);
  g_cond_broadcast (&self->moved);
  if (pass && !stream->started) {
    buffer = gst_buffer_make_writable (buffer);
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_DISCONT);
    stream->started = TRUE;
  }
  stream->pushing_since = pass ? g_get_monotonic_time () : 0;
  g_mutex_unlock (&self->lock);
  if (!pass) {
    gst_buffer_unref (buffer);
    return GST_FLOW_OK;
  }
  push (self, stream, buffer);
  return GST_FLOW_OK;
}

static gboolean
sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  AvatarLiveGate *self = (AvatarLiveGate *) parent;
  Stream *stream = stream_of (self, pad);
  GstEventType type = GST_EVENT_TYPE (event);
  gboolean pass;

  g_mutex_lock (&self->lock);
  if (type == GST_EVENT_SEGMENT)
    gst_event_copy_segment (event, &stream->segment);
  else if (type == GST_EVENT_FLUSH_STOP)
    gst_segment_init (&stream->segment, GST_FORMAT_TIME);
  if (type == GST_EVENT_FLUSH_STOP || type == GST_EVENT_STREAM_START || type == GST_EVENT_EOS)
    stream->eos = type == GST_EVENT_EOS;
  if (type == GST_EVENT_FLUSH_START || type == GST_EVENT_FLUSH_STOP) {
    stream->flushing = type == GST_EVENT_FLUSH_START;
    stream->end = GST_CLOCK_TIME_NONE;
  }
  pass = self->open || GST_EVENT_IS_STICKY (event);
  g_cond_broadcast (&self->moved);
  g_mutex_unlock (&self->lock);
  /* The pad keeps sticky events for the next output. Refusing one would stop what feeds it. */
  if (pass)
    gst_pad_push_event (stream->src, event);
  else
    gst_event_unref (event);
  if (type == GST_EVENT_EOS)
    gst_element_post_message (GST_ELEMENT (self),
        gst_message_new_application (parent, gst_structure_new_empty ("live-gate-eos")));
  return TRUE;
}

/* Serialized queries would wait for a blocked output. Caps come from what feeds the gate. */
static gboolean
sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_IS_SERIALIZED (query))
    return FALSE;
  if (GST_QUERY_TYPE (query) == GST_QUERY_CAPS) {
    GstCaps *filter;
    gst_query_parse_caps (query, &filter);
    g_autoptr (GstCaps) caps = filter ? gst_caps_ref (filter) : gst_caps_new_any ();
    gst_query_set_caps_result (query, caps);
    return TRUE;
  }
  if (GST_QUERY_TYPE (query) == GST_QUERY_ACCEPT_CAPS) {
    gst_query_set_accept_caps_result (query, TRUE);
    return TRUE;
  }
  return gst_pad_query_default (pad, parent, query);
}

/* Muxers with live input write what they have when a deadline has passed, and stamp the rest later
 * than it is. Told that it is not live, they wait, and the streams stay in step. */
static gboolean
src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  Stream *stream = stream_of ((AvatarLiveGate *) parent, pad);

  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return gst_pad_peer_query (stream->sink, query);
  gst_query_set_latency (query, FALSE, 0, GST_CLOCK_TIME_NONE);
  return TRUE;
}

/* A new output does not change the format of the streams. */
static gboolean
src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  if (GST_EVENT_TYPE (event) == GST_EVENT_RECONFIGURE) {
    gst_event_unref (event);
    return TRUE;
  }
  return gst_pad_push_event (stream_of ((AvatarLiveGate *) parent, pad)->sink, event);
}

GstPad *
avatar_live_gate_add_pads (AvatarLiveGate *self, const char *name, GstPad **src)
{
  int i = g_str_equal (name, names[VIDEO]) ? VIDEO : AUDIO;
  Stream *stream = &self->streams[i];
  GstPad *sink = gst_pad_new_from_static_template (&templates[i], name);

  gst_pad_set_chain_function (sink, chain);
  gst_pad_set_event_function (sink, sink_event);
  gst_pad_set_query_function (sink, sink_query);
  *src = gst_pad_new_from_static_template (&templates[N_STREAMS + i],
      templates[N_STREAMS + i].name_template);
  gst_pad_set_query_function (*src, src_query);
  gst_pad_set_event_function (*src, src_event);
  g_mutex_lock (&self->lock);
  stream->sink = sink;
  stream->src = *src;
  g_mutex_unlock (&self->lock);
  gst_element_add_pad (GST_ELEMENT (self), *src);
  gst_element_add_pad (GST_ELEMENT (self), sink);
  return sink;
}

static void
set_open (AvatarLiveGate *self, gboolean open)
{
  g_mutex_lock (&self->lock);
  self->open = open;
  self->used = TRUE;
  self->key = GST_CLOCK_TIME_NONE;
  for (int i = 0; i < N_STREAMS; i++)
    self->streams[i].started = FALSE;
  g_cond_broadcast (&self->moved);
  g_mutex_unlock (&self->lock);
}

void
avatar_live_gate_open (AvatarLiveGate *self)
{
  set_open (self, TRUE);
  if (self->streams[VIDEO].sink)
    gst_pad_push_event (self->streams[VIDEO].sink,
        gst_video_event_new_upstream_force_key_unit (GST_CLOCK_TIME_NONE, TRUE, 0));
}

void
avatar_live_gate_close (AvatarLiveGate *self)
{
  set_open (self, FALSE);
}

gboolean
avatar_live_gate_is_eos (AvatarLiveGate *self)
{
  gboolean eos = TRUE;

  g_mutex_lock (&self->lock);
  for (int i = 0; i < N_STREAMS; i++)
    eos = eos && (!self->streams[i].sink || self->streams[i].eos);
  g_mutex_unlock (&self->lock);
  return eos;
}

gint64
avatar_live_gate_get_blocked (AvatarLiveGate *self)
{
  gint64 now = g_get_monotonic_time (), longest = 0;

  g_mutex_lock (&self->lock);
  for (int i = 0; i < N_STREAMS; i++)
    if (self->streams[i].pushing_since > 0)
      longest = MAX (longest, now - self->streams[i].pushing_since);
  g_mutex_unlock (&self->lock);
  return longest;
}

gboolean
avatar_live_gate_has_data (AvatarLiveGate *self)
{
  g_mutex_lock (&self->lock);
  gboolean has_data = self->has_data;
  g_mutex_unlock (&self->lock);
  return has_data;
}

static void
set_flushing (AvatarLiveGate *self, gboolean flushing)
{
  g_mutex_lock (&self->lock);
  self->used = self->has_data = FALSE;
  for (int i = 0; i < N_STREAMS; i++) {
    Stream *stream = &self->streams[i];
    stream->flushing = flushing;
    stream->end = GST_CLOCK_TIME_NONE;
    stream->eos = FALSE;
    gst_segment_init (&stream->segment, GST_FORMAT_TIME);
  }
  g_cond_broadcast (&self->moved);
  g_mutex_unlock (&self->lock);
}

/* Wakes waiting audio before the pads are deactivated, which waits for it. */
static GstStateChangeReturn
change_state (GstElement *element, GstStateChange transition)
{
  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED)
    set_flushing (AVATAR_LIVE_GATE (element), FALSE);
  else if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    set_flushing (AVATAR_LIVE_GATE (element), TRUE);
  return GST_ELEMENT_CLASS (avatar_live_gate_parent_class)->change_state (element, transition);
}

static void
finalize (GObject *object)
{
  AvatarLiveGate *self = AVATAR_LIVE_GATE (object);

  g_mutex_clear (&self->lock);
  g_cond_clear (&self->moved);
  G_OBJECT_CLASS (avatar_live_gate_parent_class)->finalize (object);
}

static void
avatar_live_gate_init (AvatarLiveGate *self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->moved);
  set_flushing (self, FALSE);
}

static void
avatar_live_gate_class_init (AvatarLiveGateClass *klass)
{
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = finalize;
  element_class->change_state = change_state;
  for (guint i = 0; i < G_N_ELEMENTS (templates); i++)
    gst_element_class_add_static_pad_template (element_class, &templates[i]);
  gst_element_class_set_static_metadata (element_class, "Gate of a live output", "Generic",
      "Drops encoded streams while an output is missing, and resumes at a key frame", "gst-avatar");
}
