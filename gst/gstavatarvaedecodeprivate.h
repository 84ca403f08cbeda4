/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of avatarvaedecode, shared by its files. The sink pad puts latents and events into a
 * queue; a task (gstavatarvaedecodetask.c) decodes them into a second queue; the task of the
 * source pad (gstavatarvaedecode.c) pushes from there. The next tile is therefore computed while
 * a sink waits for the time of a frame, and the next window is denoised while a tile is decoded. */
#pragma once

#include <avatar/decode.h>
#include <gst/video/video.h>

#include "gst/gstavatarcaps.h"
#include "gst/gstavatarcontinuity.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarenums.h"
#include "gst/gstavatarlateness.h"
#include "gst/gstavatarvaedecode.h"
#include "gst/gstavataritemqueue.h"

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN (avatar_vae_decode_debug);

/* Largest number of queued latents, a window of the released model. The queue of frames holds the
 * frames of a further tile. */
#define GST_AVATAR_MAX_QUEUED_LATENTS 33

struct _GstAvatarVaeDecode
{
  GstElement parent;

  GstPad *sinkpad, *srcpad;
  GstAvatarEngineClient client;
  GstAvatarTiling tiling;       /* object lock, like the next four */
  guint tile_size, tile_frames; /* in pixels and video frames; 0: the model's */
  guint context_latents;        /* with tiling=stream */
  gboolean upstream_rounding;

  GstAvatarItemQueue latents, frames;
  GstTask *task; /* decodes */
  GRecMutex task_lock;

  /* Used by the decoding task alone; the pointer is set and cleared under the object lock. */
  AvatarDecoder *decoder;
  GstCaps *caps; /* latents that the decoder is configured for */
  GstAvatarLatentInfo latent;
  GstVideoInfo out;
  AvatarPixels pixels; /* pixel format of @out */
  GstBufferPool *pool; /* video frames */
  GstStream *stream;
  GstClockTime base; /* PTS of the first frame */
  guint64 n_latents, n_frames, frames_wanted;
  gboolean groups;       /* the decoder decodes groups of latents: tiling=stream */
  GstBuffer *shown_last; /* with groups, the last frame of the stream, or %NULL */
  GstAvatarContinuity continuity;
  guint last_tile;
  gboolean discont;
  gboolean failed; /* an error has been posted */

  /* Used for answers to queries; object lock. */
  GstSegment segment; /* its position is the end of the frame that was pushed last */
  GstVideoInfo shown;
  GstAvatarLateness lateness;
};

/* Starts a new stream with the next latent. */
void gst_avatar_vae_decode_task_restart (GstAvatarVaeDecode *self);
void gst_avatar_vae_decode_task_close (GstAvatarVaeDecode *self);
/* May be called from any thread. */
void gst_avatar_vae_decode_task_cancel (GstAvatarVaeDecode *self);
void gst_avatar_vae_decode_task_loop (gpointer data);

/* Fills @settings for a video of @width x @height pixels. May be called from any thread. */
void gst_avatar_vae_decode_get_settings (GstAvatarVaeDecode *self, guint width, guint height,
    AvatarDecodeSettings *settings);
/* @frames: (out): video frames of the first temporal tile; @further: (out): video frames of each
 * later tile. With tiling=stream, both are those of the largest group. */
void gst_avatar_vae_decode_get_tile (GstAvatarVaeDecode *self, guint *frames, guint *further);

/* Functions of the source pad: position, duration, conversion, seeking and latency of the video. */
gboolean gst_avatar_vae_decode_src_query (GstPad *pad, GstObject *parent, GstQuery *query);
gboolean gst_avatar_vae_decode_src_event (GstPad *pad, GstObject *parent, GstEvent *event);

G_END_DECLS
