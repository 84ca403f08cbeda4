/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The custom event avatar-clear, which drops speech that was received and is not yet in the video.
 * An application sends it with the fields of its choice, which come back in the element message
 * avatar-cleared. On its way downstream the elements add:
 *   audio-from, audio-to: PTS of the begin of the stream of audio, and of the end of the audio that
 *     was received before the event (avataraudioenc)
 *   position: PTS up to which the video follows the speech; running-time, stream-time: the same
 *     position in these times; dropped: duration of the audio after it that was dropped
 *     (avatardenoise)
 * All of them are GstClockTime, and GST_CLOCK_TIME_NONE if there is no such time. */
#pragma once

#include <gst/gst.h>

G_BEGIN_DECLS

#define GST_AVATAR_CLEAR_EVENT "avatar-clear"
#define GST_AVATAR_CLEARED_MESSAGE "avatar-cleared"

/**
 * GstAvatarCleared:
 * @position: PTS up to which the video follows the speech, or NONE
 * @end: PTS of the end of the audio that is dropped, or NONE
 */
typedef struct
{
  GstClockTime position, end;
} GstAvatarCleared;

/* Returns %TRUE if @event is avatar-clear, out of band or serialized. */
gboolean gst_avatar_clear_is (GstEvent *event);
/* Returns @event, which is taken, as an event out of band with the times of the audio. Serialized
 * events would wait behind the features that they drop. */
GstEvent *
gst_avatar_clear_set_audio (GstEvent *event, GstClockTime audio_from, GstClockTime audio_to);
/* Reads the times of the audio. %FALSE: @event has none, as if sent to avatardenoise. */
gboolean gst_avatar_clear_get_audio (GstEvent *event, GstClockTime *from, GstClockTime *to);
/* Posts the message avatar-cleared of @element, with the fields and the number of @event, and
 * returns @event, which is taken, with the same fields. @segment: segment of the position. */
GstEvent *gst_avatar_clear_answer (GstElement *element, GstEvent *event,
    const GstAvatarCleared *cleared, const GstSegment *segment);

G_END_DECLS
