/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Further speakers of avatardenoise: their pads, their faces on the portrait, and their features.
 * The first speaker's pad leads: for each of its video frames the task takes the features of the
 * others at the same running time, and waits for them. Silence takes the place of what a speaker
 * does not have. */
#include "gst/gstavatarclear.h"
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

#include <string.h>

GST_DEBUG_CATEGORY_EXTERN (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

/* Largest number of queued features of a further speaker: as many as avataraudioenc can push at
 * once, and a window. */
#define MAX_QUEUED_FEATURES 1024

static GstClockTime
get_frame_duration (GstAvatarDenoise *self)
{
  GstClockTime duration;

  GST_OBJECT_LOCK (self);
  duration = gst_util_uint64_scale_int (GST_SECOND, self->clear.fps_d, self->clear.fps_n);
  GST_OBJECT_UNLOCK (self);
  return duration;
}

static GstFlowReturn
chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  if (!gst_pad_has_current_caps (pad)) {
    gst_buffer_unref (buffer);
    return GST_FLOW_NOT_NEGOTIATED;
  }
  return gst_avatar_speaker_pad_chain (GST_AVATAR_SPEAKER_PAD (pad), buffer,
      get_frame_duration (GST_AVATAR_DENOISE (parent)));
}

/* Drops the speech of one further speaker that is not denoised yet, and answers. */
static gboolean
take_clear (GstAvatarDenoise *self, GstAvatarSpeakerPad *pad, GstEvent *event)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  GstAvatarCleared cleared;
  GstClockTime from;
  GstSegment segment;
  guint speaker;

  gst_avatar_clear_get_audio (event, &from, &cleared.end);
  gst_avatar_speaker_pad_silence (pad, cleared.end, get_frame_duration (self));
  GST_OBJECT_LOCK (self);
  cleared.position = GST_CLOCK_TIME_NONE;
  if (GST_CLOCK_TIME_IS_VALID (clear->base))
    cleared.position = clear->base
        + gst_util_uint64_scale (clear->in_window ? clear->pushed : clear->done,
            GST_SECOND * clear->fps_d, clear->fps_n);
  segment = clear->segment;
  if (g_ptr_array_find (self->voices, pad, &speaker))
    clear->silent_to[speaker] = clear->pushed;
  GST_OBJECT_UNLOCK (self);
  gst_event_unref (gst_avatar_clear_answer (GST_ELEMENT (self), event, &cleared, &segment));
  return TRUE;
}

/* Checks that the features are of the model of @self. The task reports the error, when it meets
 * them. */
static void
check_caps (GstAvatarDenoise *self, GstAvatarSpeakerPad *pad, GstEvent *event)
{
  const GstAvatarEngine *engine = self->client.engine;
  GstAvatarFeatureInfo features;
  GError *error = NULL;
  GstCaps *caps;

  gst_event_parse_caps (event, &caps);
  if (engine && !gst_avatar_caps_parse_features (caps, engine->info->hash, &features, &error))
    g_prefix_error (&error, "%s: ", GST_PAD_NAME (pad));
  gst_avatar_speaker_pad_set_error (pad, error);
}

static gboolean
pad_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  if (gst_avatar_clear_is (event))
    return take_clear (self, GST_AVATAR_SPEAKER_PAD (pad), event);
  if (GST_EVENT_TYPE (event) == GST_EVENT_CAPS)
    check_caps (self, GST_AVATAR_SPEAKER_PAD (pad), event);
  gst_avatar_speaker_pad_event (GST_AVATAR_SPEAKER_PAD (pad), event, get_frame_duration (self));
  return TRUE;
}

static gboolean
activate_mode (GstPad *pad, GstObject *parent, GstPadMode mode, gboolean active)
{
  if (mode != GST_PAD_MODE_PUSH)
    return FALSE;
  if (active)
    gst_avatar_speaker_pad_open (GST_AVATAR_SPEAKER_PAD (pad));
  else
    gst_avatar_speaker_pad_close (GST_AVATAR_SPEAKER_PAD (pad));
  return TRUE;
}

/* Keeps queries and events of one speaker from the others. */
static GstIterator *
no_links (GstPad *pad, GstObject *parent)
{
  return NULL;
}

static void
face_changed (GstElement *element)
{
  GST_OBJECT_LOCK (element);
  GST_AVATAR_DENOISE (element)->faces_changed = TRUE;
  GST_OBJECT_UNLOCK (element);
}

/* Puts @pad into the list. Returns %FALSE if there is no place for it. The object lock is held. */
static gboolean
register_pad (GstAvatarDenoise *self, GstAvatarSpeakerPad *pad)
{
  if (self->has_voices || self->speakers->len + 1 >= AVATAR_MAX_SPEAKERS)
    return FALSE;
  g_ptr_array_add (self->speakers, gst_object_ref (pad));
  return TRUE;
}

/* Returns the name of a new pad: @name, or one that no pad has. The object lock is held. */
static gchar *
choose_name (GstAvatarDenoise *self, const gchar *name)
{
  guint64 number = self->n_requested;

  if (name && g_str_has_prefix (name, "sink_"))
    number = g_ascii_strtoull (name + strlen ("sink_"), NULL, 10);
  self->n_requested = MAX (self->n_requested, number + 1);
  return name ? g_strdup (name) : g_strdup_printf ("sink_%" G_GUINT64_FORMAT, number);
}

GstPad *
gst_avatar_denoise_add_speaker (GstAvatarDenoise *self, GstPadTemplate *template, const gchar *name,
    GstPadQueryFunction query)
{
  g_autofree gchar *own = NULL;
  GstAvatarSpeakerPad *speaker;
  gboolean registered;
  GstPad *pad;

  GST_OBJECT_LOCK (self);
  own = choose_name (self, name);
  GST_OBJECT_UNLOCK (self);
  speaker = gst_avatar_speaker_pad_new (template, own, MAX_QUEUED_FEATURES, face_changed);
  pad = GST_PAD (gst_object_ref_sink (speaker));
  gst_pad_set_chain_function (pad, GST_DEBUG_FUNCPTR (chain));
  gst_pad_set_event_function (pad, GST_DEBUG_FUNCPTR (pad_event));
  gst_pad_set_query_function (pad, query);
  gst_pad_set_activatemode_function (pad, GST_DEBUG_FUNCPTR (activate_mode));
  gst_pad_set_iterate_internal_links_function (pad, GST_DEBUG_FUNCPTR (no_links));
  GST_OBJECT_LOCK (self);
  registered = register_pad (self, speaker);
  GST_OBJECT_UNLOCK (self);
  if (!registered) {
    GST_ELEMENT_WARNING (self, RESOURCE, SETTINGS,
        ("pad %s was requested while the video is being made, or after %u others; expected at most "
         "%u further speakers, before the first features",
            own, AVATAR_MAX_SPEAKERS - 1, AVATAR_MAX_SPEAKERS - 1),
        (NULL));
    gst_object_unref (pad);
    return NULL;
  }
  if (GST_STATE (self) >= GST_STATE_PAUSED)
    gst_pad_set_active (pad, TRUE);
  if (!gst_element_add_pad (GST_ELEMENT (self), pad)) {
    gst_avatar_denoise_remove_speaker (self, pad);
    gst_object_unref (pad);
    return NULL;
  }
  gst_child_proxy_child_added (GST_CHILD_PROXY (self), G_OBJECT (pad), GST_PAD_NAME (pad));
  gst_object_unref (pad);
  return pad;
}

gboolean
gst_avatar_denoise_remove_speaker (GstAvatarDenoise *self, GstPad *pad)
{
  gboolean found;

  if (!GST_IS_AVATAR_SPEAKER_PAD (pad))
    return FALSE;
  gst_avatar_speaker_pad_close (GST_AVATAR_SPEAKER_PAD (pad));
  GST_OBJECT_LOCK (self);
  gst_object_ref (pad);
  found = g_ptr_array_remove (self->speakers, pad);
  GST_OBJECT_UNLOCK (self);
  if (found && GST_OBJECT_PARENT (pad) == GST_OBJECT (self)) {
    gst_pad_set_active (pad, FALSE);
    gst_child_proxy_child_removed (GST_CHILD_PROXY (self), G_OBJECT (pad), GST_PAD_NAME (pad));
    gst_element_remove_pad (GST_ELEMENT (self), pad);
  }
  gst_object_unref (pad);
  return TRUE;
}

static gpointer
copy_pad (gconstpointer pad, gpointer data)
{
  return gst_object_ref ((gpointer) pad);
}

GPtrArray *
gst_avatar_denoise_get_speakers (GstAvatarDenoise *self)
{
  GPtrArray *pads;

  GST_OBJECT_LOCK (self);
  pads = g_ptr_array_copy (self->speakers, copy_pad, NULL);
  GST_OBJECT_UNLOCK (self);
  return pads;
}

gboolean
gst_avatar_denoise_check_speakers (GstAvatarDenoise *self, GError **error)
{
  g_autoptr (GPtrArray) pads = gst_avatar_denoise_get_speakers (self);
  AvatarBox box;

  for (guint i = 0; i < pads->len; i++)
    if (!gst_avatar_speaker_pad_check (pads->pdata[i], &box, error))
      return FALSE;
  return TRUE;
}

/* Takes @pads. */
static void
set_voices (GstAvatarDenoise *self, GPtrArray *pads)
{
  GPtrArray *before;

  GST_OBJECT_LOCK (self);
  before = self->voices;
  self->voices = pads;
  self->faces_changed = FALSE;
  GST_OBJECT_UNLOCK (self);
  g_ptr_array_unref (before);
}

void
gst_avatar_denoise_take_speakers (GstAvatarDenoise *self)
{
  GST_OBJECT_LOCK (self);
  self->has_voices = TRUE;
  GST_OBJECT_UNLOCK (self);
  set_voices (self, gst_avatar_denoise_get_speakers (self));
}

void
gst_avatar_denoise_forget_speakers (GstAvatarDenoise *self)
{
  set_voices (self, g_ptr_array_new_with_free_func (gst_object_unref));
  gst_avatar_faces_clear (&self->faces);
}

/* Pushes @buffer, or silence if it is %NULL, to speaker @speaker. */
static gboolean
push_voice (GstAvatarDenoise *self, guint speaker, GstBuffer *buffer, GError **error)
{
  gsize expected = gst_avatar_feature_info_get_size (&self->features);
  GstMapInfo map;
  gboolean ok;

  if (!buffer)
    return avatar_denoiser_push_speaker (self->denoiser, speaker,
        gst_avatar_denoise_clear_get_silence (self), error);
  if (gst_buffer_get_size (buffer) != expected || !gst_buffer_map (buffer, &map, GST_MAP_READ)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DATA,
        "a feature buffer of speaker %u has %" G_GSIZE_FORMAT " bytes: expected %" G_GSIZE_FORMAT
        ", as those of the first speaker",
        speaker, gst_buffer_get_size (buffer), expected);
    return FALSE;
  }
  ok = avatar_denoiser_push_speaker (self->denoiser, speaker, (const float *) map.data, error);
  gst_buffer_unmap (buffer, &map);
  if (ok && !GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP))
    gst_avatar_denoise_clear_note_speech (self);
  return ok;
}

GstFlowReturn
gst_avatar_denoise_push_voices (GstAvatarDenoise *self, guint64 frame, GError **error)
{
  GstClockTime pts = gst_avatar_denoise_frame_to_pts (self, frame);
  GstClockTime duration = gst_avatar_denoise_frames_to_time (self, 1);
  GstFlowReturn ret = GST_FLOW_OK;
  guint64 time;
  gint sign = gst_segment_to_running_time_full (&self->clear.segment, GST_FORMAT_TIME, pts, &time);

  for (guint i = 0; ret == GST_FLOW_OK && i < self->voices->len; i++) {
    g_autoptr (GstBuffer) buffer = NULL;

    ret = gst_avatar_speaker_pad_take (self->voices->pdata[i],
        sign < 0 ? -(GstClockTimeDiff) time : (GstClockTimeDiff) time, duration, &buffer, error);
    if (ret == GST_FLOW_OK && !push_voice (self, i + 1, buffer, error))
      ret = GST_FLOW_ERROR;
  }
  return ret;
}

gboolean
gst_avatar_denoise_clear_voices (GstAvatarDenoise *self, GError **error)
{
  guint64 to[AVATAR_MAX_SPEAKERS], from;

  GST_OBJECT_LOCK (self);
  memcpy (to, self->clear.silent_to, sizeof to);
  memset (self->clear.silent_to, 0, sizeof self->clear.silent_to);
  from = self->clear.done;
  GST_OBJECT_UNLOCK (self);
  for (guint i = 0; i < self->voices->len; i++)
    if (to[i] > from
        && !avatar_denoiser_replace_speaker (self->denoiser, i + 1, from, to[i] - from,
            gst_avatar_denoise_clear_get_silence (self), error))
      return FALSE;
  return TRUE;
}

void
gst_avatar_denoise_set_speakers_flushing (GstAvatarDenoise *self, GstFlowReturn state)
{
  g_autoptr (GPtrArray) pads = gst_avatar_denoise_get_speakers (self);

  for (guint i = 0; i < pads->len; i++)
    gst_avatar_speaker_pad_set_flushing (pads->pdata[i], state);
}

void
gst_avatar_denoise_set_speakers_input (GstAvatarDenoise *self, GstAvatarSpeakerInput input)
{
  g_autoptr (GPtrArray) pads = gst_avatar_denoise_get_speakers (self);

  for (guint i = 0; i < pads->len; i++)
    gst_avatar_speaker_pad_set_input (pads->pdata[i], input);
}

/* All pads are told before the first flush arrives: it may come to several of them at once, and
 * features from before the seek must not meet those of the first speaker from after it. */
gboolean
gst_avatar_denoise_seek (GstAvatarDenoise *self, GstEvent *event)
{
  g_autoptr (GPtrArray) pads = gst_avatar_denoise_get_speakers (self);
  GstSeekFlags flags;
  gboolean ok;

  gst_event_parse_seek (event, NULL, NULL, &flags, NULL, NULL, NULL, NULL);
  for (guint i = 0; i < pads->len && flags & GST_SEEK_FLAG_FLUSH; i++)
    gst_avatar_speaker_pad_expect_flush (pads->pdata[i]);
  ok = gst_pad_push_event (self->sinkpad, gst_event_ref (event));
  for (guint i = 0; i < pads->len; i++)
    if (!ok || !gst_pad_push_event (pads->pdata[i], gst_event_ref (event)))
      gst_avatar_speaker_pad_expect_no_flush (pads->pdata[i]);
  gst_event_unref (event);
  return ok;
}
