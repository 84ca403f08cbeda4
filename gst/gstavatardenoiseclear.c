/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event avatar-clear in avatardenoise: see the header. */
#include "gst/gstavatardenoiseclear.h"

#include "gst/gstavatarclear.h"
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

#include <avatar/audio.h>
#include <string.h>

GST_DEBUG_CATEGORY_EXTERN (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

/* Tolerance for rounded times of features. */
#define ROUNDING (GST_MSECOND)

void
gst_avatar_denoise_clear_init (GstAvatarDenoise *self)
{
  self->clear = (GstAvatarDenoiseClear){
    .base = GST_CLOCK_TIME_NONE,
    .next = GST_CLOCK_TIME_NONE,
    .arrived_to = GST_CLOCK_TIME_NONE,
    .dropped_until = GST_CLOCK_TIME_NONE,
    .fps_n = 25,
    .fps_d = 1,
  };
  gst_segment_init (&self->clear.segment, GST_FORMAT_TIME);
  gst_segment_init (&self->clear.arrived_segment, GST_FORMAT_UNDEFINED);
}

static GstClockTime
frames_to_time (const GstAvatarDenoiseClear *clear, guint64 frames)
{
  return gst_util_uint64_scale (frames, GST_SECOND * clear->fps_d, clear->fps_n);
}

/* Returns the number of steps of a window in which the first speaker is silent. If others speak, it
 * is that of a window with speech. The late policy limits both numbers. */
static guint
get_idle_steps (GstAvatarDenoise *self)
{
  guint steps = self->active.idle_steps;

  if (steps == 0 || self->clear.others_to > self->clear.done
      || self->active.mode == AVATAR_DENOISE_MODE_CLIP
      || gst_avatar_denoise_limit_steps (self, steps) < steps)
    return gst_avatar_denoise_get_steps (self);
  return steps;
}

/* Returns TRUE if the window under way can be replaced by one in which the first speaker is silent
 * without more steps than it has, the step under way included. The engine may be closed. */
static gboolean
can_abandon (const GstAvatarDenoise *self)
{
  const GstAvatarDenoiseClear *clear = &self->clear;

  if (self->active.mode == AVATAR_DENOISE_MODE_CLIP)
    return FALSE;
  return clear->started == 0 || clear->started + clear->idle_steps <= clear->steps;
}

/* Drops the features that are not denoised, and returns the position. The object lock is held.
 * @from: PTS of the first sample of the stream of audio, or NONE */
static GstClockTime
drop (GstAvatarDenoise *self, GstClockTime from)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  guint64 first = clear->done;

  if (clear->in_window && !clear->abandon) {
    clear->abandon = can_abandon (self);
    if (!clear->abandon)
      first = clear->pushed;
  }
  if (clear->replace_from == clear->replace_to)
    clear->replace_from = first;
  clear->replace_to = MAX (clear->pushed, clear->replace_from);
  clear->dropped_to = clear->arrived;
  if (GST_CLOCK_TIME_IS_VALID (clear->base))
    return clear->base + frames_to_time (clear, first);
  return GST_CLOCK_TIME_IS_VALID (from) ? from : clear->next;
}

gboolean
gst_avatar_denoise_clear_take_event (GstAvatarDenoise *self, GstEvent *event)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  GstAvatarCleared cleared;
  GstClockTime from;
  GstSegment segment;
  gboolean has_audio = gst_avatar_clear_get_audio (event, &from, &cleared.end);

  GST_OBJECT_LOCK (self);
  cleared.position = drop (self, from);
  if (has_audio)
    clear->dropped_until = cleared.end;
  else
    cleared.end = clear->arrived_to;
  segment = GST_CLOCK_TIME_IS_VALID (clear->base) ? clear->segment : clear->arrived_segment;
  GST_OBJECT_UNLOCK (self);
  GST_INFO_OBJECT (self, "speech is dropped from %" GST_TIME_FORMAT " to %" GST_TIME_FORMAT,
      GST_TIME_ARGS (cleared.position), GST_TIME_ARGS (cleared.end));
  event = gst_avatar_clear_answer (GST_ELEMENT (self), event, &cleared, &segment);
  return gst_pad_push_event (self->srcpad, event);
}

void
gst_avatar_denoise_clear_arrive (GstAvatarDenoise *self, GstBuffer *buffer)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  GstClockTime pts = GST_BUFFER_PTS (buffer);

  GST_OBJECT_LOCK (self);
  /* After a jump back, times do not tell what is dropped. */
  if (GST_BUFFER_IS_DISCONT (buffer) && GST_CLOCK_TIME_IS_VALID (pts)
      && GST_CLOCK_TIME_IS_VALID (clear->arrived_to) && pts < clear->arrived_to)
    clear->dropped_until = GST_CLOCK_TIME_NONE;
  clear->arrived++;
  if (GST_CLOCK_TIME_IS_VALID (pts))
    clear->arrived_to = pts + frames_to_time (clear, 1);
  else if (GST_CLOCK_TIME_IS_VALID (clear->arrived_to))
    clear->arrived_to += frames_to_time (clear, 1);
  if (GST_CLOCK_TIME_IS_VALID (pts) && GST_CLOCK_TIME_IS_VALID (clear->dropped_until)
      && clear->arrived_to <= clear->dropped_until + ROUNDING)
    clear->dropped_to = clear->arrived;
  GST_OBJECT_UNLOCK (self);
}

void
gst_avatar_denoise_clear_arrive_segment (GstAvatarDenoise *self, GstEvent *event)
{
  GstAvatarDenoiseClear *clear = &self->clear;

  GST_OBJECT_LOCK (self);
  gst_event_copy_segment (event, &clear->arrived_segment);
  if (clear->arrived_segment.format != GST_FORMAT_TIME)
    gst_segment_init (&clear->arrived_segment, GST_FORMAT_TIME);
  clear->dropped_until = clear->arrived_to = GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self);
}

void
gst_avatar_denoise_clear_flushed (GstAvatarDenoise *self)
{
  GST_OBJECT_LOCK (self);
  self->clear.taken = self->clear.arrived;
  self->clear.dropped_until = self->clear.arrived_to = GST_CLOCK_TIME_NONE;
  GST_OBJECT_UNLOCK (self);
}

void
gst_avatar_denoise_clear_end_stream (GstAvatarDenoise *self)
{
  GstAvatarDenoiseClear *clear = &self->clear;

  GST_OBJECT_LOCK (self);
  clear->base = GST_CLOCK_TIME_NONE;
  clear->next = self->position;
  clear->pushed = clear->done = clear->speech_to = clear->others_to = 0;
  clear->replace_from = clear->replace_to = 0;
  clear->in_window = clear->abandon = FALSE;
  memset (clear->silent_to, 0, sizeof clear->silent_to);
  GST_OBJECT_UNLOCK (self);
}

void
gst_avatar_denoise_clear_set_segment (GstAvatarDenoise *self, const GstSegment *segment)
{
  GST_OBJECT_LOCK (self);
  self->clear.segment = *segment;
  self->clear.next = segment->start;
  GST_OBJECT_UNLOCK (self);
}

/* Computes the features of silence once. Without the weights of the audio encoder, on a host that
 * has those of the denoiser alone, they are zeros, and a warning says so. */
const float *
gst_avatar_denoise_clear_get_silence (GstAvatarDenoise *self)
{
  const GstAvatarEngine *engine = self->client.engine;
  GError *error = NULL;

  if (self->silence)
    return self->silence;
  self->silence = g_malloc0 (gst_avatar_feature_info_get_size (&self->features));
  if (!avatar_audio_compute_silence (engine->model, engine->device, self->silence, &error)) {
    g_prefix_error (&error,
        "the features of silence are not known, and zeros are used, with which the mouth may move: ");
    gst_avatar_report_warning (self, error);
  }
  return self->silence;
}

const float *
gst_avatar_denoise_clear_take_feature (GstAvatarDenoise *self, GstBuffer *buffer)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  gboolean dropped = buffer == NULL;

  GST_OBJECT_LOCK (self);
  clear->base = self->base;
  clear->fps_n = self->features.fps_n;
  clear->fps_d = self->features.fps_d;
  if (buffer)
    dropped = clear->taken++ < clear->dropped_to;
  clear->pushed++;
  if (!dropped && !GST_BUFFER_FLAG_IS_SET (buffer, GST_BUFFER_FLAG_GAP))
    clear->speech_to = clear->pushed;
  GST_OBJECT_UNLOCK (self);
  return dropped ? gst_avatar_denoise_clear_get_silence (self) : NULL;
}

void
gst_avatar_denoise_clear_note_speech (GstAvatarDenoise *self)
{
  GST_OBJECT_LOCK (self);
  self->clear.others_to = self->clear.pushed;
  GST_OBJECT_UNLOCK (self);
}

gboolean
gst_avatar_denoise_clear_begin_window (GstAvatarDenoise *self, GError **error)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  guint64 from, to;
  guint steps;

  GST_OBJECT_LOCK (self);
  from = clear->replace_from;
  to = clear->replace_to;
  clear->replace_from = clear->replace_to = 0;
  if (clear->speech_to > from && clear->speech_to <= to)
    clear->speech_to = from;
  clear->idle_steps = get_idle_steps (self);
  steps = clear->speech_to <= clear->done ? clear->idle_steps : gst_avatar_denoise_get_steps (self);
  clear->in_window = TRUE;
  clear->abandon = FALSE;
  clear->started = clear->steps = 0;
  GST_OBJECT_UNLOCK (self);
  if (!avatar_denoiser_use_steps (self->denoiser, steps, error))
    return FALSE;
  return from == to
      || avatar_denoiser_replace (self->denoiser, from, to - from,
          gst_avatar_denoise_clear_get_silence (self), error);
}

void
gst_avatar_denoise_clear_end_window (GstAvatarDenoise *self)
{
  GST_OBJECT_LOCK (self);
  self->clear.in_window = FALSE;
  self->clear.done = self->clear.pushed;
  GST_OBJECT_UNLOCK (self);
}

gboolean
gst_avatar_denoise_clear_step (GstAvatarDenoise *self, guint step, guint steps)
{
  GstAvatarDenoiseClear *clear = &self->clear;
  gboolean abandon;

  GST_OBJECT_LOCK (self);
  abandon = clear->abandon;
  clear->steps = steps;
  clear->started = step + 1;
  GST_OBJECT_UNLOCK (self);
  return abandon;
}
