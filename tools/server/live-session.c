/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/live-session.h"

#include "tools/server/live-rtc.h"

#include <gst/app/app.h>
#include <string.h>

/* The stages come first. Speech of a synthesiser arrives faster than it plays, and waits in the
 * source. */
#define SPEECH "appsrc name=speech format=time ! avatarbin name=avatar continuous=true "
/* The decoder writes the format of the encoder. */
#define VIDEO "avatar.video ! capsfilter name=size ! queue "
#define H264                                                                   \
  "! x264enc tune=zerolatency speed-preset=veryfast key-int-max=50 name=h264 " \
  "! video/x-h264,profile=constrained-baseline "
#define AUDIO "avatar.audio ! queue ! audioconvert ! audioresample "
/* The filter removes as many samples as the encoder adds without reporting them. */
#define AAC "! audiofirfilter latency=1024 ! avenc_aac "
#define TO_MP4                                                                      \
  SPEECH VIDEO H264 "! mux. " AUDIO AAC                                             \
                    "! mux. mp4mux name=mux fragment-duration=100 streamable=true " \
                    "! appsink name=out sync=false"
#define TO_RTMP                         \
  SPEECH VIDEO H264 "! mux. " AUDIO AAC \
                    "! mux. flvmux name=mux streamable=true ! rtmp2sink name=out"
#define TO_WEBRTC                                                               \
  "webrtcbin name=rtc bundle-policy=max-bundle " SPEECH VIDEO H264              \
  "! rtph264pay name=video-pay aggregate-mode=zero-latency config-interval=-1 " \
  "! capsfilter name=video-rtp ! rtc. " AUDIO                                   \
  "! opusenc ! rtpopuspay name=audio-pay ! capsfilter name=audio-rtp ! rtc."
/* Speech (s) that may wait in the source, and the number of its pieces, each of which needs memory
 * beside its samples. */
#define LONGEST_WAIT 120
#define MOST_PIECES 65536
/* Custom event that travels with the speech, and leaves avatarbin with the video of its time. */
#define MARK "avatar-server-speech"
#define STATISTICS_INTERVAL 1

/* Something that a streaming thread hands to the main thread. */
typedef struct
{
  AvatarLiveSession *session;
  GBytes *media;
  guint id;
  gboolean begin;
  GstClockTime position;
} Parcel;

struct _AvatarLiveSession
{
  gatomicrefcount refs;
  const AvatarServerConfig *config;
  AvatarPlanner *planner;
  AvatarLiveOptions options;
  AvatarLiveCallbacks callbacks;
  gpointer user_data;
  gboolean closed; /* no callback any more */
  GstElement *pipeline, *avatar;
  GstAppSrc *speech;
  guint statistics; /* timer; runs when the pipeline does */
  guint n_speeches;
  gboolean speaking;
  /* Only in the streaming thread of the audio: end of the newest audio that has left, and the begin
   * of a speech whose audio comes next. */
  GstClockTime position;
  Parcel beginning;
  double speed[AVATAR_N_STAGES];
};

static const char *const outputs[] = { "mp4", "webrtc", "rtmp", NULL };
static const char *const stages[] = { "audio", "denoise", "decode" };

/* -------------------------------------------------------------------------------------- options */

static gboolean
parse_number (JsonObject *message, const char *name, guint min, guint max, guint *value,
    AvatarProblem **problem)
{
  double found = avatar_json_number (message, name, *value);
  g_autofree char *range = g_strdup_printf ("a whole number from %u to %u", min, max);

  if (!(found >= min && found <= max))
    return avatar_problem_set (problem, 400, range, NULL, "%s is %g", name, found);
  *value = found;
  return TRUE;
}

static gboolean
parse_output (AvatarLiveOptions *self, const AvatarServerConfig *config, JsonObject *message,
    AvatarProblem **problem)
{
  const char *output = avatar_json_string (message, "output");
  const char *url = avatar_json_string (message, "url");

  for (guint i = 0; output && outputs[i]; i++)
    if (strcmp (output, outputs[i]) == 0)
      self->output = i;
  if (output && strcmp (output, outputs[self->output]) != 0)
    return avatar_problem_set (problem, 400, "mp4, webrtc or rtmp", NULL, "output is \"%.40s\"",
        output);
  if (self->output != AVATAR_LIVE_RTMP)
    return TRUE;
  for (guint i = 0; url && config->push_to && config->push_to[i]; i++)
    if (g_str_has_prefix (url, config->push_to[i])) {
      self->url = g_strdup (url);
      return TRUE;
    }
  return avatar_problem_set (problem, 403, "the begin of an address that --push-to allows",
      "start the server with --push-to", "the server may not push to this address");
}

gboolean
avatar_live_options_parse (AvatarLiveOptions *self, const AvatarServerConfig *config,
    JsonObject *message, const char **portrait_id, AvatarProblem **problem)
{
  *self = (AvatarLiveOptions){ .sample_rate = 16000, .channels = 1 };
  avatar_job_settings_init (&self->settings);
  *portrait_id = avatar_json_string (message, "portrait");
  return avatar_job_settings_set_json (&self->settings, message, problem)
      && parse_number (message, "sample_rate", 8000, 192000, &self->sample_rate, problem)
      && parse_number (message, "channels", 1, 2, &self->channels, problem)
      && parse_output (self, config, message, problem);
}

void
avatar_live_options_clear (AvatarLiveOptions *self)
{
  avatar_job_settings_clear (&self->settings);
  g_clear_pointer (&self->url, g_free);
  g_clear_pointer (&self->portrait, g_free);
}

/* --------------------------------------------------------------------------------------- events */

static AvatarLiveSession *
session_ref (AvatarLiveSession *self)
{
  g_atomic_ref_count_inc (&self->refs);
  return self;
}

static void
session_unref (AvatarLiveSession *self)
{
  if (!g_atomic_ref_count_dec (&self->refs))
    return;
  avatar_live_options_clear (&self->options);
  gst_clear_object (&self->speech);
  gst_clear_object (&self->avatar);
  gst_clear_object (&self->pipeline);
  g_free (self);
}

static JsonBuilder *
event_new (const char *type)
{
  JsonBuilder *builder = json_builder_new ();

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "type", type);
  return builder;
}

/* Ends the object, sends it and frees the builder. */
static void
event_send (AvatarLiveSession *self, JsonBuilder *builder)
{
  g_autofree char *text = NULL;

  json_builder_end_object (builder);
  text = avatar_json_text (builder);
  g_object_unref (builder);
  if (!self->closed)
    self->callbacks.send_event (text, self->user_data);
}

static void
add_position (JsonBuilder *builder, const char *name, GstClockTime time)
{
  json_builder_set_member_name (builder, name);
  if (GST_CLOCK_TIME_IS_VALID (time))
    json_builder_add_double_value (builder, time / GST_MSECOND / 1000.);
  else
    json_builder_add_null_value (builder);
}

static void
send_text (AvatarLiveSession *self, const char *type, const char *text)
{
  AvatarProblem *problem = avatar_server_problem_from_text (500, text);
  JsonBuilder *builder = event_new (type);

  json_builder_set_member_name (builder, type);
  avatar_problem_build (problem, builder);
  avatar_problem_free (problem);
  event_send (self, builder);
}

/* ---------------------------------------------------------------------- from streaming threads */

static gboolean
deliver (gpointer data)
{
  Parcel *parcel = data;
  AvatarLiveSession *self = parcel->session;

  if (parcel->media && !self->closed) {
    self->callbacks.send_media (parcel->media, self->user_data);
  } else if (!parcel->media) {
    JsonBuilder *builder = event_new (parcel->begin ? "speak_started" : "speak_ended");

    avatar_json_add_int (builder, "id", parcel->id);
    add_position (builder, "position", parcel->position);
    event_send (self, builder);
  }
  return G_SOURCE_REMOVE;
}

static void
parcel_free (gpointer data)
{
  Parcel *parcel = data;

  g_clear_pointer (&parcel->media, g_bytes_unref);
  session_unref (parcel->session);
  g_free (parcel);
}

static void
post (AvatarLiveSession *self, const Parcel *content)
{
  Parcel *parcel = g_memdup2 (content, sizeof *content);

  parcel->session = session_ref (self);
  g_main_context_invoke_full (NULL, G_PRIORITY_DEFAULT, deliver, parcel, parcel_free);
}

static GstFlowReturn
on_sample (GstAppSink *sink, gpointer data)
{
  g_autoptr (GstSample) sample = gst_app_sink_pull_sample (sink);
  GstBuffer *buffer = sample ? gst_sample_get_buffer (sample) : NULL;
  Parcel parcel = { 0 };
  gpointer bytes;
  gsize size;

  if (!buffer)
    return GST_FLOW_OK;
  gst_buffer_extract_dup (buffer, 0, gst_buffer_get_size (buffer), &bytes, &size);
  parcel.media = g_bytes_new_take (bytes, size);
  post (data, &parcel);
  return GST_FLOW_OK;
}

/* Sees the marks of the speech leave with the audio of their time. A mark of a begin waits for the
 * buffer behind it, which leaves when its video frame does. */
static GstPadProbeReturn
on_audio (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  AvatarLiveSession *self = data;
  Parcel parcel = { .position = self->position };

  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    GstBuffer *buffer = GST_PAD_PROBE_INFO_BUFFER (info);

    self->position = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
    if (self->beginning.begin) {
      self->beginning.position = GST_BUFFER_PTS (buffer);
      post (self, &self->beginning);
      self->beginning.begin = FALSE;
    }
    return GST_PAD_PROBE_OK;
  }
  if (!gst_event_has_name (info->data, MARK))
    return GST_PAD_PROBE_OK;
  gst_structure_get (gst_event_get_structure (info->data), "id", G_TYPE_UINT, &parcel.id, "begin",
      G_TYPE_BOOLEAN, &parcel.begin, NULL);
  if (parcel.begin)
    self->beginning = parcel;
  else
    post (self, &parcel);
  return GST_PAD_PROBE_DROP;
}

/* ------------------------------------------------------------------------------------- messages */

static void
take_window (AvatarLiveSession *self, const GstStructure *s)
{
  const char *stage = gst_structure_get_string (s, "stage");

  avatar_planner_take_window (self->planner, s);
  for (guint i = 0; stage && i < AVATAR_N_STAGES; i++)
    if (strcmp (stage, stages[i]) == 0)
      gst_structure_get (s, "speed", G_TYPE_DOUBLE, &self->speed[i], NULL);
}

static void
take_cleared (AvatarLiveSession *self, const GstStructure *s)
{
  JsonBuilder *builder = event_new ("interrupted");
  GstClockTime position = GST_CLOCK_TIME_NONE, dropped = 0;

  gst_structure_get (s, "position", G_TYPE_UINT64, &position, "dropped", G_TYPE_UINT64, &dropped,
      NULL);
  add_position (builder, "position", position);
  add_position (builder, "dropped", dropped);
  event_send (self, builder);
}

static void
take_error (AvatarLiveSession *self, GstMessage *message)
{
  g_autoptr (AvatarProblem) problem = avatar_server_problem_from_message (message);
  JsonBuilder *builder = event_new ("error");

  json_builder_set_member_name (builder, "error");
  avatar_problem_build (problem, builder);
  event_send (self, builder);
  if (!self->closed)
    self->callbacks.ended (self->user_data);
}

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  AvatarLiveSession *self = data;
  g_autoptr (GError) error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ERROR:
      take_error (self, message);
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      send_text (self, "warning", error->message);
      break;
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency (GST_BIN (self->pipeline));
      break;
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "avatar-window"))
        take_window (self, gst_message_get_structure (message));
      else if (gst_message_has_name (message, "avatar-cleared"))
        take_cleared (self, gst_message_get_structure (message));
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

static gboolean
on_statistics (gpointer data)
{
  AvatarLiveSession *self = data;
  g_autoptr (GstPad) video = gst_element_get_static_pad (self->avatar, "video");
  g_autoptr (GstQuery) query = gst_query_new_latency ();
  JsonBuilder *builder = event_new ("statistics");
  GstClockTime latency = GST_CLOCK_TIME_NONE;

  if (gst_pad_query (video, query))
    gst_query_parse_latency (query, NULL, &latency, NULL);
  add_position (builder, "latency", latency);
  add_position (builder, "waiting",
      gst_util_uint64_scale (gst_app_src_get_current_level_bytes (self->speech), GST_SECOND,
          2 * self->options.sample_rate * self->options.channels));
  json_builder_set_member_name (builder, "speed");
  json_builder_begin_object (builder);
  for (guint i = 0; i < AVATAR_N_STAGES; i++)
    avatar_json_add_double (builder, stages[i], self->speed[i]);
  json_builder_end_object (builder);
  event_send (self, builder);
  return G_SOURCE_CONTINUE;
}

/* ------------------------------------------------------------------------------------- pipeline */

static void
set_up_speech (AvatarLiveSession *self)
{
  g_autoptr (GstCaps) caps = gst_caps_new_simple ("audio/x-raw", "format", G_TYPE_STRING, "S16LE",
      "rate", G_TYPE_INT, (int) self->options.sample_rate, "channels", G_TYPE_INT,
      (int) self->options.channels, "layout", G_TYPE_STRING, "interleaved", NULL);

  gst_app_src_set_caps (self->speech, caps);
  gst_app_src_set_max_bytes (self->speech, 0);
}

/* The format of the video is the same to the end. webrtcbin asks upstream to negotiate again when
 * the other side is there. */
static GstPadProbeReturn
keep_format (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  return GST_EVENT_TYPE (info->data) == GST_EVENT_RECONFIGURE ? GST_PAD_PROBE_DROP
                                                              : GST_PAD_PROBE_OK;
}

static void
set_up_output (AvatarLiveSession *self)
{
  const AvatarJobSettings *settings = &self->options.settings;
  g_autoptr (GstElement) out = gst_bin_get_by_name (GST_BIN (self->pipeline), "out");
  g_autoptr (GstElement) size = gst_bin_get_by_name (GST_BIN (self->pipeline), "size");
  g_autoptr (GstPad) video = gst_element_get_static_pad (size, "src");
  g_autoptr (GstPad) audio = gst_element_get_static_pad (self->avatar, "audio");
  g_autoptr (GstCaps) caps
      = gst_caps_new_simple ("video/x-raw", "format", G_TYPE_STRING, "I420", NULL);
  GstAppSinkCallbacks sink_callbacks = { .new_sample = on_sample };

  if (settings->width)
    gst_caps_set_simple (caps, "width", G_TYPE_INT, (int) settings->width, "height", G_TYPE_INT,
        (int) settings->height, NULL);
  g_object_set (size, "caps", caps, NULL);
  if (self->options.output == AVATAR_LIVE_MP4)
    gst_app_sink_set_callbacks (GST_APP_SINK (out), &sink_callbacks, self, NULL);
  else if (self->options.output == AVATAR_LIVE_RTMP)
    g_object_set (out, "location", self->options.url, NULL);
  gst_pad_add_probe (video, GST_PAD_PROBE_TYPE_EVENT_UPSTREAM, keep_format, NULL, NULL);
  gst_pad_add_probe (audio, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM,
      on_audio, self, NULL);
}

static gboolean
make_pipeline (AvatarLiveSession *self, AvatarProblem **problem)
{
  static const char *const pipelines[] = { TO_MP4, TO_WEBRTC, TO_RTMP };
  g_autoptr (GError) error = NULL;
  g_autoptr (GstBus) bus = NULL;

  self->pipeline = gst_parse_launch_full (pipelines[self->options.output], NULL,
      GST_PARSE_FLAG_FATAL_ERRORS, &error);
  if (!self->pipeline)
    return avatar_problem_set (problem, 500, "the elements of GStreamer that this output needs",
        "install the GStreamer plugins base, good, bad, ugly and libav, and gstreamer1.0-nice",
        "%s", error->message);
  self->avatar = gst_bin_get_by_name (GST_BIN (self->pipeline), "avatar");
  self->speech = GST_APP_SRC (gst_bin_get_by_name (GST_BIN (self->pipeline), "speech"));
  if (!avatar_server_config_apply (self->config, &self->options.settings, self->avatar, problem))
    return FALSE;
  g_object_set (self->avatar, "reference", self->options.portrait, NULL);
  set_up_speech (self);
  set_up_output (self);
  bus = gst_element_get_bus (self->pipeline);
  gst_bus_add_watch (bus, on_message, self);
  return TRUE;
}

static void
start (GstElement *pipeline, gpointer data)
{
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
}

/* Sessions that are being stopped. */
static GMutex stopping_lock;
static GCond stopping_changed;
static guint n_stopping;

static void
stop (GstElement *pipeline, gpointer data)
{
  gst_element_set_state (pipeline, GST_STATE_NULL);
}

static void
on_stopped (gpointer session)
{
  session_unref (session);
  g_mutex_lock (&stopping_lock);
  n_stopping--;
  g_cond_signal (&stopping_changed);
  g_mutex_unlock (&stopping_lock);
}

void
avatar_live_session_wait_all (void)
{
  g_mutex_lock (&stopping_lock);
  while (n_stopping > 0)
    g_cond_wait (&stopping_changed, &stopping_lock);
  g_mutex_unlock (&stopping_lock);
}

static void
play (AvatarLiveSession *self)
{
  self->statistics = g_timeout_add_seconds (STATISTICS_INTERVAL, on_statistics, self);
  gst_element_call_async (self->pipeline, start, NULL, NULL);
}

AvatarLiveSession *
avatar_live_session_new (const AvatarServerConfig *config, AvatarPlanner *planner,
    AvatarLiveOptions *options, const AvatarLiveCallbacks *callbacks, gpointer user_data,
    AvatarProblem **problem)
{
  AvatarLiveSession *self = g_new0 (AvatarLiveSession, 1);

  g_atomic_ref_count_init (&self->refs);
  self->config = config;
  self->planner = planner;
  self->options = *options;
  *options = (AvatarLiveOptions){ 0 };
  self->callbacks = *callbacks;
  self->user_data = user_data;
  self->position = GST_CLOCK_TIME_NONE;
  if (!make_pipeline (self, problem)) {
    avatar_live_session_free (self);
    return NULL;
  }
  if (self->options.output != AVATAR_LIVE_WEBRTC)
    play (self);
  return self;
}

void
avatar_live_session_free (AvatarLiveSession *self)
{
  self->closed = TRUE;
  if (self->statistics)
    g_source_remove (self->statistics);
  if (self->pipeline) {
    g_autoptr (GstBus) bus = gst_element_get_bus (self->pipeline);
    gst_bus_remove_watch (bus);
    /* Streaming threads use the session until they have stopped. */
    g_mutex_lock (&stopping_lock);
    n_stopping++;
    g_mutex_unlock (&stopping_lock);
    gst_element_call_async (self->pipeline, stop, session_ref (self), on_stopped);
  }
  session_unref (self);
}

/* --------------------------------------------------------------------------------------- speech */

static void
mark (AvatarLiveSession *self, gboolean begin)
{
  GstStructure *s = gst_structure_new (MARK, "id", G_TYPE_UINT, self->n_speeches, "begin",
      G_TYPE_BOOLEAN, begin, NULL);

  self->speaking = begin;
  gst_element_send_event (GST_ELEMENT (self->speech),
      gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM, s));
}

gboolean
avatar_live_session_speak (AvatarLiveSession *self, GBytes *samples, AvatarProblem **problem)
{
  guint frame = 2 * self->options.channels;
  guint64 most = (guint64) LONGEST_WAIT * self->options.sample_rate * frame;
  gsize size = g_bytes_get_size (samples);

  if (size % frame != 0)
    return avatar_problem_set (problem, 400, "whole samples of 16 bits", NULL,
        "a piece of audio has %zu bytes, of %u channels", size, self->options.channels);
  if (gst_app_src_get_current_level_bytes (self->speech) + size > most)
    return avatar_problem_set (problem, 503, NULL, "wait until the event statistics has less",
        "more than %d s of speech are waiting; the newest piece is dropped", LONGEST_WAIT);
  if (gst_app_src_get_current_level_buffers (self->speech) >= MOST_PIECES)
    return avatar_problem_set (problem, 503, NULL, "send longer pieces",
        "%d pieces of speech are waiting; the newest one is dropped", MOST_PIECES);
  if (size == 0)
    return TRUE;
  if (!self->speaking) {
    self->n_speeches++;
    mark (self, TRUE);
  }
  gst_app_src_push_buffer (self->speech, gst_buffer_new_wrapped_bytes (samples));
  return TRUE;
}

void
avatar_live_session_speak_end (AvatarLiveSession *self)
{
  if (self->speaking)
    mark (self, FALSE);
}

void
avatar_live_session_interrupt (AvatarLiveSession *self)
{
  GstStructure *s = gst_structure_new_empty ("avatar-clear");

  self->speaking = FALSE;
  gst_element_send_event (GST_ELEMENT (self->speech), gst_event_new_flush_start ());
  gst_element_send_event (GST_ELEMENT (self->speech), gst_event_new_flush_stop (FALSE));
  gst_element_send_event (self->avatar, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, s));
}

gboolean
avatar_live_session_change (AvatarLiveSession *self, JsonObject *message, AvatarProblem **problem)
{
  AvatarJobSettings settings;
  gboolean good;

  avatar_job_settings_init (&settings);
  good = avatar_job_settings_set_json (&settings, message, problem);
  if (good && (settings.model || settings.budget || settings.profile || settings.width))
    good = avatar_problem_set (problem, 400, "prompt, seed or steps", "start a new session",
        "this setting cannot change while the session runs");
  if (good && settings.prompt)
    g_object_set (self->avatar, "prompt", settings.prompt, NULL);
  if (good && settings.seed >= 0)
    g_object_set (self->avatar, "seed", settings.seed, NULL);
  if (good && settings.steps > 0)
    g_object_set (self->avatar, "steps", (int) settings.steps, NULL);
  avatar_job_settings_clear (&settings);
  return good;
}

void
avatar_live_session_offer (AvatarLiveSession *self, const char *sdp, AvatarLiveAnswer done,
    gpointer user_data)
{
  AvatarProblem *problem = NULL;

  if (self->options.output != AVATAR_LIVE_WEBRTC)
    avatar_problem_set (&problem, 409, "a session with the output webrtc", NULL,
        "the session has the output %s", outputs[self->options.output]);
  else if (self->statistics)
    avatar_problem_set (&problem, 409, NULL, "start a new session",
        "the session has answered an offer already");
  else if (avatar_live_rtc_prepare (self->pipeline, sdp, &problem)) {
    play (self);
    avatar_live_rtc_answer (self->pipeline, sdp, done, user_data);
    return;
  }
  done (NULL, problem, user_data);
}
