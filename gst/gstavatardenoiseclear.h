/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The event avatar-clear in avatardenoise. Any thread takes it and answers at once; the task
 * replaces the features of the speech that is dropped by those of silence before the next window.
 * A window that is being denoised is abandoned if silence can take its place without more steps
 * than the window has, so that a clear never makes the video late; else it is completed. */
#pragma once

#include <avatar/speaker.h>
#include <gst/gst.h>

G_BEGIN_DECLS

typedef struct _GstAvatarDenoise GstAvatarDenoise;

/**
 * GstAvatarDenoiseClear:
 * @segment: segment of the stream in the denoiser, always in time. Only the task writes it, and
 *   reads it without the lock
 * @base: PTS of its first feature, or NONE
 * @next: PTS of the next feature if @base is NONE
 * @arrived_segment: segment of the features that arrive
 * @fps_n, @fps_d: features in a second
 * @arrived, @taken: numbers of features that came to the sink pad, and that the task took
 * @arrived_to: PTS of the end of the last one that arrived
 * @dropped_to: features with lower numbers are dropped
 * @dropped_until: features that arrive later and end before this PTS are dropped too, or NONE
 * @pushed, @done: video frames whose features the denoiser has, and whose latents it has made
 * @replace_from, @replace_to: frames whose features are to be replaced; none if equal
 * @speech_to: end of the last frame with speech of the first speaker
 * @others_to: end of the last frame with speech of another speaker
 * @in_window: a window of the frames @done to @pushed is being denoised
 * @started, @steps: steps of it that have begun, and all of them; 0: none has begun
 * @idle_steps: steps that a window in its place has in which the first speaker is silent
 * @abandon: it is to be abandoned
 * @silent_to: frames before these are silent, for each further speaker
 *
 * State that all threads share, under the object lock.
 */
typedef struct
{
  GstSegment segment;
  GstClockTime base, next;
  GstSegment arrived_segment;
  gint fps_n, fps_d;
  guint64 arrived, taken;
  GstClockTime arrived_to;
  guint64 dropped_to;
  GstClockTime dropped_until;
  guint64 pushed, done;
  guint64 replace_from, replace_to;
  guint64 speech_to, others_to;
  gboolean in_window;
  guint started, steps, idle_steps;
  gboolean abandon;
  guint64 silent_to[AVATAR_MAX_SPEAKERS];
} GstAvatarDenoiseClear;

void gst_avatar_denoise_clear_init (GstAvatarDenoise *self);
/* Takes the event avatar-clear @event, posts the answer, and passes it on. Any thread. */
gboolean gst_avatar_denoise_clear_take_event (GstAvatarDenoise *self, GstEvent *event);

/* In the thread of the sink pad: a feature or a segment arrives, or a flush has emptied the
 * queue. */
void gst_avatar_denoise_clear_arrive (GstAvatarDenoise *self, GstBuffer *buffer);
void gst_avatar_denoise_clear_arrive_segment (GstAvatarDenoise *self, GstEvent *event);
void gst_avatar_denoise_clear_flushed (GstAvatarDenoise *self);

/* In the task: a stream ends; a segment begins. */
void gst_avatar_denoise_clear_end_stream (GstAvatarDenoise *self);
void gst_avatar_denoise_clear_set_segment (GstAvatarDenoise *self, const GstSegment *segment);
/* Counts a feature that is pushed next: @buffer, or %NULL for a part of a gap. Returns the features
 * to push instead, or %NULL to push its own. */
const float *gst_avatar_denoise_clear_take_feature (GstAvatarDenoise *self, GstBuffer *buffer);
/* Notes that another speaker speaks in the last frame. */
void gst_avatar_denoise_clear_note_speech (GstAvatarDenoise *self);
/* Returns the features of silence. They belong to @self. */
const float *gst_avatar_denoise_clear_get_silence (GstAvatarDenoise *self);
/* Drops the speech before a window that is due, and notes the end of one. */
gboolean gst_avatar_denoise_clear_begin_window (GstAvatarDenoise *self, GError **error);
void gst_avatar_denoise_clear_end_window (GstAvatarDenoise *self);
/* Notes that @step of @steps steps are done. Returns %TRUE if the window is to be abandoned. */
gboolean gst_avatar_denoise_clear_step (GstAvatarDenoise *self, guint step, guint steps);

G_END_DECLS
