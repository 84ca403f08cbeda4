/* SPDX-License-Identifier: LGPL-2.1-or-later */
/**
 * SECTION:element-avataraudioenc
 * @title: avataraudioenc
 * @short_description: speech to audio features for avatardenoise
 *
 * Turns 16 kHz audio into one tensor of features per video frame (40 ms), as NNStreamer's
 * other/tensors. Gaps become silence, and features made of nothing but a gap are flagged GAP. As
 * many features come out as cover the audio: the last frame is padded with silence.
 *
 * Channels are mixed to one, as audioconvert does where their positions are known, else by their
 * average. Where they cancel each other out the loudest one is taken, and a warning is posted.
 *
 * The time stamps of a running stream rise by 40 ms from frame to frame and follow the clock of the
 * input's: jitter of up to 40 ms is ignored; when the stamps have been off by more for a second,
 * what is missing is filled with silence and what is too much is dropped. A clock that runs up to
 * 4 % too fast or slow is followed to within 100 ms, besides its jitter. Stamps that run slower by
 * more than 5 % are taken for wrong, as those of ADPCM in WAV files are: the samples are counted
 * instead, and a warning is posted. A flush, a new segment, a hole of more than a minute and a jump
 * back by more than a second begin a new stream.
 *
 * The encoder listens to windows of up to 30 s at once, so the features of a short file come after
 * EOS. Set #GstAvatarAudioEnc:window for live streams.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=hello.wav ! decodebin ! audioconvert ! audioresample ! avataraudioenc ! gdppay ! filesink location=hello.features
 * ]|
 *
 * Since: 0.1
 */
#include "gst/gstavataraudioenc.h"

#include <avatar/audio.h>
#include <gst/audio/audio.h>
#include <string.h>

#include "gst/gstavatarcaps.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarmono.h"
#include "gst/gstavatarreport.h"
#include "gst/gstavatarsampleclock.h"

GST_DEBUG_CATEGORY_STATIC (avatar_audio_enc_debug);
#define GST_CAT_DEFAULT avatar_audio_enc_debug

/* Longer gaps end the stream. */
#define MAX_SILENCE (60 * GST_SECOND)
/* Sound after which it is told that stamps are no clock, and that channels cancel. */
#define CLOCK_PATIENCE (10 * GST_SECOND)
#define MONO_PATIENCE (500 * GST_MSECOND)

enum
{
  PROP_WINDOW = GST_AVATAR_PROP_LAST,
  PROP_CONTEXT,
  PROP_PARITY,
};

/* A stretch of samples that are silence because of a gap, [start, end) since the base. */
typedef struct
{
  guint64 start, end;
} Gap;

struct _GstAvatarAudioEnc
{
  GstBaseTransform parent;

  GstAvatarEngineUser user;
  AvatarAudioSettings settings; /* object lock */

  AvatarAudioEncoder *encoder; /* set and freed under the object lock, for cancel */
  GstAvatarMono *mono;
  GstAvatarSampleClock clock;
  GstEvent *stream_start;  /* that waits for its segment */
  GArray *gaps;            /* of Gap, those that frames to come may touch */
  guint64 n_frames;        /* since the clock's base */
  guint64 n_samples_total; /* since the start, to tell audio of zero length */
  gboolean discont;
  gboolean live;   /* upstream is, so that stamps may jump for a while */
  gboolean failed; /* an error has been posted */
  gboolean warned_clock, warned_mono;
  GstClockTime batch_time; /* computing since the last report */
  guint batch_frames, n_batches;
};

static GstStaticPadTemplate sink_template
    = GST_STATIC_PAD_TEMPLATE ("sink", GST_PAD_SINK, GST_PAD_ALWAYS,
        GST_STATIC_CAPS ("audio/x-raw, format=(string){ " GST_AUDIO_NE (F32) ", " GST_AUDIO_NE (
            S16) " }, rate=(int)16000, channels=(int)[ 1, 64 ], layout=(string)interleaved"));

static GstStaticPadTemplate src_template = GST_STATIC_PAD_TEMPLATE ("src", GST_PAD_SRC,
    GST_PAD_ALWAYS, GST_STATIC_CAPS (GST_AVATAR_TENSOR_CAPS));

#define gst_avatar_audio_enc_parent_class parent_class
G_DEFINE_TYPE (GstAvatarAudioEnc, gst_avatar_audio_enc, GST_TYPE_BASE_TRANSFORM)
GST_ELEMENT_REGISTER_DEFINE (avataraudioenc, "avataraudioenc", GST_RANK_NONE,
    GST_TYPE_AVATAR_AUDIO_ENC)

static guint
samples_per_frame (GstAvatarAudioEnc *self)
{
  return self->user.engine->info->sample_rate / self->user.engine->info->fps;
}

static GstClockTime
frames_to_time (GstAvatarAudioEnc *self, guint64 frames)
{
  return gst_util_uint64_scale_int (frames, GST_SECOND, self->user.engine->info->fps);
}

static GstAvatarFeatureInfo
feature_info (GstAvatarAudioEnc *self)
{
  const AvatarModelInfo *info = self->user.engine->info;

  return (GstAvatarFeatureInfo){ info->feature_steps, info->feature_states, info->feature_channels,
    info->fps, 1 };
}

/* Begins a new stretch of time: the next sample is the first. */
static void
restart (GstAvatarAudioEnc *self)
{
  if (self->encoder)
    avatar_audio_encoder_reset (self->encoder);
  g_array_set_size (self->gaps, 0);
  gst_avatar_sample_clock_init (&self->clock, self->user.engine->info->sample_rate);
  self->n_frames = 0;
  self->discont = TRUE;
  self->batch_frames = 0;
  self->batch_time = 0;
}

static gboolean
frame_is_gap (GstAvatarAudioEnc *self, guint64 frame)
{
  guint64 start = frame * samples_per_frame (self);
  guint64 end = MIN (start + samples_per_frame (self), self->clock.n_samples);

  while (self->gaps->len > 0 && g_array_index (self->gaps, Gap, 0).end <= start)
    g_array_remove_index (self->gaps, 0);
  if (self->gaps->len == 0)
    return FALSE;
  return g_array_index (self->gaps, Gap, 0).start <= start
      && g_array_index (self->gaps, Gap, 0).end >= end;
}

static void
add_gap (GstAvatarAudioEnc *self, guint64 n)
{
  Gap gap = { self->clock.n_samples, self->clock.n_samples + n };

  if (self->gaps->len > 0) {
    Gap *last = &g_array_index (self->gaps, Gap, self->gaps->len - 1);
    if (last->end == gap.start) {
      last->end = gap.end;
      return;
    }
  }
  g_array_append_val (self->gaps, gap);
}

static gboolean
push_samples (GstAvatarAudioEnc *self, const float *samples, gsize n, GError **error)
{
  gint64 begin = g_get_monotonic_time ();
  gboolean ok = avatar_audio_encoder_push (self->encoder, samples, n, error);

  self->batch_time += (g_get_monotonic_time () - begin) * GST_USECOND;
  gst_avatar_sample_clock_advance (&self->clock, n);
  self->n_samples_total += n;
  return ok;
}

static gboolean
push_silence (GstAvatarAudioEnc *self, guint64 n, GError **error)
{
  static const float silence[1024];

  add_gap (self, n);
  while (n > 0) {
    gsize piece = MIN (n, G_N_ELEMENTS (silence));
    if (!push_samples (self, silence, piece, error))
      return FALSE;
    n -= piece;
  }
  return TRUE;
}

static void
report_batch (GstAvatarAudioEnc *self)
{
  GstAvatarChunk chunk = { .stage = "audio",
    .index = self->n_batches,
    .frames = self->batch_frames,
    .timestamp = self->clock.base + frames_to_time (self, self->n_frames - self->batch_frames),
    .duration = frames_to_time (self, self->batch_frames),
    .compute_time = self->batch_time,
    .computed_on = avatar_audio_encoder_get_device (self->encoder),
    .bad_samples = avatar_audio_encoder_get_n_bad_samples (self->encoder) };

  if (self->batch_frames == 0)
    return;
  gst_avatar_engine_user_set_stats (&self->user, GST_ELEMENT (self),
      gst_avatar_report_chunk (GST_ELEMENT (self), self->user.engine->device, &chunk));
  self->n_batches++;
  self->batch_frames = 0;
  self->batch_time = 0;
}

/* The next feature tensor, or NULL with OK where more audio is needed. */
static GstFlowReturn
pull_buffer (GstAvatarAudioEnc *self, GstBuffer **buffer)
{
  GstAvatarFeatureInfo info = feature_info (self);
  GstBuffer *out = gst_buffer_new_allocate (NULL, gst_avatar_feature_info_get_size (&info), NULL);
  GError *error = NULL;
  GstMapInfo map;
  AvatarPull pull;
  gint64 begin = g_get_monotonic_time ();

  *buffer = NULL;
  gst_buffer_map (out, &map, GST_MAP_WRITE);
  pull = avatar_audio_encoder_pull (self->encoder, (float *) map.data, &error);
  gst_buffer_unmap (out, &map);
  self->batch_time += (g_get_monotonic_time () - begin) * GST_USECOND;
  if (pull != AVATAR_PULL_OK) {
    gst_buffer_unref (out);
    if (pull == AVATAR_PULL_ERROR)
      return gst_avatar_report_failure (self, error, &self->failed);
    report_batch (self);
    return GST_FLOW_OK;
  }
  GST_BUFFER_PTS (out) = self->clock.base + frames_to_time (self, self->n_frames);
  GST_BUFFER_DURATION (out)
      = self->clock.base + frames_to_time (self, self->n_frames + 1) - GST_BUFFER_PTS (out);
  GST_BUFFER_OFFSET (out) = self->n_frames;
  GST_BUFFER_OFFSET_END (out) = self->n_frames + 1;
  if (self->discont)
    GST_BUFFER_FLAG_SET (out, GST_BUFFER_FLAG_DISCONT);
  if (frame_is_gap (self, self->n_frames))
    GST_BUFFER_FLAG_SET (out, GST_BUFFER_FLAG_GAP);
  self->discont = FALSE;
  self->n_frames++;
  self->batch_frames++;
  *buffer = out;
  return GST_FLOW_OK;
}

static GstFlowReturn
push_ready (GstAvatarAudioEnc *self)
{
  GstBuffer *buffer;
  GstFlowReturn ret = pull_buffer (self, &buffer);

  while (ret == GST_FLOW_OK && buffer) {
    ret = gst_pad_push (GST_BASE_TRANSFORM_SRC_PAD (self), buffer);
    if (ret == GST_FLOW_OK)
      ret = pull_buffer (self, &buffer);
  }
  return ret;
}

/* Tells once what is wrong with sound that goes on all the same. */
static void
warn_once (GstAvatarAudioEnc *self, gboolean *warned, GError *error)
{
  if (!error || *warned) {
    g_clear_error (&error);
    return;
  }
  *warned = TRUE;
  gst_avatar_report_warning (self, error);
}

/* Everything that has been heard goes out; the next sample begins anew. */
static GstFlowReturn
drain (GstAvatarAudioEnc *self)
{
  GstFlowReturn ret = GST_FLOW_OK;
  GError *error = NULL;

  if (!self->encoder || self->clock.n_samples == 0 || self->failed)
    return ret;
  warn_once (self, &self->warned_clock, gst_avatar_sample_clock_check (&self->clock, 0));
  if (avatar_audio_encoder_drain (self->encoder, &error))
    ret = push_ready (self);
  else
    ret = gst_avatar_report_failure (self, error, &self->failed);
  /* A reset would undo a cancel that has not been answered by FLUSH_STOP. */
  if (ret != GST_FLOW_FLUSHING)
    restart (self);
  return ret;
}

static gboolean
upstream_is_live (GstAvatarAudioEnc *self)
{
  g_autoptr (GstQuery) query = gst_query_new_latency ();
  gboolean live = FALSE;

  if (gst_pad_peer_query (GST_BASE_TRANSFORM_SINK_PAD (self), query))
    gst_query_parse_latency (query, &live, NULL, NULL);
  return live;
}

/* Time of a first sample without a stamp. */
static GstClockTime
segment_start (GstAvatarAudioEnc *self)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (self)->segment;

  return segment->format == GST_FORMAT_TIME && segment->start <= G_MAXINT64 ? segment->start : 0;
}

/* Ends the stream, or fills a hole with silence, where the buffer's time stamp says so. @skip:
 * samples of the buffer to leave out. */
static GstFlowReturn
align_time (GstAvatarAudioEnc *self, GstBuffer *buffer, guint64 n, guint64 *skip)
{
  GstClockTime pts = GST_BUFFER_PTS (buffer), start = segment_start (self);
  GstFlowReturn ret = GST_FLOW_OK;
  GstAvatarAlignment todo;
  GError *error = NULL;
  gboolean jump;

  if (self->clock.n_samples == 0)
    self->live = upstream_is_live (self);
  jump = GST_BUFFER_IS_DISCONT (buffer) || !self->live;
  todo = gst_avatar_sample_clock_align (&self->clock, pts, start, n, jump);
  if (todo.restart) {
    GST_INFO_OBJECT (self, "time jumps to %" GST_TIME_FORMAT ": a new stream", GST_TIME_ARGS (pts));
    ret = drain (self);
    todo = gst_avatar_sample_clock_align (&self->clock, pts, start, n, jump);
  }
  if (todo.fill + todo.drop > 0)
    GST_INFO_OBJECT (self,
        "at %" GST_TIME_FORMAT " fills %" G_GUINT64_FORMAT " samples, drops %" G_GUINT64_FORMAT,
        GST_TIME_ARGS (pts), todo.fill, todo.drop);
  if (todo.fill > 0 && !push_silence (self, todo.fill, &error))
    ret = gst_avatar_report_failure (self, error, &self->failed);
  warn_once (self, &self->warned_clock,
      gst_avatar_sample_clock_check (&self->clock, CLOCK_PATIENCE));
  *skip = todo.drop;
  return ret;
}

static GstFlowReturn
gst_avatar_audio_enc_submit_input_buffer (GstBaseTransform *trans, gboolean is_discont,
    GstBuffer *input)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (parent_class);
  GstFlowReturn ret = trans_class->submit_input_buffer (trans, is_discont, input);
  GError *error = NULL;
  GstMapInfo map;
  float *allocated = NULL;
  const float *samples;
  guint64 n, skip;

  if (ret != GST_FLOW_OK || !trans->queued_buf)
    return ret;
  input = g_steal_pointer (&trans->queued_buf);
  if (!gst_buffer_map (input, &map, GST_MAP_READ)) {
    gst_buffer_unref (input);
    return gst_avatar_report_failure (self,
        g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA, "the audio buffer cannot be mapped"),
        &self->failed);
  }
  n = map.size / gst_avatar_mono_get_frame_size (self->mono);
  ret = align_time (self, input, n, &skip);
  if (ret == GST_FLOW_OK && n > skip) {
    samples = gst_avatar_mono_run (self->mono, map.data, n, &allocated);
    warn_once (self, &self->warned_mono, gst_avatar_mono_check (self->mono, MONO_PATIENCE));
    if (GST_BUFFER_FLAG_IS_SET (input, GST_BUFFER_FLAG_GAP))
      add_gap (self, n - skip);
    if (!push_samples (self, samples + skip, n - skip, &error))
      ret = gst_avatar_report_failure (self, error, &self->failed);
  }
  g_free (allocated);
  gst_buffer_unmap (input, &map);
  gst_buffer_unref (input);
  return ret;
}

static GstFlowReturn
gst_avatar_audio_enc_generate_output (GstBaseTransform *trans, GstBuffer **buffer)
{
  return pull_buffer (GST_AVATAR_AUDIO_ENC (trans), buffer);
}

/* Never called; without it the base class would take the element for a passthrough. */
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
  } else if (self->user.engine) {
    GstAvatarFeatureInfo info = feature_info (self);
    ret = gst_avatar_caps_new_features (&info, self->user.engine->info->hash);
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
  /* The format may change between two buffers without a break in the sound. */
  return gst_avatar_mono_set_caps (GST_AVATAR_AUDIO_ENC (trans)->mono, incaps);
}

/* Tensors of a few kilobytes: no pool. */
static gboolean
gst_avatar_audio_enc_decide_allocation (GstBaseTransform *trans, GstQuery *query)
{
  while (gst_query_get_n_allocation_pools (query) > 0)
    gst_query_remove_nth_allocation_pool (query, 0);
  return TRUE;
}

/* Silence up to the gap's end, which also closes a hole before it. */
static gboolean
handle_gap (GstAvatarAudioEnc *self, GstEvent *event)
{
  gint rate = self->user.engine->info->sample_rate;
  GstFlowReturn ret = GST_FLOW_OK;
  GstClockTime pts, duration;
  GError *error = NULL;
  guint64 n;

  gst_event_parse_gap (event, &pts, &duration);
  gst_event_unref (event);
  if (duration > G_MAXINT64)
    duration = 0;
  if (!GST_CLOCK_TIME_IS_VALID (self->clock.base))
    self->clock.base = pts <= G_MAXINT64 ? pts : segment_start (self);
  n = pts <= G_MAXINT64 ? gst_avatar_sample_clock_gap (&self->clock, pts + duration)
                        : gst_util_uint64_scale_int_round (duration, rate, GST_SECOND);
  if (n > gst_util_uint64_scale_int (MAX_SILENCE, rate, GST_SECOND)) {
    ret = drain (self);
  } else if (n > 0) {
    ret = push_silence (self, n, &error) ? push_ready (self)
                                         : gst_avatar_report_failure (self, error, &self->failed);
  }
  /* A gap that has become no silence is not where the sound begins. */
  if (self->clock.n_samples == 0)
    self->clock.base = GST_CLOCK_TIME_NONE;
  return ret == GST_FLOW_OK;
}

static gboolean
handle_eos (GstAvatarAudioEnc *self, GstEvent **event)
{
  GError *error;

  if (drain (self) == GST_FLOW_OK && self->n_samples_total == 0 && !self->failed) {
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
        "the audio is empty: it ended before its first sample; expected at least one");
    gst_avatar_report_failure (self, error, &self->failed);
  }
  if (self->failed) {
    /* So that the elements that follow do not complain about the same again. */
    *event = gst_event_make_writable (*event);
    gst_structure_set (gst_event_writable_structure (*event), "avatar-failed", G_TYPE_BOOLEAN, TRUE,
        NULL);
  }
  return TRUE;
}

static gboolean
handle_segment (GstAvatarAudioEnc *self, GstEvent *event)
{
  const GstSegment *segment;

  gst_event_parse_segment (event, &segment);
  if (segment->format != GST_FORMAT_TIME || segment->rate < 0) {
    GST_ELEMENT_ERROR (self, STREAM, FORMAT,
        ("the audio plays %s: expected a segment in time that runs forward",
            segment->rate < 0 ? "backward" : gst_format_get_name (segment->format)),
        (NULL));
    self->failed = TRUE;
    return FALSE;
  }
  drain (self);
  return TRUE;
}

/* A STREAM_START behind sound waits for its segment. Where none comes (identity single-segment=true,
 * behind the parts of a chained file), time goes on: what follows is the same stream, and its frames
 * continue those before it. */
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
      restart (self);
      break;
    case GST_EVENT_GAP:
      if (self->encoder && gst_pad_has_current_caps (GST_BASE_TRANSFORM_SRC_PAD (self)))
        return handle_gap (self, event);
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
      gst_clear_event (&self->stream_start);
      handle_eos (self, &event);
      break;
    default:
      break;
  }
  return trans_class->sink_event (trans, event);
}

static gboolean
gst_avatar_audio_enc_query (GstBaseTransform *trans, GstPadDirection direction, GstQuery *query)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (trans);
  GstClockTime min, max, own;
  gboolean live;
  guint frames;

  if (gst_avatar_engine_user_query (&self->user, GST_ELEMENT (self), query))
    return TRUE;
  if (!GST_BASE_TRANSFORM_CLASS (parent_class)->query (trans, direction, query))
    return FALSE;
  if (direction == GST_PAD_SRC && GST_QUERY_TYPE (query) == GST_QUERY_LATENCY
      && self->user.engine) {
    gst_query_parse_latency (query, &live, &min, &max);
    GST_OBJECT_LOCK (self);
    /* 30 s of sound is what Whisper hears at once. */
    frames = (self->settings.window_frames ?: 30 * self->user.engine->info->fps)
        + self->settings.context_frames;
    GST_OBJECT_UNLOCK (self);
    own = frames_to_time (self, frames);
    gst_query_set_latency (query, live, min + own,
        GST_CLOCK_TIME_IS_VALID (max) ? max + own : GST_CLOCK_TIME_NONE);
  }
  return TRUE;
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
  if (!gst_avatar_engine_user_open (&self->user, GST_ELEMENT (self)))
    return FALSE;
  GST_OBJECT_LOCK (self);
  settings = self->settings;
  GST_OBJECT_UNLOCK (self);
  encoder = avatar_audio_encoder_new (self->user.engine->model, self->user.engine->device,
      &settings, &error);
  if (encoder && self->user.engine->info->sample_rate != 16000) {
    error = g_error_new (AVATAR_ERROR, AVATAR_ERROR_MISMATCH,
        "model %s wants audio of %u Hz: this element takes 16000 Hz",
        avatar_model_get_path (self->user.engine->model), self->user.engine->info->sample_rate);
    g_clear_pointer (&encoder, avatar_audio_encoder_free);
  }
  if (!encoder) {
    gst_avatar_report_error (self, error);
    gst_avatar_engine_user_close (&self->user, GST_ELEMENT (self));
    return FALSE;
  }
  GST_INFO_OBJECT (self, "computes on %s",
      avatar_device_get_description (avatar_audio_encoder_get_device (encoder)));
  GST_OBJECT_LOCK (self);
  self->encoder = encoder;
  GST_OBJECT_UNLOCK (self);
  restart (self);
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
  gst_clear_event (&self->stream_start);
  gst_avatar_engine_user_close (&self->user, GST_ELEMENT (self));
  return TRUE;
}

static GstStateChangeReturn
gst_avatar_audio_enc_change_state (GstElement *element, GstStateChange transition)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (element);

  /* Before chaining up, which waits for the streaming thread. */
  if (transition == GST_STATE_CHANGE_PAUSED_TO_READY) {
    GST_OBJECT_LOCK (self);
    if (self->encoder)
      avatar_audio_encoder_cancel (self->encoder);
    GST_OBJECT_UNLOCK (self);
  }
  return GST_ELEMENT_CLASS (parent_class)->change_state (element, transition);
}

static void
gst_avatar_audio_enc_set_context (GstElement *element, GstContext *context)
{
  gst_avatar_engine_user_set_context (&GST_AVATAR_AUDIO_ENC (element)->user, element, context);
  GST_ELEMENT_CLASS (parent_class)->set_context (element, context);
}

static void
gst_avatar_audio_enc_set_property (GObject *object, guint id, const GValue *value,
    GParamSpec *pspec)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (object);
  gboolean late;

  if (gst_avatar_engine_user_set_property (&self->user, GST_ELEMENT (self), id, value))
    return;
  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_WINDOW:
      self->settings.window_frames = g_value_get_uint (value);
      break;
    case PROP_CONTEXT:
      self->settings.context_frames = g_value_get_uint (value);
      break;
    case PROP_PARITY:
      self->settings.upstream_rounding = g_value_get_boolean (value);
      break;
    default:
      G_OBJECT_WARN_INVALID_PROPERTY_ID (object, id, pspec);
      break;
  }
  late = self->encoder != NULL;
  GST_OBJECT_UNLOCK (self);
  if (late)
    gst_avatar_report_late (GST_ELEMENT (self), pspec->name);
}

static void
gst_avatar_audio_enc_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  GstAvatarAudioEnc *self = GST_AVATAR_AUDIO_ENC (object);

  if (gst_avatar_engine_user_get_property (&self->user, GST_ELEMENT (self), id, value))
    return;
  GST_OBJECT_LOCK (self);
  switch (id) {
    case PROP_WINDOW:
      g_value_set_uint (value, self->settings.window_frames);
      break;
    case PROP_CONTEXT:
      g_value_set_uint (value, self->settings.context_frames);
      break;
    case PROP_PARITY:
      g_value_set_boolean (value, self->settings.upstream_rounding);
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
  gst_avatar_engine_user_clear (&self->user, GST_ELEMENT (self));
  G_OBJECT_CLASS (parent_class)->finalize (object);
}

static void
gst_avatar_audio_enc_class_init (GstAvatarAudioEncClass *klass)
{
  GObjectClass *object_class = G_OBJECT_CLASS (klass);
  GstElementClass *element_class = GST_ELEMENT_CLASS (klass);
  GstBaseTransformClass *trans_class = GST_BASE_TRANSFORM_CLASS (klass);
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  object_class->set_property = gst_avatar_audio_enc_set_property;
  object_class->get_property = gst_avatar_audio_enc_get_property;
  object_class->finalize = gst_avatar_audio_enc_finalize;
  gst_avatar_engine_install_properties (object_class);
  g_object_class_install_property (object_class, PROP_WINDOW,
      g_param_spec_uint ("window", "Window",
          "Video frames (40 ms) that the encoder hears at once; 0 = the most it can (30 s), "
          "smaller values bound the latency of live streams",
          0, 750, 0, flags));
  g_object_class_install_property (object_class, PROP_CONTEXT,
      g_param_spec_uint ("context", "Context",
          "Video frames (40 ms) heard beyond both ends of a window, so that windows join without "
          "a seam",
          0, 375, AVATAR_AUDIO_CONTEXT_DEFAULT, flags));
  g_object_class_install_property (object_class, PROP_PARITY,
      g_param_spec_boolean ("parity", "Parity",
          "Round the spectrogram to 16 bits as upstream does, for comparisons", FALSE, flags));

  gst_element_class_set_static_metadata (element_class, "Avatar audio encoder",
      "Filter/Converter/Audio", "Speech to one tensor of audio features per video frame",
      "The gst-avatar authors");
  gst_element_class_add_static_pad_template (element_class, &sink_template);
  gst_element_class_add_static_pad_template (element_class, &src_template);
  element_class->change_state = gst_avatar_audio_enc_change_state;
  element_class->set_context = gst_avatar_audio_enc_set_context;

  trans_class->start = gst_avatar_audio_enc_start;
  trans_class->stop = gst_avatar_audio_enc_stop;
  trans_class->transform_caps = gst_avatar_audio_enc_transform_caps;
  trans_class->set_caps = gst_avatar_audio_enc_set_caps;
  trans_class->decide_allocation = gst_avatar_audio_enc_decide_allocation;
  trans_class->sink_event = gst_avatar_audio_enc_sink_event;
  trans_class->query = gst_avatar_audio_enc_query;
  trans_class->submit_input_buffer = gst_avatar_audio_enc_submit_input_buffer;
  trans_class->generate_output = gst_avatar_audio_enc_generate_output;
  trans_class->transform = gst_avatar_audio_enc_transform;

  GST_DEBUG_CATEGORY_INIT (avatar_audio_enc_debug, "avataraudioenc", 0, "Avatar audio encoder");
}

static void
gst_avatar_audio_enc_init (GstAvatarAudioEnc *self)
{
  gst_avatar_engine_user_init (&self->user);
  self->settings.context_frames = AVATAR_AUDIO_CONTEXT_DEFAULT;
  self->gaps = g_array_new (FALSE, FALSE, sizeof (Gap));
  self->mono = gst_avatar_mono_new ();
}
