/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* State of avatardenoise, shared by its files. The pads (gstavatardenoise.c) put features and
 * events into a queue; the task (gstavatardenoisetask.c) takes them, denoises, and pushes
 * latents. */
#pragma once

#include "gst/gstavatarcaps.h"
#include "gst/gstavatarcontinuity.h"
#include "gst/gstavatardenoise.h"
#include "gst/gstavatardenoiseclear.h"
#include "gst/gstavatardenoiseprops.h"
#include "gst/gstavatarengineclient.h"
#include "gst/gstavatarreference.h"
#include "gst/gstavatarenums.h"
#include "gst/gstavataritemqueue.h"
#include "gst/gstavatarlateness.h"
#include "gst/gstavatarquery.h"
#include "gst/gstavatarspeakerpad.h"

G_BEGIN_DECLS

/**
 * GstAvatarDenoiseLate:
 * @lateness: clock and sinks; object lock. The rest is used by the task alone
 * @max_steps: limit of the steps; 0: none
 * @step_time: time of a step of the last window, in ns; 0: not known
 * @begin: running time at which the last window began, or %GST_CLOCK_TIME_NONE
 * @n_in_time: windows in time since the last change of the steps
 * @patience: windows in time before another step is tried
 * @probing: the last change of the steps has added one
 * @skipping: the last window was skipped
 * @n_processed, @n_dropped: video frames
 *
 * State of the late policy.
 */
typedef struct
{
  GstAvatarLateness lateness;
  guint max_steps;
  GstClockTime step_time, begin;
  guint n_in_time, patience;
  gboolean probing, skipping;
  guint64 n_processed, n_dropped;
} GstAvatarDenoiseLate;

/**
 * GstAvatarFaces: faces on the fitted portrait
 * @first: box of the first speaker; all zero: the whole picture
 * @others: [n_others], the further speakers, with masks that are owned
 */
typedef struct
{
  AvatarFaceBox first;
  AvatarSpeaker others[AVATAR_MAX_SPEAKERS - 1];
  guint n_others;
} GstAvatarFaces;

struct _GstAvatarDenoise
{
  GstElement parent;

  GstPad *sinkpad, *srcpad;
  GstPad *refpad; /* object lock */
  /* Further speakers: pads, all that were requested; those that the denoiser has, which only the
   * task changes, and which outlive a release; all under the object lock. */
  GPtrArray *speakers, *voices;
  gboolean has_voices;    /* the voices are chosen, and no pad may be added */
  guint64 n_requested;    /* above the numbers of the pads requested so far */
  gboolean faces_changed; /* a property of a pad was set since it was last applied */
  GstAvatarEngineClient client;
  GstAvatarDenoiseProps props; /* object lock, like the next three */
  /* Settings in use. Only the task writes them, and reads them without the lock. */
  GstAvatarDenoiseProps active;
  gboolean has_active;
  guint64 changed; /* bits: properties that were set since they were last applied */
  GstAvatarReference reference;
  GstAvatarItemQueue items;
  GstAvatarDenoiseClear clear; /* object lock */

  /* Used by the task alone; the pointer is set and cleared under the object lock. */
  AvatarDenoiser *denoiser;
  gboolean have_reference;
  GstCaps *caps; /* features that the denoiser is configured for */
  GstAvatarFeatureInfo features;
  gsize latent_size;     /* in bytes */
  guint width, height;   /* size of the video, in pixels */
  GstAvatarFaces faces;  /* on the portrait in use */
  GstBufferPool *pool;   /* latents */
  GstBufferList *held;   /* first latents of a stream, until a decoder can begin with them */
  guint n_needed;        /* number of latents that the decoder needs to begin */
  gboolean needs_window; /* the decoder also needs a whole window to begin */
  GstClockTime base;     /* PTS of the first feature */
  guint64 n_features, n_latents;
  GstAvatarContinuity continuity;
  GstClockTime position; /* time of a feature without PTS */
  guint n_features_total;
  guint last_window;
  gboolean discont;
  GstAvatarDenoiseLate late;
  float *silence;          /* features of silence, or %NULL if not needed yet */
  const gchar *working_on; /* code of the progress that has not ended */
  gboolean failed;         /* an error has been posted */
};

/* Gets the latents of a window, and those of them that belong to the window before. Returns %FALSE
 * in clip mode, which has no windows. May be called from any thread while the engine is open. */
gboolean gst_avatar_denoise_get_windows (GstAvatarDenoise *self, guint *window, guint *overlap);
/* Gets the numbers of video frames of the first window and of each later one, in the same way. */
gboolean gst_avatar_denoise_get_portions (GstAvatarDenoise *self, GstAvatarPortions *portions);
/* Returns the index of the first video frame of a latent frame. */
guint64 gst_avatar_denoise_first_frame (guint64 latent);
GstClockTime gst_avatar_denoise_frames_to_time (GstAvatarDenoise *self, guint64 frames);
/* Returns the PTS of a video frame of the stream. */
GstClockTime gst_avatar_denoise_frame_to_pts (GstAvatarDenoise *self, guint64 frame);
/* Starts a new stream with the next feature. */
void gst_avatar_denoise_task_restart (GstAvatarDenoise *self);
void gst_avatar_denoise_task_close (GstAvatarDenoise *self);
/* Ends the progress that is under way, if any. */
void
gst_avatar_denoise_end_progress (GstAvatarDenoise *self, GstProgressType type, const gchar *text);
/* May be called from any thread. */
void gst_avatar_denoise_task_cancel (GstAvatarDenoise *self);
void gst_avatar_denoise_task_loop (gpointer data);

/* Fits @image to the size of the video, or to the model's own size if @width and @height are 0.
 * @faces: (out): the faces on the result; cleared by the caller. */
AvatarImage *gst_avatar_denoise_fit (GstAvatarDenoise *self, const AvatarImage *image, guint width,
    guint height, const GstAvatarDenoiseProps *props, GstAvatarFaces *faces, GError **error);
/* Warns of a portrait from which the model makes no good video. Failing to find out is no error. */
void gst_avatar_denoise_measure (GstAvatarDenoise *self, const AvatarImage *fitted);

/* Further speakers: gstavatardenoisespeakers.c.
 * Adds a pad, or returns %NULL with a warning. Removes one; %FALSE: @pad is another pad. */
GstPad *gst_avatar_denoise_add_speaker (GstAvatarDenoise *self, GstPadTemplate *template,
    const gchar *name, GstPadQueryFunction query);
gboolean gst_avatar_denoise_remove_speaker (GstAvatarDenoise *self, GstPad *pad);
/* Returns references to the pads. */
GPtrArray *gst_avatar_denoise_get_speakers (GstAvatarDenoise *self);
/* Checks the properties of all pads. */
gboolean gst_avatar_denoise_check_speakers (GstAvatarDenoise *self, GError **error);
/* Makes the pads of now the speakers of the next denoiser, or forgets those of the last one. */
void gst_avatar_denoise_take_speakers (GstAvatarDenoise *self);
void gst_avatar_denoise_forget_speakers (GstAvatarDenoise *self);
/* Sets the faces in @settings, which refers to @faces. */
void gst_avatar_faces_apply (const GstAvatarFaces *faces, AvatarDenoiseSettings *settings);
void gst_avatar_faces_clear (GstAvatarFaces *faces);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (GstAvatarFaces, gst_avatar_faces_clear)
/* Pushes the features of all further speakers for video frame @frame. Waits for them. */
GstFlowReturn
gst_avatar_denoise_push_voices (GstAvatarDenoise *self, guint64 frame, GError **error);
/* Replaces video frames of all further speakers whose speech is dropped by silence. */
gboolean gst_avatar_denoise_clear_voices (GstAvatarDenoise *self, GError **error);
/* Lets the task wait for further speakers, or ends its wait. Any thread. */
void gst_avatar_denoise_set_speakers_flushing (GstAvatarDenoise *self, GstFlowReturn state);
/* Sets whether the features of further speakers are dropped. Any thread. */
void gst_avatar_denoise_set_speakers_input (GstAvatarDenoise *self, GstAvatarSpeakerInput input);
/* Sends a seek upstream on all pads. Takes @event. */
gboolean gst_avatar_denoise_seek (GstAvatarDenoise *self, GstEvent *event);
/* Reports contents of LoRA files that are not used. */
void gst_avatar_denoise_report_warnings (GstAvatarDenoise *self);
/* Reports prompts that are too long. */
void gst_avatar_denoise_report_truncations (GstAvatarDenoise *self);

/* Notes that a property was set, and warns if that has no effect now. May be called from any
 * thread. */
void gst_avatar_denoise_property_set (GstAvatarDenoise *self, guint id, GParamSpec *pspec);
/* Makes the properties the active settings before a denoiser is created: all of them the first
 * time, later those that may change while playing. */
gboolean gst_avatar_denoise_adopt_all (GstAvatarDenoise *self, GError **error);
/* Applies changed properties before a window. An invalid value causes a warning. Returns
 * FLUSHING if cancelled. */
GstFlowReturn gst_avatar_denoise_apply_changes (GstAvatarDenoise *self);

/* Changes the denoiser to the number of steps that the late policy allows. */
gboolean gst_avatar_denoise_change_steps (GstAvatarDenoise *self, GError **error);

/* Pushes the first latents of a stream, if they were held back. */
GstFlowReturn gst_avatar_denoise_push_held (GstAvatarDenoise *self);

/* Forgets all decisions. */
void gst_avatar_denoise_late_reset (GstAvatarDenoise *self);
/* Returns @steps, or fewer if the late policy says so. */
guint gst_avatar_denoise_limit_steps (GstAvatarDenoise *self, guint steps);
/* Returns the number of steps that the property asks for, or the model's. */
guint gst_avatar_denoise_get_wanted_steps (GstAvatarDenoise *self);
/* Returns the number of steps of a window with speech: those wanted, limited. */
guint gst_avatar_denoise_get_steps (GstAvatarDenoise *self);
/* Applies the late policy to the window that is due. @skipped: (out): it was skipped. */
GstFlowReturn gst_avatar_denoise_keep_up (GstAvatarDenoise *self, gboolean *skipped);
/* Takes note of the time that a window of @n_frames new video frames took. */
void gst_avatar_denoise_note_window (GstAvatarDenoise *self, const AvatarDenoiseStats *stats,
    guint n_frames);

G_END_DECLS
