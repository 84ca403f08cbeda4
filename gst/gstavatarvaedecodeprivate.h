/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode inside. The sink pad puts latents and events into a queue; a task of its own
 * decodes them (gstavatarvaedecodetask.c) into a second queue; the task of the source pad pushes
 * from there (gstavatarvaedecode.c). So a sink that waits for the time of a frame does not keep the
 * next tile from being computed, nor a tile the next window from being denoised. */
#pragma once

#include <avatar/decode.h>
#include <gst/video/video.h>

#include "gst/gstavatarcaps.h"
#include "gst/gstavatarcontinuity.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarvaedecode.h"
#include "gst/gstavataritemqueue.h"

G_BEGIN_DECLS

GST_DEBUG_CATEGORY_EXTERN (avatar_vae_decode_debug);

typedef enum
{
  GST_AVATAR_TILING_EXACT,
  GST_AVATAR_TILING_FAST,
  GST_AVATAR_TILING_OFF,
} GstAvatarTiling;

struct _GstAvatarVaeDecode
{
  GstElement parent;

  GstPad *sinkpad, *srcpad;
  GstAvatarEngineUser user;
  GstAvatarTiling tiling;       /* object lock, as the three below */
  guint tile_size, tile_frames; /* 0: the model's */
  gboolean parity;

  GstAvatarWork latents, frames;
  GstTask *task; /* decodes */
  GRecMutex task_lock;

  /* The decoding task's own, except that the pointer is set and cleared under the object lock. */
  AvatarDecoder *decoder;
  GstCaps *caps; /* that it is set up for */
  GstAvatarLatentInfo latent;
  GstVideoInfo out;
  AvatarPixels pixels; /* of out */
  GstBufferPool *pool;
  GstStream *stream;
  GstClockTime base; /* PTS of the first frame */
  guint64 n_latents, n_frames, frames_wanted;
  GstAvatarContinuity continuity;
  guint last_tile;
  gboolean discont;
  gboolean failed; /* an error has been posted */

  /* Answers to queries: object lock. */
  GstSegment segment; /* position: end of the frame that was pushed last */
  GstVideoInfo shown;
};

/* Forgets the stream; the next latent is the first. */
void gst_avatar_vae_decode_task_restart (GstAvatarVaeDecode *self);
void gst_avatar_vae_decode_task_close (GstAvatarVaeDecode *self);
/* From any thread. */
void gst_avatar_vae_decode_task_cancel (GstAvatarVaeDecode *self);
void gst_avatar_vae_decode_task_loop (gpointer data);

/* The decoder's settings for a video of @width x @height pixels. From any thread. */
void gst_avatar_vae_decode_get_settings (GstAvatarVaeDecode *self, guint width, guint height,
    AvatarDecodeSettings *settings);
/* Frames of a temporal tile, and those that a further one adds. */
void gst_avatar_vae_decode_get_tile (GstAvatarVaeDecode *self, guint *frames, guint *further);

/* For the source pad: position, duration, conversion, seeking and latency of the video. */
gboolean gst_avatar_vae_decode_src_query (GstPad *pad, GstObject *parent, GstQuery *query);
gboolean gst_avatar_vae_decode_src_event (GstPad *pad, GstObject *parent, GstEvent *event);

G_END_DECLS
