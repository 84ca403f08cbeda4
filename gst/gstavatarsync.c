/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Release of audio with the video of its time: see the header. Audio is compared with video by
 * running time. A buffer is released if it begins before the end of the newest frame whose push has
 * begun. A muxer that holds this frame until it has audio of its time therefore gets it.
 *
 * An audio encoder before the muxer may need more audio than that before it outputs any. Then the
 * push of a frame does not return and the audio waits here. If this state lasts for PATIENCE, the
 * buffer is released, and the lead that it has is granted to all later ones.
 *
 * The custom event avatar-clear reaches the video with the fields "position" and "audio-to". Audio
 * between these times that still waits becomes silence. */
#include "gst/gstavatarsync.h"

#include <gst/audio/audio.h>

#include "gst/gstavatarclear.h"

GST_DEBUG_CATEGORY_STATIC (avatar_sync_debug);
#define GST_CAT_DEFAULT avatar_sync_debug

/* More than the time that a sink waits between two frames (us). */
#define PATIENCE (100 * G_TIME_SPAN_MILLISECOND)

/* PTS of audio that is replaced by silence. */
typedef struct
{
  GstClockTime begin, end;
} Mute;

struct _GstAvatarSync
{
  GstElement parent;
  GstPad *video_sink, *video_src, *audio_sink, *audio_src;
  /* guarded by @lock */
  GMutex lock;
  GCond cond;
  GstSegment video_segment, audio_segment;
  GstClockTime video_end; /* running time; NONE before the first frame */
  GstClockTime audio_end; /* time in the audio's segment, for buffers without PTS */
  GstClockTime lead, max_lead;
  gint64 push_began; /* monotonic time (us) of the push of a frame that has not returned, or 0 */
  gboolean video_ended;
  gboolean flushing; /* audio must not wait */
  gboolean paused;   /* after PLAYING: sinks hold frames back */
  GArray *mutes;     /* Mute, in the order of the events */
  guint32 seek_seqnum;
  gboolean seek_result;
  GstAudioInfo info; /* used by the audio's streaming thread */
};

static GstStaticPadTemplate video_sink_template = GST_STATIC_PAD_TEMPLATE ("video_sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS ("video/x-raw"));
static GstStaticPadTemplate video_src_template = GST_STATIC_PAD_TEMPLATE ("video_src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS ("video/x-raw"));
static GstStaticPadTemplate audio_sink_template = GST_STATIC_PAD_TEMPLATE ("audio_sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS ("audio/x-raw"));
static GstStaticPadTemplate audio_src_template = GST_STATIC_PAD_TEMPLATE ("audio_src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS ("audio/x-raw"));

G_DEFINE_TYPE (GstAvatarSync, gst_avatar_sync, GST_TYPE_ELEMENT)

/* Returns NONE for a time outside of the segment. */
static GstClockTime
running_time (const GstSegment *segment, GstClockTime time)
{
  if (segment->format != GST_FORMAT_TIME || !GST_CLOCK_TIME_IS_VALID (time))
    return GST_CLOCK_TIME_NONE;
  if (GST_CLOCK_TIME_IS_VALID (segment->start))
    time = MAX (time, segment->start);
  if (GST_CLOCK_TIME_IS_VALID (segment->stop))
    time = MIN (time, segment->stop);
  return gst_segment_to_running_time (segment, GST_FORMAT_TIME, time);
}

/* Called with the lock held. Frames without a duration count as their beginning. */
static void
begin_push (GstAvatarSync *self, GstBuffer *frame)
{
  GstClockTime end = GST_BUFFER_PTS (frame);

  if (GST_CLOCK_TIME_IS_VALID (end) && GST_BUFFER_DURATION_IS_VALID (frame))
    end += GST_BUFFER_DURATION (frame);
  end = running_time (&self->video_segment, end);
  if (GST_CLOCK_TIME_IS_VALID (end)
      && (!GST_CLOCK_TIME_IS_VALID (self->video_end) || end > self->video_end))
    self->video_end = end;
  self->push_began = g_get_monotonic_time ();
  g_cond_broadcast (&self->cond);
}

static GstFlowReturn
gst_avatar_sync_video_chain (GstPad *pad, GstObject *parent, GstBuffer *frame)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (parent);
  GstFlowReturn ret;

  g_mutex_lock (&self->lock);
  begin_push (self, frame);
  g_mutex_unlock (&self->lock);
  ret = gst_pad_push (self->video_src, frame);
  g_mutex_lock (&self->lock);
  self->push_began = 0;
  g_mutex_unlock (&self->lock);
  return ret;
}

/* Called with the lock held. */
static void
add_mute (GstAvatarSync *self, GstEvent *event)
{
  const GstStructure *s = gst_event_get_structure (event);
  Mute mute;

  if (gst_structure_get_clock_time (s, "position", &mute.begin)
      && gst_structure_get_clock_time (s, "audio-to", &mute.end)
      && GST_CLOCK_TIME_IS_VALID (mute.begin) && GST_CLOCK_TIME_IS_VALID (mute.end))
    g_array_append_val (self->mutes, mute);
}

static gboolean
gst_avatar_sync_video_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (parent);

  g_mutex_lock (&self->lock);
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_STOP:
      gst_segment_init (&self->video_segment, GST_FORMAT_UNDEFINED);
      self->video_end = GST_CLOCK_TIME_NONE;
      self->video_ended = FALSE;
      break;
    case GST_EVENT_STREAM_START:
      self->video_ended = FALSE;
      break;
    case GST_EVENT_SEGMENT:
      gst_event_copy_segment (event, &self->video_segment);
      break;
    case GST_EVENT_EOS:
      self->video_ended = TRUE;
      g_cond_broadcast (&self->cond);
      break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
    case GST_EVENT_CUSTOM_DOWNSTREAM_OOB:
      if (gst_avatar_clear_is (event))
        add_mute (self, event);
      break;
    default:
      break;
  }
  g_mutex_unlock (&self->lock);
  return gst_pad_event_default (pad, parent, event);
}

/* Called with the lock held. */
static gboolean
may_leave (GstAvatarSync *self, GstClockTime start)
{
  if (self->video_ended || !GST_CLOCK_TIME_IS_VALID (start))
    return TRUE;
  return GST_CLOCK_TIME_IS_VALID (self->video_end) && start < self->video_end + self->lead;
}

/* Called with the lock held. Waits for a change, and grants more lead if a frame is held back. */
static void
wait_for_video (GstAvatarSync *self, GstClockTime start)
{
  gint64 began = self->push_began;
  GstClockTime lead;

  if (began == 0 || self->paused || !GST_CLOCK_TIME_IS_VALID (self->video_end)) {
    g_cond_wait (&self->cond, &self->lock);
    return;
  }
  lead = start - self->video_end + 1;
  if (lead > self->max_lead) {
    g_cond_wait (&self->cond, &self->lock);
    return;
  }
  if (g_cond_wait_until (&self->cond, &self->lock, began + PATIENCE) || self->push_began != began
      || self->paused)
    return;
  GST_DEBUG_OBJECT (self, "a frame is held back: audio may lead by %" GST_TIME_FORMAT,
      GST_TIME_ARGS (lead));
  self->lead = MAX (self->lead, lead);
  self->push_began = g_get_monotonic_time (); /* the next buffer waits as long again */
}

/* Waits until audio that begins at @time of its segment may leave. */
static GstFlowReturn
wait_until_released (GstAvatarSync *self, GstClockTime time)
{
  GstClockTime start = running_time (&self->audio_segment, time);

  while (!self->flushing && !may_leave (self, start))
    wait_for_video (self, start);
  return self->flushing ? GST_FLOW_FLUSHING : GST_FLOW_OK;
}

/* Replaces the samples [@first, @end) of @buffer by silence. */
static GstBuffer *
silence_samples (GstAvatarSync *self, GstBuffer *buffer, gsize first, gsize end)
{
  GstAudioBuffer audio;
  gsize sample;

  buffer = gst_buffer_make_writable (buffer);
  if (first == 0 && end * GST_AUDIO_INFO_BPF (&self->info) >= gst_buffer_get_size (buffer))
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
  if (!gst_audio_buffer_map (&audio, &self->info, buffer, GST_MAP_READWRITE))
    return buffer;
  sample = GST_AUDIO_INFO_BPS (&self->info);
  if (GST_AUDIO_INFO_LAYOUT (&self->info) == GST_AUDIO_LAYOUT_INTERLEAVED)
    sample *= GST_AUDIO_INFO_CHANNELS (&self->info);
  end = MIN (end, audio.n_samples); /* a GstAudioMeta may tell fewer than fit */
  for (gint i = 0; i < audio.n_planes && first < end; i++)
    gst_audio_format_info_fill_silence (self->info.finfo,
        (guint8 *) audio.planes[i] + first * sample, (end - first) * sample);
  gst_audio_buffer_unmap (&audio);
  return buffer;
}

static gsize
to_samples (GstAvatarSync *self, GstClockTimeDiff time)
{
  return gst_util_uint64_scale_int (MAX (time, 0), GST_AUDIO_INFO_RATE (&self->info), GST_SECOND);
}

/* Called with the lock held. Applies the ranges of silence to @buffer, which begins at @start, and
 * forgets those before it. */
static GstBuffer *
apply_mutes (GstAvatarSync *self, GstBuffer *buffer, GstClockTime start)
{
  gsize n_samples;

  if (self->mutes->len == 0 || !GST_AUDIO_INFO_IS_VALID (&self->info)
      || !GST_CLOCK_TIME_IS_VALID (start))
    return buffer;
  n_samples = gst_buffer_get_size (buffer) / GST_AUDIO_INFO_BPF (&self->info);
  for (guint i = 0; i < self->mutes->len;) {
    Mute *mute = &g_array_index (self->mutes, Mute, i);
    gsize first = to_samples (self, GST_CLOCK_DIFF (start, mute->begin));
    gsize end = MIN (to_samples (self, GST_CLOCK_DIFF (start, mute->end)), n_samples);

    if (mute->end <= start) {
      g_array_remove_index (self->mutes, i);
      continue;
    }
    if (first < end)
      buffer = silence_samples (self, buffer, first, end);
    i++;
  }
  return buffer;
}

static GstFlowReturn
gst_avatar_sync_audio_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (parent);
  GstClockTime start = GST_BUFFER_PTS (buffer);
  GstFlowReturn ret;

  g_mutex_lock (&self->lock);
  if (!GST_CLOCK_TIME_IS_VALID (start))
    start = self->audio_end;
  ret = wait_until_released (self, start);
  if (GST_CLOCK_TIME_IS_VALID (start) && GST_BUFFER_DURATION_IS_VALID (buffer))
    self->audio_end = start + GST_BUFFER_DURATION (buffer);
  if (ret == GST_FLOW_OK)
    buffer = apply_mutes (self, buffer, start);
  g_mutex_unlock (&self->lock);
  if (ret != GST_FLOW_OK) {
    gst_buffer_unref (buffer);
    return ret;
  }
  ret = gst_pad_push (self->audio_src, buffer);
  return ret == GST_FLOW_NOT_LINKED ? GST_FLOW_OK : ret;
}

/* Called with the lock held. Returns %FALSE if a flush has interrupted it. */
static gboolean
take_audio_event (GstAvatarSync *self, GstEvent *event)
{
  GstClockTime time;
  GstCaps *caps;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      self->flushing = TRUE;
      g_cond_broadcast (&self->cond);
      return TRUE;
    case GST_EVENT_FLUSH_STOP:
      gst_segment_init (&self->audio_segment, GST_FORMAT_UNDEFINED);
      self->audio_end = GST_CLOCK_TIME_NONE;
      g_array_set_size (self->mutes, 0);
      self->flushing = FALSE;
      return TRUE;
    case GST_EVENT_SEGMENT:
      gst_event_copy_segment (event, &self->audio_segment);
      self->audio_end = GST_CLOCK_TIME_NONE;
      return TRUE;
    case GST_EVENT_CAPS:
      gst_event_parse_caps (event, &caps);
      if (!gst_audio_info_from_caps (&self->info, caps))
        gst_audio_info_init (&self->info);
      return TRUE;
    case GST_EVENT_GAP:
      gst_event_parse_gap (event, &time, NULL);
      return wait_until_released (self, time) == GST_FLOW_OK;
    default:
      return TRUE;
  }
}

static gboolean
gst_avatar_sync_audio_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (parent);
  gboolean ok;

  g_mutex_lock (&self->lock);
  ok = take_audio_event (self, event);
  g_mutex_unlock (&self->lock);
  if (ok)
    return gst_pad_event_default (pad, parent, event);
  gst_event_unref (event);
  return FALSE;
}

/* Forwards a seek that both sinks of a pipeline send once only. */
static gboolean
gst_avatar_sync_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (parent);
  guint32 seqnum = gst_event_get_seqnum (event);
  gboolean known, ret;

  if (GST_EVENT_TYPE (event) != GST_EVENT_SEEK)
    return gst_pad_event_default (pad, parent, event);
  g_mutex_lock (&self->lock);
  known = self->seek_seqnum == seqnum;
  ret = self->seek_result;
  g_mutex_unlock (&self->lock);
  if (known && ret) {
    gst_event_unref (event);
    return TRUE;
  }
  ret = gst_pad_event_default (pad, parent, event);
  g_mutex_lock (&self->lock);
  self->seek_seqnum = seqnum;
  self->seek_result = ret;
  g_mutex_unlock (&self->lock);
  return ret;
}

/* Answers the latency of the video, by which the audio is delayed here. */
static gboolean
gst_avatar_sync_audio_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY)
    return gst_pad_peer_query (GST_AVATAR_SYNC (parent)->video_sink, query);
  return gst_pad_query_default (pad, parent, query);
}

static GstPad *
other_pad (GstAvatarSync *self, GstPad *pad)
{
  if (pad == self->video_sink)
    return self->video_src;
  if (pad == self->video_src)
    return self->video_sink;
  return pad == self->audio_sink ? self->audio_src : self->audio_sink;
}

static GstIterator *
gst_avatar_sync_links (GstPad *pad, GstObject *parent)
{
  g_auto (GValue) value = G_VALUE_INIT;

  g_value_init (&value, GST_TYPE_PAD);
  g_value_set_object (&value, other_pad (GST_AVATAR_SYNC (parent), pad));
  return gst_iterator_new_single (GST_TYPE_PAD, &value);
}

static void
reset (GstAvatarSync *self)
{
  gst_segment_init (&self->video_segment, GST_FORMAT_UNDEFINED);
  gst_segment_init (&self->audio_segment, GST_FORMAT_UNDEFINED);
  self->video_end = self->audio_end = GST_CLOCK_TIME_NONE;
  self->lead = 0;
  self->push_began = 0;
  self->video_ended = self->flushing = self->paused = FALSE;
  self->seek_seqnum = GST_SEQNUM_INVALID;
  g_array_set_size (self->mutes, 0);
  gst_audio_info_init (&self->info);
}

static GstStateChangeReturn
gst_avatar_sync_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (element);

  g_mutex_lock (&self->lock);
  switch (transition) {
    case GST_STATE_CHANGE_READY_TO_PAUSED:
      reset (self);
      break;
    case GST_STATE_CHANGE_PAUSED_TO_PLAYING:
      self->paused = FALSE;
      if (self->push_began)
        self->push_began = g_get_monotonic_time ();
      break;
    case GST_STATE_CHANGE_PLAYING_TO_PAUSED:
      self->paused = TRUE;
      break;
    case GST_STATE_CHANGE_PAUSED_TO_READY:
      self->flushing = TRUE; /* before chaining up, which waits for the streaming threads */
      break;
    default:
      break;
  }
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  return GST_ELEMENT_CLASS (gst_avatar_sync_parent_class)->change_state (element, transition);
}

void
gst_avatar_sync_set_max_lead (GstAvatarSync *self, GstClockTime max_lead)
{
  g_mutex_lock (&self->lock);
  self->max_lead = max_lead;
  self->lead = MIN (self->lead, max_lead);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

GstClockTime
gst_avatar_sync_get_max_lead (GstAvatarSync *self)
{
  GstClockTime max_lead;

  g_mutex_lock (&self->lock);
  max_lead = self->max_lead;
  g_mutex_unlock (&self->lock);
  return max_lead;
}

static void
gst_avatar_sync_finalize (GObject *object)
{
  GstAvatarSync *self = GST_AVATAR_SYNC (object);

  g_array_unref (self->mutes);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
  G_OBJECT_CLASS (gst_avatar_sync_parent_class)->finalize (object);
}

static void
gst_avatar_sync_class_init (GstAvatarSyncClass *klass)
{
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  G_OBJECT_CLASS (klass)->finalize = gst_avatar_sync_finalize;
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_avatar_sync_change_state);
  gst_element_class_set_static_metadata (element_class, "Avatar synchronizer", "Generic",
      "Releases audio with the video of its time", "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &video_sink_template);
  gst_element_class_add_static_pad_template (element_class, &video_src_template);
  gst_element_class_add_static_pad_template (element_class, &audio_sink_template);
  gst_element_class_add_static_pad_template (element_class, &audio_src_template);
  GST_DEBUG_CATEGORY_INIT (avatar_sync_debug, "avatarsync", 0, "Avatar synchronizer");
}

static GstPad *
add_pad (GstAvatarSync *self, GstStaticPadTemplate *template)
{
  GstPad *pad = gst_pad_new_from_static_template (template, template->name_template);

  gst_pad_set_iterate_internal_links_function (pad, GST_DEBUG_FUNCPTR (gst_avatar_sync_links));
  GST_PAD_SET_PROXY_CAPS (pad);
  GST_PAD_SET_PROXY_ALLOCATION (pad);
  gst_element_add_pad (GST_ELEMENT (self), pad);
  return pad;
}

static void
gst_avatar_sync_init (GstAvatarSync *self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);
  self->max_lead = GST_AVATAR_SYNC_MAX_LEAD_DEFAULT;
  self->mutes = g_array_new (FALSE, FALSE, sizeof (Mute));
  reset (self);

  self->video_sink = add_pad (self, &video_sink_template);
  gst_pad_set_chain_function (self->video_sink, GST_DEBUG_FUNCPTR (gst_avatar_sync_video_chain));
  gst_pad_set_event_function (self->video_sink, GST_DEBUG_FUNCPTR (gst_avatar_sync_video_event));
  self->video_src = add_pad (self, &video_src_template);
  gst_pad_set_event_function (self->video_src, GST_DEBUG_FUNCPTR (gst_avatar_sync_src_event));

  self->audio_sink = add_pad (self, &audio_sink_template);
  gst_pad_set_chain_function (self->audio_sink, GST_DEBUG_FUNCPTR (gst_avatar_sync_audio_chain));
  gst_pad_set_event_function (self->audio_sink, GST_DEBUG_FUNCPTR (gst_avatar_sync_audio_event));
  self->audio_src = add_pad (self, &audio_src_template);
  gst_pad_set_event_function (self->audio_src, GST_DEBUG_FUNCPTR (gst_avatar_sync_src_event));
  gst_pad_set_query_function (self->audio_src, GST_DEBUG_FUNCPTR (gst_avatar_sync_audio_src_query));
}
