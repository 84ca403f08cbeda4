/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Request pad sink_%u of avatardenoise: the face of a further speaker, and a bounded queue of the
 * features of its voice. The streaming thread of the pad puts features in, with their running time;
 * the task of the element takes those of the time of a video frame. */
#pragma once

#include <avatar/image.h>
#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_TYPE_AVATAR_SPEAKER_PAD (gst_avatar_speaker_pad_get_type ())
G_DECLARE_FINAL_TYPE (GstAvatarSpeakerPad, gst_avatar_speaker_pad, GST, AVATAR_SPEAKER_PAD, GstPad)

/* Use of features that arrive: they are dropped after the end of the first speaker's
 * stream. */
typedef enum
{
  GST_AVATAR_SPEAKER_INPUT_QUEUE,
  GST_AVATAR_SPEAKER_INPUT_DROP,
} GstAvatarSpeakerInput;

/* Called when a property has changed. */
typedef void (*GstAvatarSpeakerPadFunc) (GstElement *element);

/* Makes a pad. @max_buffers: limit of the queue; @changed: called with the parent. */
GstAvatarSpeakerPad *gst_avatar_speaker_pad_new (GstPadTemplate *template, const gchar *name,
    guint max_buffers, GstAvatarSpeakerPadFunc changed);
/* Gets copies of the properties. Any thread. */
void
gst_avatar_speaker_pad_get_face (GstAvatarSpeakerPad *self, gchar **face_box, gchar **face_mask);
/* Checks the properties. @box: (out): face in pixels of the whole portrait; all zero with a mask */
gboolean gst_avatar_speaker_pad_check (GstAvatarSpeakerPad *self, AvatarBox *box, GError **error);

/* Chain and event function. @duration: duration of a feature. Take ownership of @buffer and
 * @event. */
GstFlowReturn
gst_avatar_speaker_pad_chain (GstAvatarSpeakerPad *self, GstBuffer *buffer, GstClockTime duration);
void
gst_avatar_speaker_pad_event (GstAvatarSpeakerPad *self, GstEvent *event, GstClockTime duration);
/* Makes silence of the features in the queue, each of @duration, and of those that arrive later and
 * end before the PTS @until. */
void gst_avatar_speaker_pad_silence (GstAvatarSpeakerPad *self, GstClockTime until,
    GstClockTime duration);

/* Starts with an empty queue, or closes it: the streaming thread does not wait any more. */
void gst_avatar_speaker_pad_open (GstAvatarSpeakerPad *self);
void gst_avatar_speaker_pad_close (GstAvatarSpeakerPad *self);
/* Lets gst_avatar_speaker_pad_take() wait, or makes it return at once. */
void gst_avatar_speaker_pad_set_flushing (GstAvatarSpeakerPad *self, GstFlowReturn state);
/* Sets what happens to features. */
void gst_avatar_speaker_pad_set_input (GstAvatarSpeakerPad *self, GstAvatarSpeakerInput input);
/* Sets the reason why features that arrive from now on cannot be used, which is taken, or %NULL. */
void gst_avatar_speaker_pad_set_error (GstAvatarSpeakerPad *self, GError *error);
/* Drops features until the flush that a seek is about to cause, if the pad has a peer; or does not
 * any more. */
void gst_avatar_speaker_pad_expect_flush (GstAvatarSpeakerPad *self);
void gst_avatar_speaker_pad_expect_no_flush (GstAvatarSpeakerPad *self);
/* Waits for the features at running time @time, of video frames of @duration. @buffer: (out):
 * %NULL for silence. Returns %GST_FLOW_FLUSHING if the wait was ended, and %GST_FLOW_ERROR with
 * @error set if they cannot be used. */
GstFlowReturn gst_avatar_speaker_pad_take (GstAvatarSpeakerPad *self, GstClockTimeDiff time,
    GstClockTime duration, GstBuffer **buffer, GError **error);

G_END_DECLS
