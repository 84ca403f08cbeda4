/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatardenoise inside: what its pads (gstavatardenoise.c) and its task (gstavatardenoisetask.c)
 * share. The pads put features and events into the work queue; the task denoises and pushes. */
#pragma once

#include "gst/gstavatarcaps.h"
#include "gst/gstavatarcontinuity.h"
#include "gst/gstavatardenoise.h"
#include "gst/gstavatardenoiseprops.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarreference.h"
#include "gst/gstavataritemqueue.h"

G_BEGIN_DECLS

struct _GstAvatarDenoise
{
  GstElement parent;

  GstPad *sinkpad, *srcpad;
  GstPad *refpad; /* object lock */
  GstAvatarEngineUser user;
  GstAvatarDenoiseProps props; /* object lock, as the three below */
  GstAvatarDenoiseProps
      taken;        /* what is in force; written by the task alone, which reads it without */
  gboolean started; /* there is something in force */
  guint64 changed;  /* properties set since they were taken: bits */
  GstAvatarReference reference;
  GstAvatarWork work;

  /* The task's own, except that the pointer is set and cleared under the object lock. */
  AvatarDenoiser *denoiser;
  gboolean have_reference;
  GstCaps *caps; /* that the denoiser is set up for */
  GstAvatarFeatureInfo features;
  gsize latent_size;
  guint width, height;    /* of the video */
  AvatarFaceBox face_box; /* on the portrait that is in force */
  GstBuffer *spare;       /* latent to be filled */
  GstBufferList *held;    /* first latents of a stream, until a decoder can begin with them */
  guint n_needed;         /* how many that are */
  GstClockTime base;      /* PTS of the first feature */
  guint64 n_features, n_latents;
  GstAvatarContinuity continuity;
  GstClockTime position; /* where a feature without PTS belongs */
  guint n_features_total;
  guint last_window;
  gboolean discont;
  const gchar *working_on; /* code of the progress that has started and not ended */
  gboolean failed;         /* an error has been posted */
};

/* The first video frame of a latent frame. */
guint64 gst_avatar_denoise_first_frame (guint64 latent);
GstClockTime gst_avatar_denoise_frames_to_time (GstAvatarDenoise *self, guint64 frames);
/* Forgets the stream; the next feature is the first. */
void gst_avatar_denoise_task_restart (GstAvatarDenoise *self);
void gst_avatar_denoise_task_close (GstAvatarDenoise *self);
/* The end of the progress that is going on, if one is. */
void
gst_avatar_denoise_end_progress (GstAvatarDenoise *self, GstProgressType type, const gchar *text);
/* From any thread. */
void gst_avatar_denoise_task_cancel (GstAvatarDenoise *self);
void gst_avatar_denoise_task_loop (gpointer data);

/* @image fitted to the video's size, 0 x 0 for the model's choice. @face: (out): where the face is on it */
AvatarImage *gst_avatar_denoise_fit (GstAvatarDenoise *self, const AvatarImage *image, guint width,
    guint height, const GstAvatarDenoiseProps *props, AvatarFaceBox *face, GError **error);
/* What of the prompts in force is too long. */
void gst_avatar_denoise_report_cuts (GstAvatarDenoise *self);

/* From any thread: the property @id was set. Tells if that has no effect now. */
void gst_avatar_denoise_note_set (GstAvatarDenoise *self, guint id, GParamSpec *pspec);
/* Before a denoiser is made: the properties as they are; after the first time, those that may change. */
gboolean gst_avatar_denoise_take_all (GstAvatarDenoise *self, GError **error);
/* Before a window: what was set since. What is wrong with it is a warning; FLUSHING: cancelled. */
GstFlowReturn gst_avatar_denoise_take_up (GstAvatarDenoise *self);

G_END_DECLS
