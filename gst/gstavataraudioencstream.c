/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stream of avataraudioenc: aligns samples with their time stamps, fills gaps with silence,
 * mixes to mono, and pulls features. */
#include "gst/gstavataraudioencprivate.h"
#include "gst/gstavatarclear.h"
#include "gst/gstavataroutput.h"
#include "gst/gstavatarreport.h"

#include <math.h>

GST_DEBUG_CATEGORY_EXTERN (avatar_audio_enc_debug);
#define GST_CAT_DEFAULT avatar_audio_enc_debug

/* Longer gaps end the stream. */
#define MAX_SILENCE (60 * GST_SECOND)
/* Amounts of audio after which wrong time stamps and cancelling channels cause a warning. */
#define CLOCK_PATIENCE (10 * GST_SECOND)
#define MONO_PATIENCE (500 * GST_MSECOND)
/* No silent range lasts. */
#define NOT_QUIET G_MAXUINT64

static guint
samples_per_frame (GstAvatarAudioEnc *self)
{
  return self->client.engine->info->sample_rate / self->client.engine->info->fps;
}

GstClockTime
gst_avatar_audio_enc_frames_to_time (GstAvatarAudioEnc *self, guint64 frames)
{
  return gst_util_uint64_scale_int (frames, GST_SECOND, self->client.engine->info->fps);
}

GstAvatarFeatureInfo
gst_avatar_audio_enc_get_feature_info (GstAvatarAudioEnc *self)
{
  const AvatarModelInfo *info = self->client.engine->info;

  return (GstAvatarFeatureInfo){ info->feature_steps, info->feature_states, info->feature_channels,
    info->fps, 1 };
}

void
gst_avatar_audio_enc_restart (GstAvatarAudioEnc *self)
{
  if (self->encoder)
    avatar_audio_encoder_reset (self->encoder);
  g_array_set_size (self->gaps, 0);
  self->quiet_from = NOT_QUIET;
  gst_avatar_sample_clock_init (&self->clock, self->client.engine->info->sample_rate);
  GST_OBJECT_LOCK (self);
  self->heard_from = self->heard_to = GST_CLOCK_TIME_NONE;
  self->clear_pending = FALSE;
  GST_OBJECT_UNLOCK (self);
  self->n_frames = 0;
  self->discont = TRUE;
  self->interrupted = FALSE;
  self->batch_frames = 0;
  self->batch_time = 0;
}

static gboolean
frame_is_gap (GstAvatarAudioEnc *self, guint64 frame)
{
  guint64 start = frame * samples_per_frame (self);
  guint64 end = MIN (start + samples_per_frame (self), self->clock.n_samples);

  while (self->gaps->len > 0 && g_array_index (self->gaps, GstAvatarGap, 0).end <= start)
    g_array_remove_index (self->gaps, 0);
  if (self->quiet_from <= start)
    return TRUE;
  if (self->gaps->len == 0)
    return FALSE;
  return g_array_index (self->gaps, GstAvatarGap, 0).start <= start
      && g_array_index (self->gaps, GstAvatarGap, 0).end >= end;
}

/* Begins a silent range at the next sample, unless one lasts. */
static void
begin_quiet (GstAvatarAudioEnc *self)
{
  if (self->quiet_from == NOT_QUIET)
    self->quiet_from = self->clock.n_samples;
}

/* Ends the silent range before sample @end. A range shorter than a frame covers none. */
static void
end_quiet (GstAvatarAudioEnc *self, guint64 end)
{
  GstAvatarGap gap = { self->quiet_from, end };

  if (self->quiet_from == NOT_QUIET)
    return;
  self->quiet_from = NOT_QUIET;
  if (gap.end >= gap.start + samples_per_frame (self))
    g_array_append_val (self->gaps, gap);
}

/* Replaces the samples before an event avatar-clear by silence, if one came. The frames that are
 * encoded later become gaps. The object lock is held. */
static void
apply_clear (GstAvatarAudioEnc *self)
{
  guint64 first = (self->n_frames + avatar_audio_encoder_get_n_ready (self->encoder))
      * samples_per_frame (self);

  if (!self->clear_pending)
    return;
  self->clear_pending = FALSE;
  avatar_audio_encoder_clear (self->encoder);
  self->quiet_from = MIN (self->quiet_from, first);
  while (self->gaps->len > 0) {
    const GstAvatarGap *last = &g_array_index (self->gaps, GstAvatarGap, self->gaps->len - 1);

    if (last->end < first)
      break;
    self->quiet_from = MIN (self->quiet_from, last->start);
    g_array_set_size (self->gaps, self->gaps->len - 1);
  }
}

static gboolean
push_samples (GstAvatarAudioEnc *self, const float *samples, gsize n, GError **error)
{
  gint64 begin = g_get_monotonic_time ();
  gboolean ok;

  GST_OBJECT_LOCK (self);
  apply_clear (self);
  ok = avatar_audio_encoder_push (self->encoder, samples, n, error);
  gst_avatar_sample_clock_advance (&self->clock, n);
  self->heard_from = self->clock.base;
  self->heard_to = gst_avatar_sample_clock_time (&self->clock, self->clock.n_samples);
  GST_OBJECT_UNLOCK (self);
  self->batch_time += (g_get_monotonic_time () - begin) * GST_USECOND;
  self->n_samples_total += n;
  return ok;
}

gboolean
gst_avatar_audio_enc_take_clear (GstAvatarAudioEnc *self, GstEvent *event)
{
  GstClockTime from, to;

  GST_OBJECT_LOCK (self);
  from = self->heard_from;
  to = self->heard_to;
  self->clear_pending = self->encoder != NULL;
  GST_OBJECT_UNLOCK (self);
  GST_INFO_OBJECT (self, "dropping audio before %" GST_TIME_FORMAT, GST_TIME_ARGS (to));
  event = gst_avatar_clear_set_audio (event, from, to);
  return gst_pad_push_event (GST_BASE_TRANSFORM_SRC_PAD (self), event);
}

static gboolean
push_silence (GstAvatarAudioEnc *self, guint64 n, GError **error)
{
  static const float silence[1024];

  begin_quiet (self);
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
  GstAvatarWindow window = { .stage = "audio",
    .index = self->n_batches,
    .frames = self->batch_frames,
    .timestamp = self->clock.base
        + gst_avatar_audio_enc_frames_to_time (self, self->n_frames - self->batch_frames),
    .duration = gst_avatar_audio_enc_frames_to_time (self, self->batch_frames),
    .compute_time = self->batch_time,
    .computed_on = avatar_audio_encoder_get_device (self->encoder),
    .bad_samples = avatar_audio_encoder_get_n_non_finite (self->encoder) };

  if (self->batch_frames == 0)
    return;
  gst_avatar_engine_client_set_stats (&self->client, GST_ELEMENT (self),
      gst_avatar_report_window (GST_ELEMENT (self), self->client.engine->device, &window));
  gst_avatar_processing_element_add (&self->client.processing, GST_ELEMENT (self),
      window.compute_time, window.duration);
  self->n_batches++;
  self->batch_frames = 0;
  self->batch_time = 0;
}

static void
stamp_features (GstAvatarAudioEnc *self, GstBuffer *buffer)
{
  guint64 n = self->n_frames;
  GstClockTime base = self->clock.base;

  gst_avatar_output_stamp (buffer, n, base + gst_avatar_audio_enc_frames_to_time (self, n),
      base + gst_avatar_audio_enc_frames_to_time (self, n + 1), &self->discont);
  if (frame_is_gap (self, n))
    GST_BUFFER_FLAG_SET (buffer, GST_BUFFER_FLAG_GAP);
}

/* Pulls features into a buffer of the pool. */
static GstFlowReturn
pull_features (GstAvatarAudioEnc *self, GstBuffer **buffer)
{
  GstFlowReturn ret = gst_buffer_pool_acquire_buffer (self->pool, buffer, NULL);
  gint64 begin = g_get_monotonic_time ();
  GError *error = NULL;
  GstMapInfo map;
  AvatarPull pull = AVATAR_PULL_ERROR;

  if (ret != GST_FLOW_OK)
    return ret;
  if (gst_avatar_output_map (*buffer, &map, &error)) {
    pull = avatar_audio_encoder_pull (self->encoder, (float *) map.data, &error);
    gst_buffer_unmap (*buffer, &map);
  }
  self->batch_time += (g_get_monotonic_time () - begin) * GST_USECOND;
  if (pull == AVATAR_PULL_OK)
    return GST_FLOW_OK;
  gst_clear_buffer (buffer);
  return pull == AVATAR_PULL_ERROR ? gst_avatar_report_failure (self, error, &self->failed)
                                   : GST_FLOW_OK;
}

GstFlowReturn
gst_avatar_audio_enc_pull (GstAvatarAudioEnc *self, GstBuffer **buffer)
{
  GstFlowReturn ret;

  *buffer = NULL;
  GST_OBJECT_LOCK (self);
  apply_clear (self);
  GST_OBJECT_UNLOCK (self);
  if (avatar_audio_encoder_get_n_ready (self->encoder) == 0
      && !avatar_audio_encoder_is_due (self->encoder)) {
    report_batch (self);
    return GST_FLOW_OK;
  }
  ret = pull_features (self, buffer);
  if (!*buffer)
    return ret;
  stamp_features (self, *buffer);
  self->n_frames++;
  self->batch_frames++;
  return GST_FLOW_OK;
}

static GstFlowReturn
push_ready (GstAvatarAudioEnc *self)
{
  GstBuffer *buffer;
  GstFlowReturn ret = gst_avatar_audio_enc_pull (self, &buffer);

  while (ret == GST_FLOW_OK && buffer) {
    ret = gst_pad_push (GST_BASE_TRANSFORM_SRC_PAD (self), buffer);
    if (ret == GST_FLOW_OK)
      ret = gst_avatar_audio_enc_pull (self, &buffer);
  }
  return ret;
}

/* Posts @error as a warning, unless it was posted before. Takes ownership of @error. */
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

GstFlowReturn
gst_avatar_audio_enc_drain (GstAvatarAudioEnc *self)
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
  /* Not after a flush has begun: a reset would undo the cancel before FLUSH_STOP. */
  self->interrupted = ret == GST_FLOW_FLUSHING;
  if (!self->interrupted)
    gst_avatar_audio_enc_restart (self);
  return ret;
}

/* Starts a new stream if the last one ended while downstream was flushing, and this element was
 * not. */
static void
restart_interrupted (GstAvatarAudioEnc *self)
{
  if (self->interrupted)
    gst_avatar_audio_enc_restart (self);
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

/* Returns the time of a first sample without a time stamp. */
static GstClockTime
segment_start (GstAvatarAudioEnc *self)
{
  const GstSegment *segment = &GST_BASE_TRANSFORM (self)->segment;

  return segment->format == GST_FORMAT_TIME && segment->start <= G_MAXINT64 ? segment->start : 0;
}

/* Ends the stream, or fills a hole with silence, if the time stamp of @buffer requires it. @n:
 * number of samples in @buffer; @skip: (out): number of them to leave out. */
static GstFlowReturn
align_time (GstAvatarAudioEnc *self, GstBuffer *buffer, guint64 n, guint64 *skip)
{
  GstClockTime pts = GST_BUFFER_PTS (buffer);
  GstAvatarStamp stamp = { .pts = pts, .start = segment_start (self), .n_samples = n };
  GstFlowReturn ret = GST_FLOW_OK;
  GstAvatarAlignment todo;
  GError *error = NULL;

  if (self->clock.n_samples == 0)
    self->live = upstream_is_live (self);
  stamp.is_jump = GST_BUFFER_IS_DISCONT (buffer) || !self->live;
  todo = gst_avatar_sample_clock_align (&self->clock, &stamp);
  if (todo.restart) {
    GST_INFO_OBJECT (self, "time jumps to %" GST_TIME_FORMAT ": starting a new stream",
        GST_TIME_ARGS (pts));
    ret = gst_avatar_audio_enc_drain (self);
    todo = gst_avatar_sample_clock_align (&self->clock, &stamp);
  }
  if (todo.fill + todo.drop > 0)
    GST_INFO_OBJECT (self,
        "at %" GST_TIME_FORMAT ": filling %" G_GUINT64_FORMAT
        " samples, dropping %" G_GUINT64_FORMAT,
        GST_TIME_ARGS (pts), todo.fill, todo.drop);
  if (todo.fill > 0 && !push_silence (self, todo.fill, &error))
    ret = gst_avatar_report_failure (self, error, &self->failed);
  warn_once (self, &self->warned_clock,
      gst_avatar_sample_clock_check (&self->clock, CLOCK_PATIENCE));
  *skip = todo.drop;
  return ret;
}

/* Follows the silent ranges in @samples [@n], which are pushed next. Values that are not finite
 * become silence. */
static void
find_quiet (GstAvatarAudioEnc *self, const float *samples, gsize n)
{
  for (gsize i = 0; i < n; i++) {
    if (fabsf (samples[i]) > self->quiet_level)
      end_quiet (self, self->clock.n_samples + i);
    else if (self->quiet_from == NOT_QUIET)
      self->quiet_from = self->clock.n_samples + i;
  }
}

/* Adds the samples after the first @skip of the mapped @input. */
static GstFlowReturn
push_input (GstAvatarAudioEnc *self, GstBuffer *input, const GstMapInfo *map, guint64 skip)
{
  guint64 n = map->size / gst_avatar_mono_get_frame_size (self->mono);
  g_autofree float *allocated = NULL;
  const float *samples;
  GError *error = NULL;

  if (n <= skip)
    return GST_FLOW_OK;
  samples = gst_avatar_mono_run (self->mono, map->data, n, &allocated);
  warn_once (self, &self->warned_mono, gst_avatar_mono_check (self->mono, MONO_PATIENCE));
  if (GST_BUFFER_FLAG_IS_SET (input, GST_BUFFER_FLAG_GAP))
    begin_quiet (self);
  else
    find_quiet (self, samples + skip, n - skip);
  if (push_samples (self, samples + skip, n - skip, &error))
    return GST_FLOW_OK;
  return gst_avatar_report_failure (self, error, &self->failed);
}

GstFlowReturn
gst_avatar_audio_enc_take_buffer (GstAvatarAudioEnc *self, GstBuffer *buffer)
{
  GstFlowReturn ret;
  GstMapInfo map;
  guint64 skip;

  restart_interrupted (self);
  if (!gst_buffer_map (buffer, &map, GST_MAP_READ))
    return gst_avatar_report_failure (self,
        g_error_new (AVATAR_ERROR, AVATAR_ERROR_DATA,
            "an audio buffer cannot be mapped for reading; add audioconvert before avataraudioenc"),
        &self->failed);
  ret = align_time (self, buffer, map.size / gst_avatar_mono_get_frame_size (self->mono), &skip);
  if (ret == GST_FLOW_OK)
    ret = push_input (self, buffer, &map, skip);
  gst_buffer_unmap (buffer, &map);
  return ret;
}

GstFlowReturn
gst_avatar_audio_enc_take_gap (GstAvatarAudioEnc *self, GstEvent *event)
{
  gint rate = self->client.engine->info->sample_rate;
  GstFlowReturn ret = GST_FLOW_OK;
  GstClockTime pts, duration;
  GError *error = NULL;
  guint64 n;

  restart_interrupted (self);
  gst_event_parse_gap (event, &pts, &duration);
  if (duration > G_MAXINT64)
    duration = 0;
  if (!GST_CLOCK_TIME_IS_VALID (self->clock.base))
    self->clock.base = pts <= G_MAXINT64 ? pts : segment_start (self);
  n = pts <= G_MAXINT64 ? gst_avatar_sample_clock_gap (&self->clock, pts + duration)
                        : gst_util_uint64_scale_int_round (duration, rate, GST_SECOND);
  if (n > gst_util_uint64_scale_int (MAX_SILENCE, rate, GST_SECOND)) {
    ret = gst_avatar_audio_enc_drain (self);
  } else if (n > 0) {
    ret = push_silence (self, n, &error) ? push_ready (self)
                                         : gst_avatar_report_failure (self, error, &self->failed);
  }
  /* A gap that added no silence does not start the stream. */
  if (self->clock.n_samples == 0)
    self->clock.base = GST_CLOCK_TIME_NONE;
  return ret;
}
