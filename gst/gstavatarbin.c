/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avatarbin
 * @title: avatarbin
 * @short_description: makes a talking video from speech and a portrait
 *
 * Contains avataraudioenc, avatardenoise and avatarvaedecode, and what connects them. Audio of any
 * format enters at "audio_sink". The video leaves at "video", and the same audio at "audio",
 * unchanged unless #GstAvatarBin:continuous is set. The pad "audio" may stay unlinked.
 *
 * Every video frame has the PTS of the audio that it was made from. Audio leaves together with the
 * video of its time: a buffer is pushed once the frame in which it begins is pushed. Sinks without
 * a clock, and muxers of live streams, therefore get both at the same time, whatever the latency.
 * Both pads report the latency of the video.
 *
 * The properties of the three stages are properties of the bin. A property that several stages have
 * is set on all of them. The stages are children named "audioenc", "denoise" and "decode"
 * (#GstChildProxy), whose messages are forwarded.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=hello.wav ! decodebin ! avatarbin name=avatar \
 *     reference=portrait.png avatar.video ! queue ! videoconvert ! autovideosink \
 *     avatar.audio ! queue ! audioconvert ! audioresample ! autoaudiosink
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavatarbin.h"

#include "gst/gstavatarbinprops.h"
#include "gst/gstavatarreference.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarsync.h"
#include "gst/gstavatartimeline.h"
#include "gst/gstavatarvideocaps.h"

GST_DEBUG_CATEGORY_STATIC (avatar_bin_debug);
#define GST_CAT_DEFAULT avatar_bin_debug

enum
{
  PROP_PROFILE = 1,
  PROP_CONTINUOUS,
  PROP_MAX_AUDIO_LEAD,
  PROP_STATS,
};

/* Elements of the bin. The stages come first, in the order of the data flow. */
enum
{
  ENCODER,
  DENOISE,
  DECODER,
  TEE,
  CONVERT,
  RESAMPLE,
  AUDIO_QUEUE,
  N_CHILDREN
};

static const struct
{
  const gchar *factory, *name;
} child_table[N_CHILDREN] = {
  { "avataraudioenc", "audioenc" },
  { "avatardenoise", "denoise" },
  { "avatarvaedecode", "decode" },
  { "tee", "tee" },
  { "audioconvert", "convert" },
  { "audioresample", "resample" },
  { "queue", "audioqueue" },
};

struct _GstAvatarBin
{
  GstBin parent;
  GstElement *children[N_CHILDREN]; /* owned by the bin; %NULL if a plugin is missing */
  GstAvatarSync *sync;
  GstPad *sink;
  GstAvatarProfile profile; /* guarded by the object lock */
  GstElement *timeline;     /* (nullable): if continuous; owned by the bin */
};

static GstStaticPadTemplate audio_sink_template = GST_STATIC_PAD_TEMPLATE ("audio_sink",
    GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS ("audio/x-raw"));

static GstStaticPadTemplate reference_template = GST_STATIC_PAD_TEMPLATE ("reference", GST_PAD_SINK,
    GST_PAD_REQUEST, GST_STATIC_CAPS (GST_AVATAR_REFERENCE_CAPS));

static GstStaticPadTemplate video_template = GST_STATIC_PAD_TEMPLATE ("video", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_VIDEO_CAPS));

static GstStaticPadTemplate audio_template = GST_STATIC_PAD_TEMPLATE ("audio", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS ("audio/x-raw"));

#define gst_avatar_bin_parent_class parent_class
G_DEFINE_TYPE (GstAvatarBin, gst_avatar_bin, GST_TYPE_BIN)
GST_ELEMENT_REGISTER_DEFINE (avatarbin, "avatarbin", GST_RANK_NONE, GST_TYPE_AVATAR_BIN)

/* Returns the factory of a child that could not be made, or %NULL. */
static const gchar *
missing_factory (GstAvatarBin *self)
{
  for (guint i = 0; i < N_CHILDREN; i++)
    if (!self->children[i])
      return child_table[i].factory;
  return NULL;
}

static GstPad *
gst_avatar_bin_request_new_pad (GstElement *element, GstPadTemplate *template, const gchar *name,
    const GstCaps *caps)
{
  GstAvatarBin *self = GST_AVATAR_BIN (element);
  g_autoptr (GstPad) target = NULL;
  GstPad *pad;

  if (!missing_factory (self))
    target = gst_element_request_pad_simple (self->children[DENOISE], "reference");
  if (!target)
    return NULL;
  pad = gst_ghost_pad_new_from_template ("reference", target, template);
  gst_pad_set_active (pad, TRUE);
  gst_element_add_pad (element, pad);
  return pad;
}

static void
gst_avatar_bin_release_pad (GstElement *element, GstPad *pad)
{
  g_autoptr (GstPad) target = gst_ghost_pad_get_target (GST_GHOST_PAD (pad));
  g_autoptr (GstElement) denoise = target ? gst_pad_get_parent_element (target) : NULL;

  gst_pad_set_active (pad, FALSE);
  gst_element_remove_pad (element, pad);
  if (denoise) /* while the bin is disposed of, the children are already gone */
    gst_element_release_request_pad (denoise, target);
}

/* Sends downstream events to the audio, so that flushes and custom events pass all stages.
 * Continuous audio ends after what has been received. */
static gboolean
gst_avatar_bin_send_event (GstElement *element, GstEvent *event)
{
  GstAvatarBin *self = GST_AVATAR_BIN (element);

  if (GST_EVENT_TYPE (event) == GST_EVENT_EOS && self->timeline) {
    gst_avatar_timeline_end (self->timeline);
    gst_event_unref (event);
    return TRUE;
  }
  if (GST_EVENT_IS_DOWNSTREAM (event) && self->sink)
    return gst_pad_send_event (self->sink, event);
  return GST_ELEMENT_CLASS (parent_class)->send_event (element, event);
}

static GstStateChangeReturn
gst_avatar_bin_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarBin *self = GST_AVATAR_BIN (element);
  const gchar *missing = missing_factory (self);

  if (transition == GST_STATE_CHANGE_NULL_TO_READY && missing) {
    GST_ELEMENT_ERROR (self, CORE, MISSING_PLUGIN,
        ("element %s is missing; expected the base plugins of GStreamer: install them", missing),
        (NULL));
    return GST_STATE_CHANGE_FAILURE;
  }
  return GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
}

/* Adds the timeline before the tee, or removes it. */
static void
set_continuous (GstAvatarBin *self, gboolean continuous)
{
  g_autoptr (GstPad) target = NULL;
  GError *error = NULL;

  if (continuous == (self->timeline != NULL))
    return;
  if (GST_STATE (self) > GST_STATE_READY) {
    GST_ELEMENT_WARNING (self, RESOURCE, SETTINGS,
        ("continuous was set while playing and is ignored: set it in state NULL or READY"), (NULL));
    return;
  }
  gst_ghost_pad_set_target (GST_GHOST_PAD (self->sink), NULL);
  if (continuous) {
    self->timeline = gst_avatar_timeline_new (&error);
    if (!self->timeline) {
      gst_avatar_report_error (self, error);
      return;
    }
    gst_bin_add (GST_BIN (self), self->timeline);
    gst_element_link_pads (self->timeline, "src", self->children[TEE], "sink");
    gst_element_sync_state_with_parent (self->timeline);
    target = gst_element_get_static_pad (self->timeline, "sink");
    GST_OBJECT_FLAG_SET (self, GST_ELEMENT_FLAG_SOURCE);
  } else {
    gst_element_set_state (self->timeline, GST_STATE_NULL);
    gst_bin_remove (GST_BIN (self), self->timeline);
    self->timeline = NULL;
    target = gst_element_get_static_pad (self->children[TEE], "sink");
    GST_OBJECT_FLAG_UNSET (self, GST_ELEMENT_FLAG_SOURCE);
  }
  gst_ghost_pad_set_target (GST_GHOST_PAD (self->sink), target);
}

static void
set_profile (GstAvatarBin *self, GstAvatarProfile profile)
{
  GError *error = NULL;
  gboolean running;

  GST_OBJECT_LOCK (self);
  running = GST_STATE (self) > GST_STATE_READY;
  if (!running)
    self->profile = profile;
  GST_OBJECT_UNLOCK (self);
  if (running)
    GST_ELEMENT_WARNING (self, RESOURCE, SETTINGS,
        ("profile was set while playing and is ignored: set it in state NULL or READY"), (NULL));
  else if (!gst_avatar_bin_props_load (self->children, profile, &error))
    gst_avatar_report_warning (self, error);
}

static void
gst_avatar_bin_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  GstAvatarBin *self = GST_AVATAR_BIN (object);

  if (missing_factory (self))
    return; /* reported by the change of state */
  if (gst_avatar_bin_props_set (self->children, value, pspec))
    return;
  switch (id) {
    case PROP_PROFILE:
      set_profile (self, g_value_get_enum (value));
      break;
    case PROP_CONTINUOUS:
      set_continuous (self, g_value_get_boolean (value));
      break;
    case PROP_MAX_AUDIO_LEAD:
      gst_avatar_sync_set_max_lead (self->sync, g_value_get_uint64 (value));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
}

/* Returns a structure with a field for each stage that has statistics. */
static GstStructure *
get_stats (GstAvatarBin *self)
{
  GstStructure *all = gst_structure_new_empty ("avatar-stats");

  for (guint i = 0; i < GST_AVATAR_BIN_STAGES; i++) {
    g_autoptr (GstStructure) stats = NULL;

    g_object_get (self->children[i], "stats", &stats, NULL);
    if (stats)
      gst_structure_set (all, child_table[i].name, GST_TYPE_STRUCTURE, stats, NULL);
  }
  return all;
}

static void
gst_avatar_bin_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarBin *self = GST_AVATAR_BIN (object);

  if (missing_factory (self) || gst_avatar_bin_props_get (self->children, value, pspec))
    return;
  switch (id) {
    case PROP_PROFILE:
      GST_OBJECT_LOCK (self);
      g_value_set_enum (value, self->profile);
      GST_OBJECT_UNLOCK (self);
      break;
    case PROP_CONTINUOUS:
      g_value_set_boolean (value, self->timeline != NULL);
      break;
    case PROP_MAX_AUDIO_LEAD:
      g_value_set_uint64 (value, gst_avatar_sync_get_max_lead (self->sync));
      break;
    case PROP_STATS:
      g_value_take_boxed (value, get_stats (self));
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
}

static void
install_properties (GObjectClass *object_class)
{
  /**
   * GstAvatarBin:profile:
   *
   * Sets the properties that the presets of the same name set, in all stages: windows, overlap,
   * tiles and others. Properties that are set afterwards override it. The default sets nothing.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_PROFILE,
      g_param_spec_enum ("profile", "Profile",
          "Load the presets of the same name into all stages; properties that are set afterwards "
          "override them; quality has the values of a new element",
          GST_TYPE_AVATAR_PROFILE, GST_AVATAR_PROFILE_QUALITY,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  /**
   * GstAvatarBin:continuous:
   *
   * Makes continuous audio from a source that pauses, ends, starts again or jumps in time, by the
   * clock of the pipeline. The pipeline becomes live. Audio plays 100 ms after it arrives, the rest
   * is silence. Audio that arrives without a pause has no gaps, also if the machine is too slow;
   * holes of its time stamps of up to a second are silence. A source that is faster than the clock
   * waits with a second of audio in the bin, which a flush and the event avatar-clear drop. The end
   * of a source does not end the stream; EOS that is sent to the bin or to the pipeline does, after
   * the audio that has arrived. The audio is converted to 48 kHz and two channels.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_CONTINUOUS,
      g_param_spec_boolean ("continuous", "Continuous",
          "Make a live stream without gaps from a source that may pause, end, start again or jump in "
          "time: audio plays when it arrives, with silence between; only EOS that is sent to the bin "
          "or to the pipeline ends the stream",
          FALSE, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY));
  /**
   * GstAvatarBin:max-audio-lead:
   *
   * Audio leaves with the video frame in which it begins. A muxer may hold back this frame until an
   * audio encoder, which needs more audio, has made a packet. The audio may then precede the video
   * by as much as this encoder needs, up to this time.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_MAX_AUDIO_LEAD,
      g_param_spec_uint64 ("max-audio-lead", "Maximum lead of the audio",
          "Largest time by which audio may leave before the video if downstream holds back a frame "
          "until it has more audio, as a muxer after an audio encoder does (ns); 0 = none",
          0, G_MAXINT64, GST_AVATAR_SYNC_MAX_LEAD_DEFAULT,
          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING));
  /**
   * GstAvatarBin:stats:
   *
   * Statistics of all stages: a #GstStructure with the fields "audioenc", "denoise" and "decode",
   * each the property stats of this stage.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "Statistics of the stages: a structure with the fields audioenc, denoise and decode, each "
          "the property stats of this stage",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  gst_avatar_bin_props_install (object_class);
}

static void
gst_avatar_bin_class_init (GstAvatarBinClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);

  object_class->set_property = gst_avatar_bin_set_property;
  object_class->get_property = gst_avatar_bin_get_property;
  install_properties (object_class);

  gst_element_class_set_static_metadata (element_class, "Avatar bin",
      "Generic/Bin/Converter/Audio/Video", "Makes a talking video from speech and a portrait",
      "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &audio_sink_template);
  gst_element_class_add_static_pad_template (element_class, &reference_template);
  gst_element_class_add_static_pad_template (element_class, &video_template);
  gst_element_class_add_static_pad_template (element_class, &audio_template);
  element_class->request_new_pad = GST_DEBUG_FUNCPTR (gst_avatar_bin_request_new_pad);
  element_class->release_pad = GST_DEBUG_FUNCPTR (gst_avatar_bin_release_pad);
  element_class->send_event = GST_DEBUG_FUNCPTR (gst_avatar_bin_send_event);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_avatar_bin_change_state);

  GST_DEBUG_CATEGORY_INIT (avatar_bin_debug, "avatarbin", 0, "Avatar bin");
}

/* Refuses queries that a queue would answer only after all of its audio has left, which waits for
 * video, which waits for audio. */
static GstPadProbeReturn
refuse_serialized_query (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_QUERY_IS_SERIALIZED (GST_PAD_PROBE_INFO_QUERY (info)) ? GST_PAD_PROBE_DROP
                                                                   : GST_PAD_PROBE_OK;
}

static GstPad *
add_ghost (GstAvatarBin *self, GstElement *child, const gchar *pad_name,
    GstStaticPadTemplate *template)
{
  g_autoptr (GstPad) target = gst_element_get_static_pad (child, pad_name);
  g_autoptr (GstPadTemplate) pad_template = gst_static_pad_template_get (template);
  GstPad *pad = gst_ghost_pad_new_from_template (template->name_template, target, pad_template);

  gst_element_add_pad (GST_ELEMENT (self), pad);
  return pad;
}

/* The audio queue has no limit: it holds the audio of the video that is being computed, which the
 * queues of the stages limit. */
static void
link_children (GstAvatarBin *self)
{
  GstElement **child = self->children;
  GstElement *sync = GST_ELEMENT (self->sync);
  g_autoptr (GstPad) tee_sink = gst_element_get_static_pad (child[TEE], "sink");
  gboolean ok;

  g_object_set (child[TEE], "allow-not-linked", TRUE, NULL);
  g_object_set (child[AUDIO_QUEUE], "max-size-buffers", 0, "max-size-bytes", 0, "max-size-time",
      G_GUINT64_CONSTANT (0), NULL);
  gst_pad_add_probe (tee_sink, GST_PAD_PROBE_TYPE_QUERY_DOWNSTREAM, refuse_serialized_query, NULL,
      NULL);
  ok = gst_element_link_many (child[TEE], child[CONVERT], child[RESAMPLE], child[ENCODER],
      child[DENOISE], child[DECODER], NULL);
  ok = gst_element_link_pads (child[DECODER], "src", sync, "video_sink") && ok;
  ok = gst_element_link_pads (child[TEE], NULL, child[AUDIO_QUEUE], "sink") && ok;
  ok = gst_element_link_pads (child[AUDIO_QUEUE], "src", sync, "audio_sink") && ok;
  g_assert (ok);
}

/* Announces a change of a stage's property as one of the bin. */
static void
on_notify (GObject *stage, GParamSpec *pspec, gpointer self)
{
  if (gst_avatar_bin_props_has (self, pspec->name))
    g_object_notify (self, pspec->name);
}

static void
gst_avatar_bin_init (GstAvatarBin *self)
{
  self->sync = g_object_new (GST_TYPE_AVATAR_SYNC, "name", "sync", NULL);
  gst_bin_add (GST_BIN (self), GST_ELEMENT (self->sync));
  for (guint i = 0; i < N_CHILDREN; i++) {
    self->children[i] = gst_element_factory_make (child_table[i].factory, child_table[i].name);
    if (self->children[i])
      gst_bin_add (GST_BIN (self), self->children[i]);
  }
  if (missing_factory (self))
    return;
  for (guint i = 0; i < GST_AVATAR_BIN_STAGES; i++)
    g_signal_connect_object (self->children[i], "notify", G_CALLBACK (on_notify), self, 0);
  link_children (self);
  self->sink = add_ghost (self, self->children[TEE], "sink", &audio_sink_template);
  add_ghost (self, GST_ELEMENT (self->sync), "video_src", &video_template);
  add_ghost (self, GST_ELEMENT (self->sync), "audio_src", &audio_template);
}
