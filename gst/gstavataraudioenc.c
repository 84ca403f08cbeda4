/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avataraudioenc
 * @title: avataraudioenc
 * @short_description: encodes speech to audio features for avatardenoise
 *
 * Encodes 16 kHz audio to one tensor of features per video frame (40 ms), in NNStreamer's format
 * other/tensors. Gaps become silence; features that consist of a gap only are flagged GAP. The
 * features cover all of the audio: the last frame is padded with silence.
 *
 * Channels are mixed to mono as audioconvert does if their positions are known, else by their
 * average. If they cancel each other out, the loudest channel is used, and a warning is posted.
 *
 * Time stamps of the output rise by 40 ms from frame to frame, and follow the clock of the input.
 * Jitter of up to 40 ms is ignored. A larger difference that lasts for a second is corrected by
 * inserting silence or by dropping samples. A clock that is up to 4 % fast or slow is followed
 * within 100 ms, besides its jitter. Time stamps of a clock that is slower by more than 5 % are
 * considered wrong, as those of ADPCM in WAV files are: they are ignored, and a warning is posted.
 * A flush, a new segment, a hole of more than a minute, and a jump back by more than a second start
 * a new stream.
 *
 * The custom event avatar-clear (downstream, out of band or serialized) drops the audio that was
 * received and is not yet in the video: see the element avatardenoise.
 *
 * The encoder processes windows of up to 30 s, so the features of a short file follow its EOS. Set
 * #GstAvatarAudioEnc:align-windows and #GstAvatarAudioEnc:lookahead for live streams. Features of a
 * window are then complete at the moment when the denoiser can begin its own.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=hello.wav ! decodebin ! audioconvert ! audioresample \
 *     ! avataraudioenc ! gdppay ! filesink location=hello.features
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavataraudioencprivate.h"
#include "gst/gstavatarclear.h"
#include "gst/gstavataroutput.h"
#include "gst/gstavatarquery.h"
#include "gst/gstavatarreport.h"

#include <math.h>

GST_DEBUG_CATEGORY (avatar_audio_enc_debug);
#define GST_CAT_DEFAULT avatar_audio_enc_debug

enum
{
  PROP_WINDOW_FRAMES = GST_AVATAR_PROP_LAST,
  PROP_CONTEXT,
  PROP_LOOKAHEAD,
  PROP_FIRST_WINDOW_FRAMES,
  PROP_ALIGN_WINDOWS,
  PROP_UPSTREAM_ROUNDING,
  PROP_SILENCE_LEVEL,
};

#define DEFAULT_SILENCE_LEVEL -60.

static const GstAvatarAlias aliases[]
    = { { "window", "window-frames" }, { "parity", "upstream-rounding" }, { NULL, NULL } };

static GstStaticPadTemplate sink_template
    = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS,
        GST_STATIC_CAPS ("audio/x-raw, format=(string){ " GST_AUDIO_NE (F32) ", " GST_AUDIO_NE (
            S16) " }, rate=(int)16000, channels=(int)[ 1, 64 ], layout=(string)interleaved"));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

#define gst_avatar_audio_enc_parent_class parent_class
G_DEFINE_TYPE_WITH_CODE (GstAvatarAudioEnc, gst_avatar_audio_enc, GST_TYPE_BASE_TRANSFORM,
    G_IMPLEMENT_INTERFACE (GST_TYPE_PRESET, gst_avatar_preset_init))
GST_ELEMENT_REGISTER_DEFINE (avataraudioenc, "avataraudioenc", GST_RANK_NONE,
    GST_TYPE_AVATAR_AUDIO_ENC)

static GstFlowReturn
gst_avatar_audio_enc_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont,
    GstBuffer *input)
{
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (parent_class);
  GstFlowReturn ret = trans_class->submit_input_buffer (trans, is_discont, input);
  g_autoptr (GstBuffer) queued = NULL;

  if (ret != GST_FLOW_OK || !trans->queued_buf)
    return ret;
  queued = g_steal_pointer (&trans->queued_buf);
  return gst_avatar_audio_enc_take_buffer (GST_AVATAR_AUDIO_ENC (trans), queued);
}

static GstFlowReturn
gst_avatar_audio_enc_generate_output (GstBaseTransform *trans, GstBuffer **buffer)
{
  return gst_avatar_audio_enc_pull (GST_AVATAR_AUDIO_ENC (trans), buffer);
}

/* Never called, but without it the base class assumes that the element is a passthrough. */
static GstFlowReturn
gst_avatar_audio_enc_transform (GstBaseTransform *trans, GstBuffer *in, GstBuffer *out)
{
  return GST_FLOW_ERROR;
}

static GstCaps *
gst_avatar_audio_enc_transform_caps (GstBaseTransform *trans, GstPadDirection direction,
    GstCaps *caps, GstCaps *filter)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  GstCaps *ret;

  if (direction == GST_PAD_SRC) {
    ret = gst_static_pad_template_get_caps (&sink_template);
  } else if (self->client.engine) {
    GstAvatarFeatureInfo info = gst_avatar_audio_enc_get_feature_info (self);
    ret = gst_avatar_caps_new_features (&info, self->client.engine->info->hash);
  } else {
    ret = gst_static_pad_template_get_caps (&src_template);
  }
  if (filter) {
    GstCaps *all = ret;
    ret = gst_caps_intersect_full (filter, all, GST_CAPS_INTERSECT_FIRST);
    gst_caps_unref (all);
  }
  return ret;
}

static gboolean
gst_avatar_audio_enc_set_caps (GstBaseTransform *trans, GstCaps *incaps, GstCaps *outcaps)
{
  /* The format may change between two buffers of a stream. */
  return gst_avatar_mono_set_caps (GST_AVATAR_AUDIO_ENC (trans)->mono, incaps);
}

/* Keeps the pool in the element, as the other elements do, and leaves none to the base class, which
 * does not create the output buffers. */
static gboolean
gst_avatar_audio_enc_decide_allocation (GstBaseTransform *trans, GstQuery *query)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  GstAvatarFeatureInfo info = gst_avatar_audio_enc_get_feature_info (self);

  gst_avatar_output_pool_close (&self->pool);
  self->pool = gst_avatar_output_pool_new (query, gst_avatar_feature_info_get_size (&info));
  while (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_remove_nth_allocation_pool (query, 0);
  return TRUE;
}

static gboolean
handle_gap (GstAvatarAudioEnc *self, GstEvent *event)
{
  GstFlowReturn ret = gst_avatar_audio_enc_take_gap (self, event);

  gst_event_unref (event);
  return ret == GST_FLOW_OK;
}

/* Drains at EOS. An empty stream is an error. EOS is forwarded in any case, so that sinks do not
 * wait for ever; elements downstream ask if the stream has failed. */
static void
handle_eos (GstAvatarAudioEnc *self)
{
  GError *error;

  gst_clear_event (&self->stream_start);
  if (gst_avatar_audio_enc_drain (self) != GST_FLOW_OK || self->n_samples_total > 0 || self->failed)
    return;
  error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
      "the audio is empty: it ended before its first sample; expected at least one");
  gst_avatar_report_failure (self, error, &self->failed);
}

static gboolean
handle_segment (GstAvatarAudioEnc *self, GstEvent *event)
{
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  if (segment->format != GST_FORMAT_TIME || segment->rate < 0) {
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
        ("the audio has a segment in %s that runs %s: expected time, forward; set format=time on the "
         "source, or seek with a rate above 0",
            gst_format_get_name (segment->format), segment->rate < 0 ? "backward" : "forward"),
        (NULL));
    self->failed = TRUE;
    return FALSE;
  }
  gst_avatar_audio_enc_drain (self);
  return TRUE;
}

/* Holds back a STREAM_START after audio until its segment arrives. If there is none (identity
 * single-segment=true, after the parts of a chained file), the same stream continues. */
static gboolean
hold_stream_start (GstAvatarAudioEnc *self, GstEvent *event)
{
  self->warned_clock = self->warned_mono = FALSE;
  if (self->clock.n_samples == 0)
    return FALSE;
  gst_clear_event (&self->stream_start);
  self->stream_start = event;
  return TRUE;
}

static gboolean
gst_avatar_audio_enc_sink_event (GstBaseTransform *trans, GstEvent *event)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (parent_class);

  switch (GST_EVENT_TYPE (event)) {
    case GST_EVENT_FLUSH_START:
      GST_OBJECT_LOCK (self);
      if (self->encoder)
        avatar_audio_encoder_cancel (self->encoder);
      GST_OBJECT_UNLOCK (self);
      break;
    case GST_EVENT_FLUSH_STOP:
      gst_avatar_audio_enc_restart (self);
      gst_avatar_processing_element_restart (&self->client.processing, GST_ELEMENT (self));
      break;
    case GST_EVENT_GAP:
      if (self->encoder && self->pool)
        return handle_gap (self, event);
      break;
    case GST_EVENT_CUSTOM_DOWNSTREAM:
    case GST_EVENT_CUSTOM_DOWNSTREAM_OOB:
      if (gst_avatar_clear_is (event))
        return gst_avatar_audio_enc_take_clear (self, event);
      break;
    case GST_EVENT_SEGMENT:
      if (!handle_segment (self, event)) {
        gst_event_unref (event);
        return FALSE;
      }
      if (self->stream_start)
        trans_class->sink_event (trans, g_steal_pointer (&self->stream_start));
      break;
    case GST_EVENT_STREAM_START:
      if (hold_stream_start (self, event))
        return TRUE;
      break;
    case GST_EVENT_EOS:
      handle_eos (self);
      break;
    default:
      break;
  }
  return trans_class->sink_event (trans, event);
}

/* Returns the lengths of the windows in frames. Whisper encodes at most 30 s at once. @lookahead:
 * (out): frames after a window that its features wait for. */
static GstAvatarPortions
get_portions (GstAvatarAudioEnc *self, guint *lookahead)
{
  guint longest = 30 * self->client.engine->info->fps, further;
  AvatarAudioSettings active;

  GST_OBJECT_LOCK (self);
  active = self->active;
  GST_OBJECT_UNLOCK (self);
  further = active.window_frames ?: longest;
  *lookahead = MAX (active.lookahead_frames ?: (gint) active.context_frames, 0);
  return (GstAvatarPortions){ active.first_window_frames ?: further, further };
}

static gboolean
gst_avatar_audio_enc_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  GstAvatarPortions portions;
  GstClockTime min, max, own;
  guint lookahead = 0;
  gboolean live;

  if (self->failed && direction == GST_PAD_SRC && gst_avatar_query_answer_failed (query))
    return TRUE;
  if (gst_avatar_engine_client_query (&self->client, GST_ELEMENT (self), query))
    return TRUE;
  if (direction == GST_PAD_SRC && self->client.engine) {
    portions = get_portions (self, &lookahead);
    if (gst_avatar_query_answer_portions (query, &portions))
      return TRUE;
  }
  if (!GST_BASE_TRANSFORM_CLASS (parent_class)->query (trans, direction, query))
    return FALSE;
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY
      && self->client.engine) {
    gst_query_parse_latency (query, &live, &min, &max);
    own = gst_avatar_audio_enc_frames_to_time (self,
        MAX (portions.first, portions.further) + lookahead);
    own += gst_avatar_processing_element_get (&self->client.processing, GST_ELEMENT (self), query,
        0);
    gst_query_set_latency (query, live, min + own,
        GST_CLOCK_TIME_IS_VALID (max) ? max + own : GST_CLOCK_TIME_NONE);
  }
  return TRUE;
}

/* Returns the settings for an encoder: the properties, and windows that fit those of the
 * denoiser. */
static AvatarAudioSettings
adopt_settings (GstAvatarAudioEnc *self)
{
  AvatarAudioSettings settings;
  GstAvatarPortions portions;
  gboolean align;

  GST_OBJECT_LOCK (self);
  settings = self->settings;
  if (self->lookahead >= 0)
    settings.lookahead_frames = self->lookahead ?: AVATAR_AUDIO_NO_LOOKAHEAD;
  align = self->align_windows;
  self->quiet_level = (float) pow (10, self->silence_level / 20);
  GST_OBJECT_UNLOCK (self);
  if (align && gst_avatar_query_portions (GST_BASE_TRANSFORM_SRC_PAD (self), &portions)) {
    settings.first_window_frames = portions.first;
    settings.window_frames = portions.further;
  }
  GST_OBJECT_LOCK (self);
  self->active = settings;
  GST_OBJECT_UNLOCK (self);
  return settings;
}

static gboolean
gst_avatar_audio_enc_start (GstBaseTransform *trans)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  AvatarAudioSettings settings;
  AvatarAudioEncoder *encoder;
  GError *error = NULL;

  self->failed = self->warned_clock = self->warned_mono = FALSE;
  self->n_samples_total = 0;
  self->n_batches = 0;
  if (!gst_avatar_engine_client_open (&self->client, GST_ELEMENT (self)))
    return FALSE;
  settings = adopt_settings (self);
  encoder = avatar_audio_encoder_new (self->client.engine->model, self->client.engine->device,
      &settings, &error);
  if (encoder && self->client.engine->info->sample_rate != 16000) {
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "model %s requires audio of %u Hz: this element supports 16000 Hz; use another model",
        avatar_model_get_path (self->client.engine->model), self->client.engine->info->sample_rate);
    g_clear_pointer (&encoder, avatar_audio_encoder_free);
  }
  if (!encoder) {
    gst_avatar_report_error (self, error);
    gst_avatar_engine_client_close (&self->client, GST_ELEMENT (self));
    return FALSE;
  }
  GST_INFO_OBJECT (self, "computing on %s",
      avatar_device_get_description (avatar_audio_encoder_get_device (encoder)));
  GST_OBJECT_LOCK (self);
  self->encoder = encoder;
  GST_OBJECT_UNLOCK (self);
  gst_avatar_audio_enc_restart (self);
  return TRUE;
}

static gboolean
gst_avatar_audio_enc_stop (GstBaseTransform *trans)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  AvatarAudioEncoder *encoder;

  GST_OBJECT_LOCK (self);
  encoder = g_steal_pointer (&self->encoder);
  GST_OBJECT_UNLOCK (self);
  if (encoder)
    avatar_audio_encoder_free (encoder);
  gst_avatar_output_pool_close (&self->pool);
  gst_clear_event (&self->stream_start);
  gst_avatar_engine_client_close (&self->client, GST_ELEMENT (self));
  return TRUE;
}

static GstStateChangeReturn
gst_avatar_audio_enc_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (element);

  /* Cancels before chaining up, which waits for the streaming thread. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) {
    GST_OBJECT_LOCK (self);
    if (self->encoder)
      avatar_audio_encoder_cancel (self->encoder);
    GST_OBJECT_UNLOCK (self);
  }
  return GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
}

/* The default function sends events from the source pad, past the element. */
static gboolean
gst_avatar_audio_enc_send_event (GstElement *element, GstEvent *event)
{
  if (gst_avatar_clear_is (event))
    return gst_pad_send_event (GST_BASE_TRANSFORM_SINK_PAD (element), event);
  return GST_ELEMENT_CLASS (parent_class)->send_event (element, event);
}

static void
gst_avatar_audio_enc_set_context (GstElement *element, GstContext *context)
{
  gst_avatar_engine_client_set_context (&GST_AVATAR_AUDIO_ENC (element)->client, element, context);
  GST_ELEMENT_CLASS (parent_class)->set_context (element, context);
}

static void
gst_avatar_audio_enc_set_property (GObject *object, guint id, const GValue *value,
    GParamSpec *pspec)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (object);
  gboolean too_late;

  if (gst_avatar_engine_client_set_property (&self->client, GST_ELEMENT (self), value, pspec))
    return;
  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_WINDOW_FRAMES:
      self->settings.window_frames = g_value_get_uint (value);
      break;
    case PROP_CONTEXT:
      self->settings.context_frames = g_value_get_uint (value);
      break;
    case PROP_LOOKAHEAD:
      self->lookahead = g_value_get_int (value);
      break;
    case PROP_FIRST_WINDOW_FRAMES:
      self->settings.first_window_frames = g_value_get_uint (value);
      break;
    case PROP_ALIGN_WINDOWS:
      self->align_windows = g_value_get_boolean (value);
      break;
    case PROP_UPSTREAM_ROUNDING:
      self->settings.upstream_rounding = g_value_get_boolean (value);
      break;
    case PROP_SILENCE_LEVEL:
      self->silence_level = g_value_get_double (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  too_late = self->encoder != NULL;
  GST_OBJECT_UNLOCK (self);
  if (too_late)
    gst_avatar_report_too_late (GST_ELEMENT (self), pspec->name);
}

static void
gst_avatar_audio_enc_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (object);

  if (gst_avatar_engine_client_get_property (&self->client, GST_ELEMENT (self), value, pspec))
    return;
  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_WINDOW_FRAMES:
      g_value_set_uint (value, self->settings.window_frames);
      break;
    case PROP_CONTEXT:
      g_value_set_uint (value, self->settings.context_frames);
      break;
    case PROP_LOOKAHEAD:
      g_value_set_int (value, self->lookahead);
      break;
    case PROP_FIRST_WINDOW_FRAMES:
      g_value_set_uint (value, self->settings.first_window_frames);
      break;
    case PROP_ALIGN_WINDOWS:
      g_value_set_boolean (value, self->align_windows);
      break;
    case PROP_UPSTREAM_ROUNDING:
      g_value_set_boolean (value, self->settings.upstream_rounding);
      break;
    case PROP_SILENCE_LEVEL:
      g_value_set_double (value, self->silence_level);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  GST_OBJECT_UNLOCK (self);
}

static void
gst_avatar_audio_enc_finalize (GObject *object)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (object);

  g_array_unref (self->gaps);
  gst_avatar_mono_free (self->mono);
  gst_avatar_engine_client_clear (&self->client, GST_ELEMENT (self));
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

#define FLAGS (G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY)

/* Properties that shorten the latency of live streams. */
static void
install_live (GObjectClass *object_class)
{
  /**
   * GstAvatarAudioEnc:lookahead:
   *
   * Audio after a window that is encoded with it, if it shall differ from
   * #GstAvatarAudioEnc:context before the window. Features wait for it.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_LOOKAHEAD,
      g_param_spec_int ("lookahead", "Look-ahead",
          "Audio after a window that is encoded with it, in video frames (40 ms), which adds to the "
          "latency; 0 = none, -1 = as context",
          -1, 375, -1, FLAGS));
  /**
   * GstAvatarAudioEnc:first-window-frames:
   *
   * Length of the first window of a stream.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_FIRST_WINDOW_FRAMES,
      g_param_spec_uint ("first-window-frames", "First window in video frames",
          "Length of the first window of a stream, in video frames (40 ms), since a denoiser needs "
          "more features for its first window; 0 = as window-frames",
          0, 750, 0, FLAGS));
  /**
   * GstAvatarAudioEnc:align-windows:
   *
   * Encodes the windows that avatardenoise needs: 4 #GstAvatarDenoise:window-latents - 3 frames for
   * the first one, 4 (#GstAvatarDenoise:window-latents - #GstAvatarDenoise:overlap) for each later
   * one. No feature then waits for the end of a later window of the encoder. Replaces
   * #GstAvatarAudioEnc:window-frames and #GstAvatarAudioEnc:first-window-frames, which are used if
   * no denoiser in stream mode is linked when the element starts.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_ALIGN_WINDOWS,
      g_param_spec_boolean ("align-windows", "Align windows",
          "Encode the windows that avatardenoise needs, so that no feature waits; replaces "
          "window-frames and first-window-frames, which are used if no denoiser in stream mode is "
          "linked when the element starts",
          FALSE, FLAGS));
}

/* Properties that all elements have. */
static void
install_common (GObjectClass *object_class)
{
  /**
   * GstAvatarAudioEnc:model:
   *
   * Path of the model's folder.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarAudioEnc:device:
   *
   * Compute device. Elements with the same model and device share one engine.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarAudioEnc:vram-budget:
   *
   * Maximum memory to use on the device. It may change while playing.
   *
   * Since: 0.1
   */
  /**
   * GstAvatarAudioEnc:stats:
   *
   * Statistics of the newest window or tile: a #GstStructure with the fields of the element message
   * "avatar-window".
   *
   * Since: 0.1
   */
  /**
   * GstAvatarAudioEnc:processing-latency:
   *
   * Time for computing a window in the answer to the LATENCY query. If it is measured, the first
   * window of a live stream sets it, later ones only raise it, and a LATENCY message tells each
   * change. While nothing was measured, and if the pipeline is not live, it is 0.
   *
   * Since: 0.1
   */
  gst_avatar_engine_install_properties (object_class);
}

static void
install_properties (GObjectClass *object_class)
{
  install_common (object_class);
  /**
   * GstAvatarAudioEnc:window-frames:
   *
   * Length of the window that is encoded at once. Smaller windows reduce the latency of live
   * streams.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_WINDOW_FRAMES,
      g_param_spec_uint ("window-frames", "Window in video frames",
          "Length of the window that is encoded at once, in video frames (40 ms); smaller windows "
          "reduce the latency of live streams; 0 = the longest window (30 s)",
          0, 750, 0, FLAGS));
  /**
   * GstAvatarAudioEnc:context:
   *
   * Audio on both sides of a window that is encoded with it, so that windows join without a seam.
   * #GstAvatarAudioEnc:lookahead replaces it after the window.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_CONTEXT,
      g_param_spec_uint ("context", "Context",
          "Audio on both sides of a window that is encoded with it, in video frames (40 ms), so that "
          "windows join without a seam",
          0, 375, AVATAR_AUDIO_CONTEXT_DEFAULT, FLAGS));
  install_live (object_class);
  /**
   * GstAvatarAudioEnc:upstream-rounding:
   *
   * Rounds the spectrogram to 16 bits, as HunyuanVideo-Avatar does.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_UPSTREAM_ROUNDING,
      g_param_spec_boolean ("upstream-rounding", "Upstream rounding",
          "Round the spectrogram to 16 bits, as HunyuanVideo-Avatar does; for comparisons", FALSE,
          FLAGS));
  /**
   * GstAvatarAudioEnc:silence-level:
   *
   * Level up to which audio counts as silence. Features of video frames in silence have the flag
   * GAP, and #GstAvatarDenoise:idle-steps acts on them.
   *
   * Since: 0.1
   */
  g_object_class_install_property (object_class, PROP_SILENCE_LEVEL,
      g_param_spec_double ("silence-level", "Silence level",
          "Peak level up to which audio counts as silence, in dB below full scale (dBFS). Features of "
          "video frames (40 ms) in silence have the flag GAP, on which idle-steps of avatardenoise acts; "
          "the features themselves do not depend on it",
          -200, 0, DEFAULT_SILENCE_LEVEL, FLAGS));
  gst_avatar_aliases_install (object_class, aliases);
}

static void
gst_avatar_audio_enc_class_init (GstAvatarAudioEncClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);

  object_class->set_property = gst_avatar_audio_enc_set_property;
  object_class->get_property = gst_avatar_audio_enc_get_property;
  object_class->finalize = gst_avatar_audio_enc_finalize;
  install_properties (object_class);

  gst_element_class_set_static_metadata (element_class, "Avatar audio encoder",
      "Filter/Converter/Audio", "Encodes speech to one tensor of audio features per video frame",
      "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_change_state);
  element_class->set_context = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_set_context);
  element_class->send_event = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_send_event);

  trans_class->start = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_start);
  trans_class->stop = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_stop);
  trans_class->transform_caps = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_transform_caps);
  trans_class->set_caps = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_set_caps);
  trans_class->decide_allocation = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_decide_allocation);
  trans_class->sink_event = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_sink_event);
  trans_class->query = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_query);
  trans_class->submit_input_buffer = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_submit_input_buffer);
  trans_class->generate_output = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_generate_output);
  trans_class->transform = GST_DEBUG_FUNCPTR (gst_avatar_audio_enc_transform);

  GST_DEBUG_CATEGORY_INIT (avatar_audio_enc_debug, "avataraudioenc", 0, "Avatar audio encoder");
}

static void
gst_avatar_audio_enc_init (GstAvatarAudioEnc *self)
{
  gst_avatar_engine_client_init (&self->client);
  self->settings.context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT;
  self->lookahead = -1;
  self->silence_level = DEFAULT_SILENCE_LEVEL;
  self->gaps = g_array_new (FALSE, FALSE, sizeof (GstAvatarGap));
  self->mono = gst_avatar_mono_new ();
}
