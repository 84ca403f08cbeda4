/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of avataraudioenc, shared by its files: pads, events and properties
 * (gstavataraudioenc.c), and the stream from samples to features (gstavataraudioencstream.c). */
#pragma once

#include <avatar/audio.h>
#include <gst/base/gstbasetransform.h>

#include "gst/gstavataraudioenc.h"
#include "gst/gstavatarcaps.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarmono.h"
#include "gst/gstavatarsampleclock.h"

G_BEGIN_DECLS

/* A range of silent samples, [start, end), counted from the base of the clock. */
typedef struct
{
  guint64 start, end;
} GstAvatarGap;

struct _GstAvatarAudioEnc
{
  GstBaseTransform parent;

  GstAvatarEngineClient client;
  AvatarAudioSettings settings; /* object lock, like the next four */
  gint lookahead;               /* frames; -1: as the context */
  gboolean align_windows;
  gdouble silence_level;      /* in dBFS */
  AvatarAudioSettings active; /* settings of the encoder */

  AvatarAudioEncoder *encoder; /* set and freed under the object lock, for cancel */
  /* Times of the first sample of the stream and of the end of its last one, and a request to drop
   * the samples so far; object lock. */
  GstClockTime heard_from, heard_to;
  gboolean clear_pending;
  GstBufferPool *pool; /* features */
  GstAvatarMono *mono;
  GstAvatarSampleClock clock;
  GstEvent *stream_start;  /* held back until the next segment */
  GArray *gaps;            /* GstAvatarGap that later frames may lie in */
  guint64 quiet_from;      /* start of the silent range that lasts until the last sample */
  float quiet_level;       /* largest amplitude of silence */
  guint64 n_frames;        /* since the base of the clock */
  guint64 n_samples_total; /* since the start of the element */
  gboolean discont;
  gboolean interrupted; /* downstream was flushing when the stream ended */
  gboolean live;        /* upstream is live, so time stamps may jump for a while */
  gboolean failed;      /* an error has been posted */
  gboolean warned_clock, warned_mono;
  GstClockTime batch_time; /* computing time since the last report */
  guint batch_frames, n_batches;
};

GstClockTime gst_avatar_audio_enc_frames_to_time (GstAvatarAudioEnc *self, guint64 frames);
GstAvatarFeatureInfo gst_avatar_audio_enc_get_feature_info (GstAvatarAudioEnc *self);

/* Starts a new stream with the next sample. */
void gst_avatar_audio_enc_restart (GstAvatarAudioEnc *self);
/* Adds the samples of @buffer. */
GstFlowReturn gst_avatar_audio_enc_take_buffer (GstAvatarAudioEnc *self, GstBuffer *buffer);
/* Adds silence up to the end of a GAP event, which also fills a hole before it. */
GstFlowReturn gst_avatar_audio_enc_take_gap (GstAvatarAudioEnc *self, GstEvent *event);
/* Pulls the next features, and computes a window if one is due. %NULL with OK: more audio is
 * needed. */
GstFlowReturn gst_avatar_audio_enc_pull (GstAvatarAudioEnc *self, GstBuffer **buffer);
/* Drops the audio before the event avatar-clear @event, which is taken and passed on with its
 * position. May be called from any thread. */
gboolean gst_avatar_audio_enc_take_clear (GstAvatarAudioEnc *self, GstEvent *event);
/* Pushes the features of all samples so far. The next sample starts a new stream. */
GstFlowReturn gst_avatar_audio_enc_drain (GstAvatarAudioEnc *self);

G_END_DECLS
