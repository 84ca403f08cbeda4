/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Continuous audio from an intermittent source: see the header.
 *
 * The streaming thread of the source pad outputs PERIOD after PERIOD, each when the clock reaches
 * its end, from a queue of what the sink pad has received. After a pause the audio plays LATENCY
 * after its arrival. What arrives while audio is queued follows it without a gap, whatever its
 * time stamps and the clock say, except that holes in the time stamps become silence.
 *
 * Silence is output if the queue is empty and the source has paused: when it has sent nothing for
 * longer than what it had sent lasts (@dry_at). Output that is late keeps its time stamps, and
 * catches up with the clock as fast as downstream takes it. It may then empty the queue faster than
 * the source can fill it. It waits for the source, at most as long as it was late. */
#include "gst/gstavatartimeline.h"

#include <gst/audio/audio.h>

#include "gst/gstavatarclear.h"

GST_DEBUG_CATEGORY_STATIC (avatar_timeline_debug);
#define GST_CAT_DEFAULT avatar_timeline_debug

#define RATE 48000
#define CHANNELS 2
#define FRAME_BYTES (CHANNELS * sizeof (gfloat))

/* Samples of a buffer of the output: 20 ms. */
#define PERIOD 960
/* Time for which audio waits after a pause: the jitter that the arrival of audio may have. */
#define LATENCY (100 * GST_MSECOND)
/* Samples that may be queued; then the source waits. */
#define MAX_QUEUED RATE
/* Longest additional time that the source gets to send more while the output is late. */
#define PATIENCE GST_SECOND
/* Largest hole in the source's time stamps that becomes silence of the same length. */
#define MAX_HOLE GST_SECOND
/* Largest difference of time stamps that is jitter. */
#define MAX_JITTER (40 * GST_MSECOND)
/* Largest step back of time stamps after which they count as before, since a source that stamps
 * the arrival of bursts has steps back. */
#define MAX_BACK (5 * GST_SECOND)

#define CAPS "audio/x-raw,format=" GST_AUDIO_NE (F32) ",rate=48000,channels=2,layout=interleaved"

/* A serialized event that waits for the audio before it. */
typedef struct
{
  GstEvent *event;
  guint64 after; /* number of samples received before it */
} Waiting;

struct _GstAvatarTimeline
{
  GstPushSrc parent;
  GstPad *sink;
  GstSegment segment; /* the source's; used by the thread of the sink pad */
  GMutex lock;        /* guards what follows */
  GCond cond;
  GstAdapter *adapter;
  guint64 silence;        /* samples before those of the adapter */
  guint64 n_received;     /* samples that have entered the adapter */
  GQueue events;          /* Waiting */
  guint n_blocked;        /* buffers that wait for room in the queue */
  guint generation;       /* changes when the queue is dropped */
  gboolean flushing;      /* the sink pad must not wait */
  gboolean unlocked;      /* the source pad must not wait */
  gboolean playing;       /* running time passes */
  gboolean begun;         /* @start is known */
  gboolean ending;        /* EOS follows the queue */
  gboolean dry;           /* the source has paused, the queue is empty */
  GstClockTime start;     /* running time of the first sample */
  GstClockTime paused_at; /* running time while not playing */
  guint64 position;       /* samples that were output */
  guint64 end;            /* position after the last received sample */
  GstClockTime in_end;    /* end of the last buffer in the source's running time, or NONE */
  GstClockTime dry_at;    /* running time until which the audio that arrived lasts */
  GstClockID waits_for;   /* the source pad's thread waits for it, or %NULL */
};

static GstStaticPadTemplate sink_template
    = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS (CAPS));
static GstStaticPadTemplate src_template
    = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS (CAPS));

#define gst_avatar_timeline_parent_class parent_class
G_DEFINE_TYPE (GstAvatarTimeline, gst_avatar_timeline, GST_TYPE_PUSH_SRC)

static GstClockTime
to_time (guint64 n_samples)
{
  return gst_util_uint64_scale_int (n_samples, GST_SECOND, RATE);
}

static guint64
to_samples (GstClockTime time)
{
  return gst_util_uint64_scale_int (time, RATE, GST_SECOND);
}

/* ---------------------------------------------------------------- the queue, with the lock held */

/* Returns the number of samples of received audio that wait. */
static guint64
received (GstAvatarTimeline *self)
{
  return gst_adapter_available (self->adapter) / FRAME_BYTES;
}

static guint64
queued (GstAvatarTimeline *self)
{
  return self->silence + received (self);
}

static GstClockTime
running_time (GstAvatarTimeline *self)
{
  GstElement *element = GST_ELEMENT (self);
  g_autoptr (GstClock) clock = gst_element_get_clock (element);
  GstClockTime base = gst_element_get_base_time (element), now;

  if (!self->playing || !clock)
    return self->paused_at;
  now = gst_clock_get_time (clock);
  return now > base ? now - base : 0;
}

static void
waiting_free (gpointer waiting)
{
  gst_event_unref (((Waiting *) waiting)->event);
  g_free (waiting);
}

static void
drop_queue (GstAvatarTimeline *self)
{
  gst_adapter_clear (self->adapter);
  self->silence = 0;
  self->dry = TRUE;
  self->generation++;
  g_queue_clear_full (&self->events, waiting_free);
  g_cond_broadcast (&self->cond);
}

/* Returns the running time at the source of @buffer, or NONE. */
static GstClockTime
time_of (GstAvatarTimeline *self, GstBuffer *buffer)
{
  if (self->segment.format != GST_FORMAT_TIME || !GST_BUFFER_PTS_IS_VALID (buffer))
    return GST_CLOCK_TIME_NONE;
  return gst_segment_to_running_time (&self->segment, GST_FORMAT_TIME, GST_BUFFER_PTS (buffer));
}

/* Returns the number of samples that are missing before @buffer by its time stamp. */
static guint64
take_hole (GstAvatarTimeline *self, GstBuffer *buffer, GstClockTime duration)
{
  GstClockTime in = time_of (self, buffer);
  GstClockTimeDiff step;
  gboolean known = GST_CLOCK_TIME_IS_VALID (self->in_end);

  if (!GST_CLOCK_TIME_IS_VALID (in)) {
    if (known)
      self->in_end += duration;
    return 0;
  }
  step = known ? GST_CLOCK_DIFF (self->in_end, in) : 0;
  if (known && step >= -(GstClockTimeDiff) MAX_BACK && step <= (GstClockTimeDiff) MAX_JITTER) {
    self->in_end += duration;
    return 0;
  }
  self->in_end = in + duration;
  return step > 0 && step <= (GstClockTimeDiff) MAX_HOLE ? to_samples (step) : 0;
}

/* Places the first audio after a pause: where its time stamp says if that leaves time for jitter,
 * or else LATENCY from now. */
static void
end_pause (GstAvatarTimeline *self, guint64 hole)
{
  GstClockTime now = running_time (self);
  guint64 target = self->end + hole;
  guint64 elapsed = self->begun ? to_samples (MAX (now, self->start) - self->start) : 0;

  if (!hole || target < self->position || target < elapsed + to_samples (LATENCY) / 2)
    target = MAX (elapsed + to_samples (LATENCY), self->position);
  self->silence = target - self->position;
  self->dry = FALSE;
  self->dry_at = now + LATENCY;
  GST_DEBUG_OBJECT (self, "audio that arrived at %" GST_TIME_FORMAT " plays at %" GST_TIME_FORMAT,
      GST_TIME_ARGS (now), GST_TIME_ARGS (self->start + to_time (target)));
}

/* Returns: (transfer full): a buffer of silence */
static GstBuffer *
new_silence (guint64 n_samples)
{
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n_samples * FRAME_BYTES, NULL);

  gst_buffer_memset (buffer, 0, 0, n_samples * FRAME_BYTES);
  return buffer;
}

/* Returns by how much the output is behind the clock, at most PATIENCE. */
static GstClockTime
lag (GstAvatarTimeline *self, GstClockTime now)
{
  GstClockTime due = self->start + to_time (self->position + PERIOD);

  return now > due ? MIN (now - due, PATIENCE) : 0;
}

/* Notes that audio of @duration has arrived. The source has as much more time to send the next as
 * the output is late. */
static void
extend (GstAvatarTimeline *self, GstClockTime duration)
{
  GstClockTime now = running_time (self);
  GstClockTime first = now + to_time (received (self)) + lag (self, now);

  self->dry_at = CLAMP (self->dry_at + duration, first, first + LATENCY);
}

/* Queues @buffer (transfer full). */
static void
append (GstAvatarTimeline *self, GstBuffer *buffer)
{
  guint64 n = gst_buffer_get_size (buffer) / FRAME_BYTES;
  guint64 hole = take_hole (self, buffer, to_time (n));

  if (self->dry) {
    end_pause (self, hole);
  } else if (hole > 0) {
    gst_adapter_push (self->adapter, new_silence (hole));
    n += hole;
  }
  gst_adapter_push (self->adapter, buffer);
  self->n_received += n;
  self->end = self->position + queued (self);
  extend (self, to_time (n));
  if (self->waits_for)
    gst_clock_id_unschedule (self->waits_for);
}

/* ------------------------------------------------------------------------------------- sink pad */

static GstFlowReturn
gst_avatar_timeline_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (parent);
  GstFlowReturn ret = GST_FLOW_OK;
  guint generation;

  g_mutex_lock (&self->lock);
  generation = self->generation;
  self->n_blocked++;
  while (!self->flushing && !self->ending && generation == self->generation
      && received (self) >= MAX_QUEUED)
    g_cond_wait (&self->cond, &self->lock);
  self->n_blocked--;
  if (self->flushing)
    ret = GST_FLOW_FLUSHING;
  else if (self->ending)
    ret = GST_FLOW_EOS;
  else if (generation == self->generation)
    append (self, g_steal_pointer (&buffer));
  g_mutex_unlock (&self->lock);
  gst_clear_buffer (&buffer);
  return ret;
}

/* Lets a serialized event wait for the audio before it. */
static void
queue_event (GstAvatarTimeline *self, GstEvent *event)
{
  Waiting *waiting = g_new (Waiting, 1);

  waiting->event = event;
  waiting->after = self->n_received;
  g_queue_push_tail (&self->events, waiting);
}

static gboolean
take_custom_event (GstAvatarTimeline *self, GstEvent *event)
{
  gboolean in_order = GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_DOWNSTREAM
      || GST_EVENT_TYPE (event) == GST_EVENT_CUSTOM_BOTH;

  g_mutex_lock (&self->lock);
  if (gst_event_has_name (event, GST_AVATAR_CLEAR_EVENT))
    drop_queue (self);
  if (in_order)
    queue_event (self, event);
  g_mutex_unlock (&self->lock);
  return in_order || gst_pad_push_event (GST_BASE_SRC_PAD (self), event);
}

/* Takes events about the source's stream, which ends here; passes on those of applications. */
static gboolean
gst_avatar_timeline_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (parent);

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_CUSTOM_DOWNSTREAM:
    case GST_EVENT_CUSTOM_DOWNSTREAM_OOB:
    case GST_EVENT_CUSTOM_DOWNSTREAM_STICKY:
    case GST_EVENT_CUSTOM_BOTH:
    case GST_EVENT_CUSTOM_BOTH_OOB:
      return take_custom_event (self, event);
    case GST_EVENT_SEGMENT:
      gst_event_copy_segment (event, &self->segment);
      g_mutex_lock (&self->lock);
      self->in_end = GST_CLOCK_TIME_NONE;
      g_mutex_unlock (&self->lock);
      break;
    case GST_EVENT_FLUSH_START:
      g_mutex_lock (&self->lock);
      self->flushing = TRUE;
      drop_queue (self);
      g_mutex_unlock (&self->lock);
      break;
    case GST_EVENT_FLUSH_STOP:
      g_mutex_lock (&self->lock);
      self->flushing = FALSE;
      self->in_end = GST_CLOCK_TIME_NONE;
      g_mutex_unlock (&self->lock);
      break;
    default:
      break;
  }
  gst_event_unref (event);
  return TRUE;
}

static gboolean
gst_avatar_timeline_sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_CAPS:
    case GST_QUERY_ACCEPT_CAPS:
      return gst_pad_query_default (pad, parent, query);
    default:
      return FALSE;
  }
}

/* ----------------------------------------------------------------------------------- source pad */

/* Waits until the clock shows @time, or until something changes. Called with the lock held. */
static void
wait_until (GstAvatarTimeline *self, GstClockTime time)
{
  GstElement *element = GST_ELEMENT (self);
  g_autoptr (GstClock) clock = gst_element_get_clock (element);
  GstClockID id = gst_clock_new_single_shot_id (clock, gst_element_get_base_time (element) + time);

  self->waits_for = id;
  g_mutex_unlock (&self->lock);
  gst_clock_id_wait (id, NULL);
  g_mutex_lock (&self->lock);
  self->waits_for = NULL;
  gst_clock_id_unref (id);
}

/* Waits until the next period may be output. Called with the lock held. */
static GstFlowReturn
wait_for_period (GstAvatarTimeline *self)
{
  for (;;) {
    GstClockTime now = running_time (self), until;

    if (self->unlocked)
      return GST_FLOW_FLUSHING;
    if (!self->begun) {
      self->start = now;
      self->begun = TRUE;
      self->dry_at = now + to_time (queued (self));
    }
    if (self->ending)
      return queued (self) > 0 || !g_queue_is_empty (&self->events) ? GST_FLOW_OK : GST_FLOW_EOS;
    until = self->start + to_time (self->position + PERIOD);
    if (now >= until && queued (self) < PERIOD && !self->dry)
      until = self->n_blocked > 0 ? now + LATENCY : self->dry_at;
    if (now >= until)
      return GST_FLOW_OK;
    wait_until (self, until);
  }
}

/* Copies up to @n samples of the queue to @data; the rest is silence. */
static void
copy_queue (GstAvatarTimeline *self, guint8 *data, guint64 n)
{
  guint64 silence = MIN (self->silence, n), copied = MIN (received (self), n - silence);
  gsize begin = silence * FRAME_BYTES, size = copied * FRAME_BYTES;

  memset (data, 0, n * FRAME_BYTES);
  if (size > 0) {
    gst_adapter_copy (self->adapter, data + begin, 0, size);
    gst_adapter_flush (self->adapter, size);
  }
  self->silence -= silence;
}

/* Hands serialized events whose turn has come to the base class, which sends them before the next
 * buffer. */
static void
send_events (GstAvatarTimeline *self)
{
  Waiting *waiting;

  while ((waiting = g_queue_peek_head (&self->events))
      && waiting->after <= self->n_received - received (self)) {
    g_queue_pop_head (&self->events);
    GST_ELEMENT_CLASS (parent_class)
        ->send_event (GST_ELEMENT (self), g_steal_pointer (&waiting->event));
    g_free (waiting);
  }
}

/* Returns: (transfer full): the next samples, a period, or less before EOS */
static GstBuffer *
take_period (GstAvatarTimeline *self)
{
  guint64 n = self->ending ? CLAMP (queued (self), 1, PERIOD) : PERIOD;
  GstBuffer *buffer = gst_buffer_new_allocate (NULL, n * FRAME_BYTES, NULL);
  GstMapInfo map;

  send_events (self);
  if (queued (self) < n)
    self->dry = TRUE;
  if (received (self) == 0 || self->silence >= n)
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  gst_buffer_map (buffer, &map, GST_MAP_WRITE);
  copy_queue (self, map.data, n);
  gst_buffer_unmap (buffer, &map);
  GST_BUFFER_PTS (buffer) = self->start + to_time (self->position);
  GST_BUFFER_OFFSET (buffer) = self->position;
  self->position += n;
  GST_BUFFER_OFFSET_END (buffer) = self->position;
  GST_BUFFER_DURATION (buffer) = self->start + to_time (self->position) - GST_BUFFER_PTS (buffer);
  g_cond_broadcast (&self->cond);
  return buffer;
}

static GstFlowReturn
gst_avatar_timeline_create (GstPushSrc *src, GstBuffer **buffer)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (src);
  g_autoptr (GstClock) clock = gst_element_get_clock (GST_ELEMENT (self));
  GstFlowReturn ret;

  if (!clock) {
    GST_ELEMENT_ERROR (self, CORE, CLOCK,
        ("continuous audio has no clock: expected the clock of a pipeline; put avatarbin into one"),
        (NULL));
    return GST_FLOW_ERROR;
  }
  g_mutex_lock (&self->lock);
  ret = wait_for_period (self);
  if (ret == GST_FLOW_OK)
    *buffer = take_period (self);
  g_mutex_unlock (&self->lock);
  return ret;
}

static gboolean
gst_avatar_timeline_negotiate (GstBaseSrc *src)
{
  GstAudioInfo info;
  g_autoptr (GstCaps) caps = NULL;

  gst_audio_info_set_format (&info, GST_AUDIO_FORMAT_F32, RATE, CHANNELS, NULL);
  caps = gst_audio_info_to_caps (&info);
  return gst_base_src_set_caps (src, caps);
}

static gboolean
gst_avatar_timeline_unlock (GstBaseSrc *src)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (src);

  g_mutex_lock (&self->lock);
  self->unlocked = TRUE;
  if (self->waits_for)
    gst_clock_id_unschedule (self->waits_for);
  g_mutex_unlock (&self->lock);
  return TRUE;
}

static gboolean
gst_avatar_timeline_unlock_stop (GstBaseSrc *src)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (src);

  g_mutex_lock (&self->lock);
  self->unlocked = FALSE;
  g_mutex_unlock (&self->lock);
  return TRUE;
}

static gboolean
gst_avatar_timeline_is_seekable (GstBaseSrc *src)
{
  return FALSE;
}

/* A period is output at its end. */
static gboolean
gst_avatar_timeline_query (GstBaseSrc *src, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) != GST_QUERY_LATENCY)
    return GST_BASE_SRC_CLASS (parent_class)->query (src, query);
  gst_query_set_latency (query, TRUE, to_time (PERIOD), GST_CLOCK_TIME_NONE);
  return TRUE;
}

/* --------------------------------------------------------------------------------------- states */

/* Called with the lock held. */
static void
reset (GstAvatarTimeline *self)
{
  drop_queue (self);
  gst_segment_init (&self->segment, GST_FORMAT_UNDEFINED);
  self->flushing = self->playing = self->begun = self->ending = FALSE;
  self->start = self->paused_at = self->dry_at = 0;
  self->position = self->end = self->n_received = 0;
  self->in_end = GST_CLOCK_TIME_NONE;
}

static GstStateChangeReturn
gst_avatar_timeline_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (element);

  g_mutex_lock (&self->lock);
  switch (transition) {
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      reset (self);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_PLAYING:
      self->playing = TRUE;
      break;
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      self->paused_at = running_time (self);
      self->playing = FALSE;
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      self->flushing = TRUE; /* before chaining up, which waits for the streaming threads */
      g_cond_broadcast (&self->cond);
      break;
    default:
      break;
  }
  g_mutex_unlock (&self->lock);
  return GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
}

static void
gst_avatar_timeline_finalize (GObject *object)
{
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (object);

  g_queue_clear_full (&self->events, waiting_free);
  g_object_unref (self->adapter);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_avatar_timeline_class_init (GstAvatarTimelineClass *klass)
{
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseSrcClass *base_class = GST_BASE_SRC_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = gst_avatar_timeline_finalize;
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_avatar_timeline_change_state);
  base_class->negotiate = GST_DEBUG_FUNCPTR (gst_avatar_timeline_negotiate);
  base_class->unlock = GST_DEBUG_FUNCPTR (gst_avatar_timeline_unlock);
  base_class->unlock_stop = GST_DEBUG_FUNCPTR (gst_avatar_timeline_unlock_stop);
  base_class->is_seekable = GST_DEBUG_FUNCPTR (gst_avatar_timeline_is_seekable);
  base_class->query = GST_DEBUG_FUNCPTR (gst_avatar_timeline_query);
  GST_PUSH_SRC_CLASS (klass)->create = GST_DEBUG_FUNCPTR (gst_avatar_timeline_create);
  gst_element_class_set_static_metadata (element_class, "Avatar timeline", "Generic/Audio",
      "Makes continuous audio by the clock", "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  GST_DEBUG_CATEGORY_INIT (avatar_timeline_debug, "avatartimeline", 0, "Continuous audio");
}

static void
gst_avatar_timeline_init (GstAvatarTimeline *self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);
  self->adapter = gst_adapter_new ();
  g_queue_init (&self->events);
  reset (self);
  gst_base_src_set_live (GST_BASE_SRC (self), TRUE);
  gst_base_src_set_format (GST_BASE_SRC (self), GST_FORMAT_TIME);
  self->sink = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sink, GST_DEBUG_FUNCPTR (gst_avatar_timeline_chain));
  gst_pad_set_event_function (self->sink, GST_DEBUG_FUNCPTR (gst_avatar_timeline_sink_event));
  gst_pad_set_query_function (self->sink, GST_DEBUG_FUNCPTR (gst_avatar_timeline_sink_query));
  gst_element_add_pad (GST_ELEMENT (self), self->sink);
}

/* --------------------------------------------------------------------------- the converting bin */

/* Drops the end of a source: another one may follow. */
static GstPadProbeReturn
drop_eos (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_EVENT_TYPE (info->data) == GST_EVENT_EOS ? GST_PAD_PROBE_DROP : GST_PAD_PROBE_OK;
}

GstElement *
gst_avatar_timeline_new (GError **error)
{
  GstElement *bin
      = gst_parse_bin_from_description ("audioconvert name=first ! audioresample name=last", FALSE,
          error);
  GstElement *timeline;
  g_autoptr (GstElement) first = NULL, last = NULL;
  g_autoptr (GstPad) sink = NULL, src = NULL;
  GstPad *ghost;

  if (!bin)
    return NULL;
  timeline = g_object_new (GST_TYPE_AVATAR_TIMELINE, "name", "timeline", NULL);
  first = gst_bin_get_by_name (GST_BIN (bin), "first");
  last = gst_bin_get_by_name (GST_BIN (bin), "last");
  gst_bin_add (GST_BIN (bin), timeline);
  gst_element_link_pads (last, "src", timeline, "sink");
  sink = gst_element_get_static_pad (first, "sink");
  src = gst_element_get_static_pad (timeline, "src");
  ghost = gst_ghost_pad_new ("sink", sink);
  gst_pad_add_probe (ghost, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, drop_eos, NULL, NULL);
  gst_element_add_pad (bin, ghost);
  gst_element_add_pad (bin, gst_ghost_pad_new ("src", src));
  return bin;
}

void
gst_avatar_timeline_end (GstElement *bin)
{
  g_autoptr (GstElement) element = gst_bin_get_by_name (GST_BIN (bin), "timeline");
  GstAvatarTimeline *self = GST_AVATAR_TIMELINE (element);

  g_mutex_lock (&self->lock);
  self->ending = TRUE;
  g_cond_broadcast (&self->cond);
  if (self->waits_for)
    gst_clock_id_unschedule (self->waits_for);
  g_mutex_unlock (&self->lock);
}
