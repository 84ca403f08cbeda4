/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avatardenoise
 * @title: avatardenoise
 * @short_description: denoises latent frames of a talking video from audio features and a portrait
 *
 * Denoises the latent frames of a talking video. The input are features of avataraudioenc and a
 * portrait, which is a file (#GstAvatarDenoise:reference) or a picture on the request pad
 * "reference". Windows are computed one after another in a task of the element; each latent frame
 * is pushed once and in order. Downstream's caps choose the size of the video; without a
 * restriction it follows from the portrait.
 *
 * A portrait may have several faces. The first speaker has the pad "sink" and the property
 * #GstAvatarDenoise:face-box; each further one, of up to three, has a request pad "sink_%u" with
 * features of its own and the pad property "face-box" or "face-mask". The first stream leads: the
 * video is as long as it, and features of the others belong to the frame of the same running time.
 * Where another stream has not begun, has a gap or has ended, its face is silent. Each stream needs
 * a queue element, as all streams that meet in one element do.
 *
 * Prompts, seed, steps, guidance, motion, face box and portrait may change while playing; the
 * portrait also by another picture on the request pad. Changes take effect with the next window,
 * which the element message "avatar-settings" announces. The size of the video does not change.
 *
 * The custom event avatar-clear (downstream, out of band or serialized; sent to this element, or to
 * avataraudioenc or an element before it) drops the speech that was received and is not yet
 * denoised. The face becomes idle, the stream continues without a gap, and portrait, held latents
 * and settings stay. The element message avatar-cleared answers at once; it has the event's own
 * fields and its number, and the position up to which the video follows the speech.
 *
 * On a GPU the weights need not fit into memory: within #GstAvatarDenoise:vram-budget as many as
 * possible stay there, the others are streamed in every step. The video is the same.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 -e filesrc location=hello.wav ! decodebin ! audioconvert ! audioresample \
 *     ! avataraudioenc ! avatardenoise reference=portrait.png ! avatarvaedecode ! videoconvert \
 *     ! x264enc ! mp4mux ! filesink location=silent.mp4
 * ]|
 * Two speakers:
 * |[
 * gst-launch-1.0 -e avatardenoise name=d reference=two.png face-box=40,40,90,90 \
 *     sink_0::face-box=170,40,90,90 ! avatarvaedecode ! videoconvert ! x264enc ! mp4mux \
 *     ! filesink location=silent.mp4 \
 *     filesrc location=a.wav ! decodebin ! audioconvert ! audioresample ! avataraudioenc ! queue \
 *     ! d.sink \
 *     filesrc location=b.wav ! decodebin ! audioconvert ! audioresample ! avataraudioenc ! queue \
 *     ! d.sink_0
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavatardenoise.h"

#include "gst/gstavatarclear.h"
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarquery.h"
#include "gst/gstavatarreport.h"

#include <string.h>

GST_DEBUG_CATEGORY (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

/* Largest number of queued features; the engine holds another window of them. */
#define MAX_QUEUED_FEATURES 258

static GstStaticPadTemplate sink_template = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

static GstStaticPadTemplate speaker_template = GST_STATIC_PAD_TEMPLATE ("sink_%u", GST_PAD_SINK,
    GST_PAD_REQUEST, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

static GstStaticPadTemplate reference_template = GST_STATIC_PAD_TEMPLATE ("reference", GST_PAD_SINK,
    GST_PAD_REQUEST, GST_STATIC_CAPS (GST_AVATAR_REFERENCE_CAPS));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

static void gst_avatar_denoise_child_proxy_init (gpointer iface, gpointer data);

#define gst_avatar_denoise_parent_class parent_class
G_DEFINE_TYPE_WITH_CODE (GstAvatarDenoise, gst_avatar_denoise, GST_TYPE_ELEMENT,
    G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, gst_avatar_preset_init)
        G_IMPLEMENT_INTERFACE (GST_TYPE_CHILD_PROXY, gst_avatar_denoise_child_proxy_init))
GST_ELEMENT_REGISTER_DEFINE (avatardenoise, "avatardenoise", GST_RANK_NONE, GST_TYPE_AVATAR_DENOISE)

static GObject *
get_child (GstChildProxy *proxy, guint index)
{
  g_autoptr (GPtrArray) pads = gst_avatar_denoise_get_speakers (GST_AVATAR_DENOISE (proxy));

  return index < pads->len ? g_object_ref (pads->pdata[index]) : NULL;
}

static guint
count_children (GstChildProxy *proxy)
{
  g_autoptr (GPtrArray) pads = gst_avatar_denoise_get_speakers (GST_AVATAR_DENOISE (proxy));

  return pads->len;
}

/* The pads of further speakers are children, so that sink_0::face-box sets a property of one. */
static void
gst_avatar_denoise_child_proxy_init (gpointer iface, gpointer data)
{
  GstChildProxyInterface *proxy = iface;

  proxy->get_child_by_index = get_child;
  proxy->get_children_count = count_children;
}

static void
stop_computing (GstAvatarDenoise *self)
{
  gst_avatar_denoise_set_speakers_flushing (self, GST_FLOW_FLUSHING);
  gst_avatar_item_queue_set_state (&self->items, GST_FLOW_FLUSHING, self->srcpad);
  gst_avatar_reference_start_flush (&self->reference);
  gst_avatar_denoise_task_cancel (self);
}

static void
start_computing (GstAvatarDenoise *self)
{
  gst_avatar_denoise_set_speakers_input (self, GST_AVATAR_SPEAKER_INPUT_QUEUE);
  gst_avatar_denoise_set_speakers_flushing (self, GST_FLOW_OK);
  gst_avatar_reference_stop_flush (&self->reference);
  gst_avatar_item_queue_set_state (&self->items, GST_FLOW_OK, NULL);
  gst_pad_start_task (self->srcpad, gst_avatar_denoise_task_loop, self, NULL);
}

static gboolean
gst_avatar_denoise_src_activate_mode (GstPad *pad, GstObject *parent, GstPadMode mode,
    gboolean active)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  if (mode != GST_PAD_MODE_PUSH)
    return FALSE;
  if (active) {
    start_computing (self);
    return TRUE;
  }
  stop_computing (self);
  return gst_pad_stop_task (pad);
}

static GstFlowReturn
gst_avatar_denoise_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  gst_avatar_denoise_clear_arrive (self, buffer);
  return gst_avatar_item_queue_push (&self->items, GST_MINI_OBJECT (buffer));
}

static gboolean
check_segment (GstAvatarDenoise *self, GstEvent *event)
{
  const GstSegment *segment;
  gboolean backward, known;

  gst_event_parse_segment (event, &segment);
  backward = segment->rate < 0;
  known = segment->format == GST_FORMAT_TIME || segment->format == GST_FORMAT_BYTES;
  if (known && !backward)
    return TRUE;
  GST_ELEMENT_ERROR (self, STREAM, FORMAT,
      ("the features have a segment in %s that runs %s: expected time or bytes, forward; set "
       "format=time on the source, or seek with a rate above 0",
          gst_format_get_name (segment->format), backward ? "backward" : "forward"),
      (NULL));
  return FALSE;
}

static void
flush_stop (GstAvatarDenoise *self)
{
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (self->sinkpad);

  gst_avatar_denoise_task_restart (self);
  gst_avatar_processing_element_restart (&self->client.processing, GST_ELEMENT (self));
  gst_avatar_lateness_flush (&self->late.lateness, GST_ELEMENT (self));
  gst_avatar_denoise_clear_flushed (self);
  start_computing (self);
  /* Repeats the caps event, which the flush may have dropped; upstream does not send it again. */
  if (caps && !(self->have_reference && gst_caps_is_equal (caps, self->caps)))
    gst_avatar_item_queue_push (&self->items, GST_MINI_OBJECT (gst_event_new_caps (caps)));
}

static GstFlowReturn
flow_of (gboolean done)
{
  return done ? GST_FLOW_OK : GST_FLOW_ERROR;
}

/* Returns the reason if the queue refuses an event: upstream fails if a sticky event is refused
 * without one, and a queue is closed before the pad when the element stops. */
static GstFlowReturn
gst_avatar_denoise_sink_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  gboolean ret;

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      ret = gst_pad_push_event (self->srcpad, event);
      stop_computing (self);
      gst_pad_pause_task (self->srcpad);
      return flow_of (ret);
    case GST_EVENT_FLUSH_STOP:
      ret = gst_pad_push_event (self->srcpad, event);
      flush_stop (self);
      return flow_of (ret);
    case GST_EVENT_SEGMENT:
      if (!check_segment (self, event)) {
        gst_event_unref (event);
        return GST_FLOW_ERROR;
      }
      gst_avatar_denoise_clear_arrive_segment (self, event);
      break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
    case GST_EVENT_CUSTOM_DOWNSTREAM_OOB:
      if (gst_avatar_clear_is (event))
        return flow_of (gst_avatar_denoise_clear_take_event (self, event));
      break;
    default:
      break;
  }
  if (!GST_EVENT_IS_SERIALIZED (event))
    return flow_of (gst_pad_event_default (pad, parent, event));
  return gst_avatar_item_queue_push (&self->items, GST_MINI_OBJECT (event));
}

static gboolean
accept_caps (GstAvatarDenoise *self, GstCaps *caps)
{
  const AvatarModelInfo *info;
  GstAvatarFeatureInfo features;
  g_autoptr (GError) error = NULL;

  if (!gst_avatar_caps_parse_features (caps, NULL, &features, &error)) {
    GST_WARNING_OBJECT (self, "%s", error->message);
    return FALSE;
  }
  if (!self->client.engine)
    return TRUE;
  info = self->client.engine->info;
  return features.steps == info->feature_steps && features.states == info->feature_states
      && features.channels == info->feature_channels;
}

static GstCaps *
query_caps (GstAvatarDenoise *self, GstCaps *filter)
{
  GstCaps *caps, *ret;

  if (self->client.engine) {
    const AvatarModelInfo *info = self->client.engine->info;
    GstAvatarFeatureInfo features
        = { info->feature_steps, info->feature_states, info->feature_channels, 0, 0 };
    caps = gst_avatar_caps_new_features (&features, NULL);
  } else {
    caps = gst_static_pad_template_get_caps (&sink_template);
  }
  if (!filter)
    return caps;
  ret = gst_caps_intersect_full (filter, caps, GST_CAPS_INTERSECT_FIRST);
  gst_caps_unref (caps);
  return ret;
}

static gboolean
gst_avatar_denoise_sink_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  GstAvatarPortions portions;
  GstCaps *caps;

  switch (GST_QUERY_TYPE (query)) {
    case GST_QUERY_ACCEPT_CAPS:
      gst_query_parse_accept_caps (query, &caps);
      gst_query_set_accept_caps_result (query, accept_caps (self, caps));
      return TRUE;
    case GST_QUERY_CAPS:
      gst_query_parse_caps (query, &caps);
      caps = query_caps (self, caps);
      gst_query_set_caps_result (query, caps);
      gst_caps_unref (caps);
      return TRUE;
    case GST_QUERY_CONTEXT:
      return gst_avatar_engine_client_query (&self->client, GST_ELEMENT (self), query)
          || gst_pad_query_default (pad, parent, query);
    case GST_QUERY_CUSTOM:
      if (self->client.engine && gst_avatar_denoise_get_portions (self, &portions)
          && gst_avatar_query_answer_portions (query, &portions))
        return TRUE;
      return !GST_QUERY_IS_SERIALIZED (query) && gst_pad_query_default (pad, parent, query);
    default:
      /* ALLOCATION and DRAIN would block for minutes while a window is computed. */
      if (GST_QUERY_IS_SERIALIZED (query))
        return FALSE;
      return gst_pad_query_default (pad, parent, query);
  }
}

/* Returns how many video frames a feature waits for the last one of its window. @arriving: features
 * that come at once. They have waited for each other already; if each window ends with such a
 * portion, they do not wait again. */
static guint
count_waiting (const GstAvatarPortions *windows, const GstAvatarPortions *arriving)
{
  guint longest = 0, begin = 0, end = windows->first, before;

  for (guint i = 0; i <= arriving->further; i++) { /* then the pattern repeats */
    guint portions = end > arriving->first
        ? (end - arriving->first + arriving->further - 1) / arriving->further
        : 0;

    longest = MAX (longest, arriving->first + portions * arriving->further - begin);
    begin = end;
    end += windows->further;
  }
  before = MAX (arriving->first, arriving->further);
  return longest > before ? longest - before : 0;
}

/* Adds the time that features wait, and the time to compute a window. Without measurement that is
 * the duration of a window: slower devices cannot process live sources. */
static void
add_latency (GstAvatarDenoise *self, GstQuery *query)
{
  const AvatarModelInfo *info = self->client.engine->info;
  GstClockTime min, max, own, queued, window;
  GstAvatarPortions windows, arriving;
  gboolean live;
  guint waiting;

  gst_query_parse_latency (query, &live, &min, &max);
  gst_avatar_denoise_get_portions (self, &windows);
  window = gst_util_uint64_scale_int (windows.first, GST_SECOND, info->fps);
  waiting = windows.first;
  if (live && windows.further > 0 && gst_avatar_query_portions (self->sinkpad, &arriving))
    waiting = count_waiting (&windows, &arriving);
  own = gst_util_uint64_scale_int (waiting, GST_SECOND, info->fps)
      + gst_avatar_processing_element_get (&self->client.processing, GST_ELEMENT (self), query,
          window);
  queued = gst_util_uint64_scale_int (MAX_QUEUED_FEATURES, GST_SECOND, info->fps);
  gst_query_set_latency (query, live, min + own,
      GST_CLOCK_TIME_IS_VALID (max) ? max + own + queued : GST_CLOCK_TIME_NONE);
  gst_avatar_lateness_take_query (&self->late.lateness, GST_ELEMENT (self), query);
}

static gboolean
gst_avatar_denoise_src_query (GstPad *pad, GstObject *parent, GstQuery *query)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  if (gst_avatar_engine_client_query (&self->client, GST_ELEMENT (self), query))
    return TRUE;
  if (self->failed && gst_avatar_query_answer_failed (query))
    return TRUE;
  if (!gst_pad_query_default (pad, parent, query))
    return FALSE;
  if (GST_QUERY_TYPE (query) == GST_QUERY_LATENCY && self->client.engine)
    add_latency (self, query);
  return TRUE;
}

static gboolean
gst_avatar_denoise_src_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);

  gst_avatar_lateness_take_event (&self->late.lateness, GST_ELEMENT (self), event);
  if (GST_EVENT_TYPE (event) == GST_EVENT_SEEK)
    return gst_avatar_denoise_seek (self, event);
  return gst_pad_event_default (pad, parent, event);
}

/* Returns 0 for the pads of speakers that have a peer, the first one in any case. */
static gint
compare_speaker (gconstpointer item, gconstpointer user_data)
{
  GstPad *pad = g_value_get_object (item);
  const GstAvatarDenoise *self = g_value_get_object (user_data);

  return pad == self->sinkpad || (GST_IS_AVATAR_SPEAKER_PAD (pad) && gst_pad_is_linked (pad)) ? 0
                                                                                              : 1;
}

/* Returns the pads of all speakers, to which events and queries from downstream go. */
static GstIterator *
iterate_speakers (GstAvatarDenoise *self)
{
  GValue value = G_VALUE_INIT;
  GstIterator *iterator;

  g_value_init (&value, GST_TYPE_ELEMENT);
  g_value_set_object (&value, self);
  iterator = gst_iterator_filter (gst_element_iterate_sink_pads (GST_ELEMENT (self)),
      compare_speaker, &value);
  g_value_unset (&value);
  return iterator;
}

/* Keeps seeks and queries of the stream from the reference pad. */
static GstIterator *
gst_avatar_denoise_links (GstPad *pad, GstObject *parent)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (parent);
  GValue value = G_VALUE_INIT;
  GstIterator *iterator;

  if (pad == self->srcpad && count_children (GST_CHILD_PROXY (self)) > 0)
    return iterate_speakers (self);
  if (pad != self->srcpad && pad != self->sinkpad)
    return NULL;
  g_value_init (&value, GST_TYPE_PAD);
  g_value_set_object (&value, pad == self->srcpad ? self->sinkpad : self->srcpad);
  iterator = gst_iterator_new_single (GST_TYPE_PAD, &value);
  g_value_unset (&value);
  return iterator;
}

static GstFlowReturn
gst_avatar_denoise_reference_chain (GstPad *pad, GstObject *parent, GstBuffer *buffer)
{
  return gst_avatar_reference_take_buffer (&GST_AVATAR_DENOISE (parent)->reference, buffer);
}

static gboolean
gst_avatar_denoise_reference_event (GstPad *pad, GstObject *parent, GstEvent *event)
{
  return gst_avatar_reference_take_event (&GST_AVATAR_DENOISE (parent)->reference, event);
}

static GstPad *
gst_avatar_denoise_request_new_pad (GstElement *element, GstPadTemplate *template,
    const gchar *name, const GstCaps *caps)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (element);
  GstPad *pad;

  if (strcmp (GST_PAD_TEMPLATE_NAME_TEMPLATE (template), "reference") != 0)
    return gst_avatar_denoise_add_speaker (self, template, name, gst_avatar_denoise_sink_query);
  GST_OBJECT_LOCK (self);
  pad = self->refpad;
  if (!pad)
    self->refpad = gst_pad_new_from_template (template, "reference");
  GST_OBJECT_UNLOCK (self);
  if (pad) {
    GST_WARNING_OBJECT (self, "a second reference pad was requested; expected one at most");
    return NULL;
  }
  gst_pad_set_chain_function (self->refpad, GST_DEBUG_FUNCPTR (gst_avatar_denoise_reference_chain));
  gst_pad_set_event_function (self->refpad, GST_DEBUG_FUNCPTR (gst_avatar_denoise_reference_event));
  gst_pad_set_iterate_internal_links_function (self->refpad,
      GST_DEBUG_FUNCPTR (gst_avatar_denoise_links));
  gst_pad_set_active (self->refpad, GST_STATE (self) >= GST_STATE_PAUSED);
  gst_element_add_pad (element, self->refpad);
  return self->refpad;
}

static void
gst_avatar_denoise_release_pad (GstElement *element, GstPad *pad)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (element);

  if (gst_avatar_denoise_remove_speaker (self, pad))
    return;
  GST_OBJECT_LOCK (self);
  self->refpad = NULL;
  GST_OBJECT_UNLOCK (self);
  gst_pad_set_active (pad, FALSE);
  gst_element_remove_pad (element, pad);
}

/* READY to PAUSED: reports all errors that can be found before the first buffer. */
static gboolean
open_all (GstAvatarDenoise *self)
{
  g_autofree gchar *path = NULL;
  gboolean has_pad, ok;
  GError *error = NULL;

  self->failed = FALSE;
  self->n_features_total = 0;
  GST_OBJECT_LOCK (self);
  gst_avatar_lateness_reset (&self->late.lateness);
  self->has_active = FALSE;
  self->changed = 0;
  ok = gst_avatar_denoise_props_load (&self->props, &error)
      && gst_avatar_denoise_props_check (&self->props, &error);
  path = g_strdup (self->props.reference);
  has_pad = self->refpad != NULL;
  GST_OBJECT_UNLOCK (self);

  ok = ok && gst_avatar_denoise_check_speakers (self, &error);
  if (ok && !has_pad && (!path || *path == '\0')) {
    ok = FALSE;
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "no portrait: set the property reference to a PNG or JPEG file, or link the reference pad");
  }
  if (ok && !has_pad)
    ok = gst_avatar_reference_load (&self->reference, path, &error);
  if (!ok) {
    gst_avatar_report_error (self, error);
    return FALSE;
  }
  return gst_avatar_engine_client_open (&self->client, GST_ELEMENT (self));
}

static void
close_all (GstAvatarDenoise *self)
{
  gst_avatar_denoise_task_close (self);
  GST_OBJECT_LOCK (self);
  self->has_active = FALSE;
  GST_OBJECT_UNLOCK (self);
  gst_avatar_reference_reset (&self->reference);
  gst_avatar_denoise_forget_speakers (self);
  g_clear_pointer (&self->silence, g_free);
  gst_avatar_engine_client_close (&self->client, GST_ELEMENT (self));
}

static GstStateChangeReturn
gst_avatar_denoise_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (element);
  GstStateChangeReturn ret;

  if (transition == GST_STATE_CHANGE_READY_TO_PAUSED) {
    gst_avatar_denoise_task_restart (self);
    gst_avatar_denoise_clear_init (self);
    if (!open_all (self)) {
      close_all (self);
      return GST_STATE_CHANGE_FAILURE;
    }
  }
  /* Stops before chaining up, which waits for the streaming threads. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY)
    stop_computing (self);
  ret = GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY
      || (transition == GST_STATE_CHANGE_READY_TO_PAUSED && ret == GST_STATE_CHANGE_FAILURE))
    close_all (self);
  return ret;
}

/* The default function sends events from the source pad, past the element. */
static gboolean
gst_avatar_denoise_send_event (GstElement *element, GstEvent *event)
{
  if (gst_avatar_clear_is (event))
    return gst_pad_send_event (GST_AVATAR_DENOISE (element)->sinkpad, event);
  return GST_ELEMENT_CLASS (parent_class)->send_event (element, event);
}

static void
gst_avatar_denoise_set_context (GstElement *element, GstContext *context)
{
  gst_avatar_engine_client_set_context (&GST_AVATAR_DENOISE (element)->client, element, context);
  GST_ELEMENT_CLASS (parent_class)->set_context (element, context);
}

static void
gst_avatar_denoise_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (object);
  gboolean ours;

  if (gst_avatar_engine_client_set_property (&self->client, GST_ELEMENT (self), value, pspec))
    return;
  GST_OBJECT_LOCK (self);
  ours = gst_avatar_denoise_props_set (&self->props, id, value);
  GST_OBJECT_UNLOCK (self);
  if (ours)
    gst_avatar_denoise_property_set (self, id, pspec);
  else
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
gst_avatar_denoise_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (object);
  gboolean ours;

  if (gst_avatar_engine_client_get_property (&self->client, GST_ELEMENT (self), value, pspec))
    return;
  GST_OBJECT_LOCK (self);
  ours = gst_avatar_denoise_props_get (&self->props, id, value);
  GST_OBJECT_UNLOCK (self);
  if (!ours)
    G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
}

static void
gst_avatar_denoise_finalize (GObject *object)
{
  GstAvatarDenoise *self = GST_AVATAR_DENOISE (object);

  gst_avatar_denoise_task_close (self);
  gst_avatar_item_queue_clear (&self->items);
  gst_avatar_reference_clear (&self->reference);
  gst_avatar_denoise_props_clear (&self->props);
  gst_avatar_denoise_props_clear (&self->active);
  gst_avatar_faces_clear (&self->faces);
  g_ptr_array_unref (self->speakers);
  g_ptr_array_unref (self->voices);
  gst_avatar_engine_client_clear (&self->client, GST_ELEMENT (self));
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_avatar_denoise_class_init (GstAvatarDenoiseClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  object_class->set_property = gst_avatar_denoise_set_property;
  object_class->get_property = gst_avatar_denoise_get_property;
  object_class->finalize = gst_avatar_denoise_finalize;
  /**
   * GstAvatarDenoise:model:
   *
   * Path of the model's folder.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarDenoise:device:
   *
   * Compute device. Elements with the same model and device share one engine.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarDenoise:vram-budget:
   *
   * Maximum memory to use on the device. It may change while playing.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarDenoise:stats:
   *
   * Statistics of the newest window or tile: a #GstStructure with the fields of the element message
   * "avatar-window".
   *
   * Since: 0.1
   */
  /**
   * GstAvatarDenoise:processing-latency:
   *
   * Time for computing a window in the answer to the LATENCY query. If it is measured, the first
   * window of a live stream sets it, later ones only raise it, and a LATENCY message tells each
   * change. While nothing was measured, and if the pipeline is not live, it is the duration of a
   * window.
   *
   * Since: 0.1
   */
  gst_avatar_engine_install_properties (object_class);
  gst_avatar_denoise_props_install (object_class);

  gst_element_class_set_static_metadata (element_class, "Avatar denoiser",
      "Filter/Converter/Audio/Video",
      "Denoises latent frames of a talking video from audio features and a portrait",
      "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template_with_gtype (element_class, &speaker_template,
      GST_TYPE_AVATAR_SPEAKER_PAD);
  gst_element_class_add_static_pad_template (element_class, &reference_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_avatar_denoise_change_state);
  element_class->set_context = GST_DEBUG_FUNCPTR (gst_avatar_denoise_set_context);
  element_class->send_event = GST_DEBUG_FUNCPTR (gst_avatar_denoise_send_event);
  element_class->request_new_pad = GST_DEBUG_FUNCPTR (gst_avatar_denoise_request_new_pad);
  element_class->release_pad = GST_DEBUG_FUNCPTR (gst_avatar_denoise_release_pad);

  GST_DEBUG_CATEGORY_INIT (avatar_denoise_debug, "avatardenoise", 0, "Avatar denoiser");
}

static void
gst_avatar_denoise_init (GstAvatarDenoise *self)
{
  gst_avatar_engine_client_init (&self->client);
  gst_avatar_denoise_props_init (&self->props);
  gst_avatar_reference_init (&self->reference);
  self->speakers = g_ptr_array_new_with_free_func (gst_object_unref);
  self->voices = g_ptr_array_new_with_free_func (gst_object_unref);
  gst_avatar_item_queue_init (&self->items, MAX_QUEUED_FEATURES);
  gst_avatar_denoise_clear_init (self);
  gst_avatar_denoise_task_restart (self);
  gst_avatar_denoise_late_reset (self);
  gst_avatar_lateness_reset (&self->late.lateness);

  self->sinkpad = gst_pad_new_from_static_template (&sink_template, "sink");
  gst_pad_set_chain_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_avatar_denoise_chain));
  gst_pad_set_event_full_function (self->sinkpad,
      GST_DEBUG_FUNCPTR (gst_avatar_denoise_sink_event));
  gst_pad_set_query_function (self->sinkpad, GST_DEBUG_FUNCPTR (gst_avatar_denoise_sink_query));
  gst_pad_set_iterate_internal_links_function (self->sinkpad,
      GST_DEBUG_FUNCPTR (gst_avatar_denoise_links));
  gst_element_add_pad (GST_ELEMENT (self), self->sinkpad);

  self->srcpad = gst_pad_new_from_static_template (&src_template, "src");
  gst_pad_set_activatemode_function (self->srcpad,
      GST_DEBUG_FUNCPTR (gst_avatar_denoise_src_activate_mode));
  gst_pad_set_event_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_avatar_denoise_src_event));
  gst_pad_set_query_function (self->srcpad, GST_DEBUG_FUNCPTR (gst_avatar_denoise_src_query));
  gst_pad_set_iterate_internal_links_function (self->srcpad,
      GST_DEBUG_FUNCPTR (gst_avatar_denoise_links));
  gst_element_add_pad (GST_ELEMENT (self), self->srcpad);
}
