/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Request pad of a further speaker: see the header. */
#include "gst/gstavatarspeakerpad.h"

#include "gst/gstavatarreference.h"

#include <avatar/error.h>

/* Tolerance for rounded times. */
#define ROUNDING (GST_MSECOND)

/**
 * Item: features, or silence
 * @buffer: (nullable): features; %NULL: silence
 * @time: running time; of silence its end
 */
typedef struct
{
  GstBuffer *buffer;
  GstClockTimeDiff time;
} Item;

/**
 * GstAvatarSpeakerPad:
 * @face_box, @face_mask: properties, under the object lock
 * @items: queue of Item; @n_buffers: features in it
 * @segment, @position: segment, and PTS of a feature without PTS
 * @silent_until: features that end before this PTS are silence, or NONE
 * @closed: the pad is not active or flushes
 * @flush_expected: features are dropped until a flush; @ended: they are dropped
 * @eos: no more features come
 * @waiting: the state, which ends the wait of the task unless it is OK
 * @in_sequence: the last feature was used
 * @error: (nullable): reason why the features cannot be used
 *
 * All but the properties are under @lock.
 */
struct _GstAvatarSpeakerPad
{
  GstPad parent;

  gchar *face_box, *face_mask;
  GstAvatarSpeakerPadFunc changed;

  GMutex lock;
  GCond cond;
  GQueue items;
  guint n_buffers, max_buffers;
  GstSegment segment;
  GstClockTime position, silent_until;
  gboolean closed, flush_expected, ended, eos, in_sequence;
  GstFlowReturn waiting;
  GError *error;
};

enum
{
  PROP_0,
  PROP_FACE_BOX,
  PROP_FACE_MASK,
};

G_DEFINE_TYPE (GstAvatarSpeakerPad, gst_avatar_speaker_pad, GST_TYPE_PAD)

static void
item_free (Item *item)
{
  gst_clear_buffer (&item->buffer);
  g_free (item);
}

/* Called with the lock held. */
static void
clear_items (GstAvatarSpeakerPad *self)
{
  g_queue_clear_full (&self->items, (GDestroyNotify) item_free);
  self->n_buffers = 0;
}

/* Called with the lock held. */
static void
begin_stream (GstAvatarSpeakerPad *self)
{
  clear_items (self);
  gst_segment_init (&self->segment, GST_FORMAT_TIME);
  self->position = 0;
  self->silent_until = GST_CLOCK_TIME_NONE;
  self->eos = self->flush_expected = self->in_sequence = FALSE;
}

GstAvatarSpeakerPad *
gst_avatar_speaker_pad_new (GstPadTemplate *template, const gchar *name, guint max_buffers,
    GstAvatarSpeakerPadFunc changed)
{
  GstAvatarSpeakerPad *self = g_object_new (GST_TYPE_AVATAR_SPEAKER_PAD, "name", name, "direction",
      GST_PAD_SINK, "template", template, NULL);

  self->max_buffers = max_buffers;
  self->changed = changed;
  return self;
}

void
gst_avatar_speaker_pad_get_face (GstAvatarSpeakerPad *self, gchar **face_box, gchar **face_mask)
{
  GST_OBJECT_LOCK (self);
  *face_box = g_strdup (self->face_box);
  *face_mask = g_strdup (self->face_mask);
  GST_OBJECT_UNLOCK (self);
}

gboolean
gst_avatar_speaker_pad_check (GstAvatarSpeakerPad *self, AvatarBox *box, GError **error)
{
  g_autofree gchar *face_box = NULL, *face_mask = NULL;
  gboolean has_box, has_mask;

  gst_avatar_speaker_pad_get_face (self, &face_box, &face_mask);
  if (!gst_avatar_box_parse (face_box, box, error)) {
    g_prefix_error (error, "%s: ", GST_PAD_NAME (self));
    return FALSE;
  }
  has_box = box->width > 0;
  has_mask = face_mask && *face_mask;
  if (has_box != has_mask)
    return TRUE;
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
      "pad %s has %s; set one of the two, such as %s::face-box=300,80,120,140, so that the face of "
      "its voice is known",
      GST_PAD_NAME (self), has_box ? "both face-box and face-mask" : "no face-box and no face-mask",
      GST_PAD_NAME (self));
  return FALSE;
}

static GstClockTimeDiff
get_running_time (const GstSegment *segment, GstClockTime position)
{
  guint64 time;
  gint sign = gst_segment_to_running_time_full (segment, GST_FORMAT_TIME, position, &time);

  return sign < 0 ? -(GstClockTimeDiff) time : (GstClockTimeDiff) time;
}

/* Called with the lock held. Takes @buffer. Silence after silence extends it, so that only buffers
 * make the queue longer. */
static void
append (GstAvatarSpeakerPad *self, GstBuffer *buffer, GstClockTimeDiff time)
{
  Item *item = g_queue_peek_tail (&self->items);

  if (!buffer && item && !item->buffer) {
    item->time = MAX (item->time, time);
  } else {
    item = g_new (Item, 1);
    *item = (Item){ buffer, time };
    g_queue_push_tail (&self->items, item);
    self->n_buffers += buffer ? 1 : 0;
  }
  g_cond_broadcast (&self->cond);
}

static gboolean
is_dropped (GstAvatarSpeakerPad *self)
{
  return self->ended || self->flush_expected;
}

GstFlowReturn
gst_avatar_speaker_pad_chain (GstAvatarSpeakerPad *self, GstBuffer *buffer, GstClockTime duration)
{
  GstFlowReturn ret = GST_FLOW_OK;

  g_mutex_lock (&self->lock);
  while (!self->closed && !is_dropped (self) && self->n_buffers >= self->max_buffers)
    g_cond_wait (&self->cond, &self->lock);
  if (self->closed) {
    ret = GST_FLOW_FLUSHING;
  } else if (!is_dropped (self)) {
    if (GST_BUFFER_PTS_IS_VALID (buffer))
      self->position = GST_BUFFER_PTS (buffer);
    if (GST_CLOCK_TIME_IS_VALID (self->silent_until)
        && self->position + duration <= self->silent_until + ROUNDING)
      append (self, NULL, get_running_time (&self->segment, self->position + duration));
    else
      append (self, gst_buffer_ref (buffer), get_running_time (&self->segment, self->position));
    self->position += duration;
  }
  g_mutex_unlock (&self->lock);
  gst_buffer_unref (buffer);
  return ret;
}

/* Called with the lock held. */
static void
take_segment (GstAvatarSpeakerPad *self, GstEvent *event)
{
  gst_event_copy_segment (event, &self->segment);
  if (self->segment.format != GST_FORMAT_TIME)
    gst_segment_init (&self->segment, GST_FORMAT_TIME);
  self->position = self->segment.start;
  self->silent_until = GST_CLOCK_TIME_NONE;
}

/* Called with the lock held. */
static void
take_gap (GstAvatarSpeakerPad *self, GstEvent *event)
{
  GstClockTime pts, duration;

  gst_event_parse_gap (event, &pts, &duration);
  if (is_dropped (self) || !GST_CLOCK_TIME_IS_VALID (pts) || !GST_CLOCK_TIME_IS_VALID (duration))
    return;
  self->position = pts + duration;
  append (self, NULL, get_running_time (&self->segment, self->position));
}

void
gst_avatar_speaker_pad_event (GstAvatarSpeakerPad *self, GstEvent *event, GstClockTime duration)
{
  g_mutex_lock (&self->lock);
  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      self->closed = TRUE;
      clear_items (self);
      break;
    case GST_EVENT_FLUSH_STOP:
      begin_stream (self);
      self->closed = FALSE;
      break;
    case GST_EVENT_STREAM_START:
      self->eos = FALSE;
      break;
    case GST_EVENT_SEGMENT:
      take_segment (self, event);
      break;
    case GST_EVENT_GAP:
      take_gap (self, event);
      break;
    case GST_EVENT_EOS:
      self->eos = TRUE;
      break;
    default:
      break;
  }
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  gst_event_unref (event);
}

void
gst_avatar_speaker_pad_silence (GstAvatarSpeakerPad *self, GstClockTime until,
    GstClockTime duration)
{
  GQueue dropped = G_QUEUE_INIT;
  Item *item;

  g_mutex_lock (&self->lock);
  dropped = self->items;
  g_queue_init (&self->items);
  self->n_buffers = 0;
  while ((item = g_queue_pop_head (&dropped))) {
    append (self, NULL, item->time + (item->buffer ? (GstClockTimeDiff) duration : 0));
    item_free (item);
  }
  self->silent_until = until;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_open (GstAvatarSpeakerPad *self)
{
  g_mutex_lock (&self->lock);
  begin_stream (self);
  g_clear_error (&self->error);
  self->closed = self->ended = FALSE;
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_close (GstAvatarSpeakerPad *self)
{
  g_mutex_lock (&self->lock);
  self->closed = self->eos = TRUE;
  clear_items (self);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_set_flushing (GstAvatarSpeakerPad *self, GstFlowReturn state)
{
  g_mutex_lock (&self->lock);
  self->waiting = state;
  self->in_sequence = FALSE;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_set_input (GstAvatarSpeakerPad *self, GstAvatarSpeakerInput input)
{
  g_mutex_lock (&self->lock);
  self->ended = input == GST_AVATAR_SPEAKER_INPUT_DROP;
  if (self->ended)
    clear_items (self);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_set_error (GstAvatarSpeakerPad *self, GError *error)
{
  g_mutex_lock (&self->lock);
  g_clear_error (&self->error);
  self->error = error;
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_expect_flush (GstAvatarSpeakerPad *self)
{
  g_mutex_lock (&self->lock);
  self->flush_expected = gst_pad_is_linked (GST_PAD (self));
  if (self->flush_expected)
    clear_items (self);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

void
gst_avatar_speaker_pad_expect_no_flush (GstAvatarSpeakerPad *self)
{
  g_mutex_lock (&self->lock);
  self->flush_expected = FALSE;
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

/* Called with the lock held. Returns what the queue has for the frame at @time, and %FALSE if it is
 * not known yet. Features that follow the last one may be off by a frame, so that rounded times do
 * not make gaps; others by half of it. */
static gboolean
find (GstAvatarSpeakerPad *self, GstClockTimeDiff time, GstClockTime duration, GstBuffer **buffer)
{
  GstClockTimeDiff tolerance = self->in_sequence ? duration : duration / 2;
  Item *item;

  for (; (item = g_queue_peek_head (&self->items)); item_free (g_queue_pop_head (&self->items))) {
    gboolean is_silence = !item->buffer;

    if (is_silence ? item->time < time + (GstClockTimeDiff) duration / 2
                   : item->time < time - tolerance) {
      self->n_buffers -= is_silence ? 0 : 1;
      continue; /* too old */
    }
    self->in_sequence = !is_silence && item->time <= time + tolerance;
    if (self->in_sequence) {
      *buffer = g_steal_pointer (&item->buffer);
      item_free (g_queue_pop_head (&self->items));
      self->n_buffers--;
    }
    return TRUE;
  }
  self->in_sequence = self->in_sequence && !self->eos;
  return !self->flush_expected && (self->eos || !gst_pad_is_linked (GST_PAD (self)));
}

GstFlowReturn
gst_avatar_speaker_pad_take (GstAvatarSpeakerPad *self, GstClockTimeDiff time,
    GstClockTime duration, GstBuffer **buffer, GError **error)
{
  GstFlowReturn ret;

  *buffer = NULL;
  g_mutex_lock (&self->lock);
  while (self->waiting == GST_FLOW_OK && !find (self, time, duration, buffer)) {
    g_cond_broadcast (&self->cond); /* old features have left */
    g_cond_wait (&self->cond, &self->lock);
  }
  ret = self->waiting;
  if (ret == GST_FLOW_OK && *buffer && self->error) {
    g_propagate_error (error, g_error_copy (self->error));
    ret = GST_FLOW_ERROR;
  }
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
  return ret;
}

static void
unlinked (GstPad *pad, GstPad *peer, gpointer data)
{
  GstAvatarSpeakerPad *self = GST_AVATAR_SPEAKER_PAD (pad);

  g_mutex_lock (&self->lock);
  g_cond_broadcast (&self->cond);
  g_mutex_unlock (&self->lock);
}

static void
gst_avatar_speaker_pad_set_property (GObject *object, guint id, const GValue *value,
    GParamSpec *pspec)
{
  GstAvatarSpeakerPad *self = GST_AVATAR_SPEAKER_PAD (object);
  g_autoptr (GstElement) element = gst_pad_get_parent_element (GST_PAD (self));
  gchar **field = id == PROP_FACE_BOX ? &self->face_box : &self->face_mask;

  GST_OBJECT_LOCK (self);
  g_free (*field);
  *field = g_value_dup_string (value);
  GST_OBJECT_UNLOCK (self);
  if (element && self->changed)
    self->changed (element);
}

static void
gst_avatar_speaker_pad_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarSpeakerPad *self = GST_AVATAR_SPEAKER_PAD (object);

  GST_OBJECT_LOCK (self);
  g_value_set_string (value, id == PROP_FACE_BOX ? self->face_box : self->face_mask);
  GST_OBJECT_UNLOCK (self);
}

static void
gst_avatar_speaker_pad_finalize (GObject *object)
{
  GstAvatarSpeakerPad *self = GST_AVATAR_SPEAKER_PAD (object);

  clear_items (self);
  g_clear_error (&self->error);
  g_free (self->face_box);
  g_free (self->face_mask);
  g_mutex_clear (&self->lock);
  g_cond_clear (&self->cond);
  G_OBJECT_CLASS (gst_avatar_speaker_pad_parent_class)->finalize (object);
}

static void
gst_avatar_speaker_pad_class_init (GstAvatarSpeakerPadClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING;

  object_class->set_property = gst_avatar_speaker_pad_set_property;
  object_class->get_property = gst_avatar_speaker_pad_get_property;
  object_class->finalize = gst_avatar_speaker_pad_finalize;
  /**
   * GstAvatarSpeakerPad:face-box:
   *
   * Face of the speaker, in pixels of the whole portrait.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_FACE_BOX,
      g_param_spec_string ("face-box", "Face box",
          "Face of the speaker, as x,y,width,height in pixels of the whole portrait; takes effect "
          "with the next window",
          NULL, flags));
  /**
   * GstAvatarSpeakerPad:face-mask:
   *
   * Picture of the size of the portrait, white where the face of the speaker is.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_FACE_MASK,
      g_param_spec_string ("face-mask", "Face mask",
          "Path of a PNG or JPEG file of the portrait's size in pixels, white on the face of the "
          "speaker and black elsewhere, instead of face-box; takes effect with the next window",
          NULL, flags));
}

static void
gst_avatar_speaker_pad_init (GstAvatarSpeakerPad *self)
{
  g_mutex_init (&self->lock);
  g_cond_init (&self->cond);
  g_queue_init (&self->items);
  begin_stream (self);
  self->closed = TRUE;
  self->waiting = GST_FLOW_OK;
  g_signal_connect (self, "unlinked", G_CALLBACK (unlinked), NULL);
}
