/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the elements tell the application: errors, progress and statistics on the bus. */
#pragma once

#include <avatar/denoise.h>
#include <avatar/image.h>
#include <gst/gst.h>

G_BEGIN_DECLS

/**
 * GstAvatarChunk:
 * A piece of work that is done: a window of the audio encoder or the denoiser, a tile of the
 * decoder.
 * @stage: "audio", "denoise" or "decode"
 * @index: of the piece since the start of the stream
 * @frames: video frames that it made or covers
 * @timestamp, @duration: the stretch of the stream, in ns
 * @compute_time: wall-clock time, in ns
 * @computed_on: the device that did it
 * @bad_samples: audio samples so far that were not finite and became silence
 * @resident, @streamed, @evicted, @restored, @uploaded: see AvatarDenoiseStats; all 0: left out
 */
typedef struct
{
  const gchar *stage;
  guint index;
  guint frames;
  GstClockTime timestamp, duration;
  GstClockTime compute_time;
  AvatarDevice *computed_on;
  guint64 bad_samples;
  guint resident, streamed, evicted, restored;
  guint64 uploaded;
} GstAvatarChunk;

/* Posts @error on the bus in the domain that fits it and frees it. @file: __FILE__ of the caller. */
void gst_avatar_report_error_full (GstElement *element, GError *error, const gchar *file,
    const gchar *function, gint line);
#define gst_avatar_report_error(element, error) \
  gst_avatar_report_error_full (GST_ELEMENT (element), error, __FILE__, GST_FUNCTION, __LINE__)

/* The same for what goes on all the same. */
void gst_avatar_report_warning_full (GstElement *element, GError *error, const gchar *file,
    const gchar *function, gint line);
#define gst_avatar_report_warning(element, error) \
  gst_avatar_report_warning_full (GST_ELEMENT (element), error, __FILE__, GST_FUNCTION, __LINE__)

/* Warns that @property, set while there is a stage that was made without, does nothing yet. */
void gst_avatar_report_late (GstElement *element, const gchar *property);

/* What a stage's failure means for the flow: being cancelled is flushing; anything else is an error
 * and posted, unless @failed says that one was before. Frees @error. */
GstFlowReturn gst_avatar_report_failure_full (GstElement *element, GError *error, gboolean *failed,
    const gchar *file, const gchar *function, gint line);
#define gst_avatar_report_failure(element, error, failed)                                       \
  gst_avatar_report_failure_full (GST_ELEMENT (element), error, failed, __FILE__, GST_FUNCTION, \
      __LINE__)

/* @percent: 0 to 100, or -1 for none. */
void gst_avatar_report_progress (GstElement *element, GstProgressType type, const gchar *code,
    gint percent, const gchar *text);

/* Sets memory-now, memory-peak and budget. */
void gst_avatar_report_memory (GstStructure *structure, AvatarDevice *device);
/* Posts the element message "avatar-chunk" with the memory of @device and returns its structure, for the stats property. */
GstStructure *
gst_avatar_report_chunk (GstElement *element, AvatarDevice *device, const GstAvatarChunk *chunk);

/* Tells what of the prompt that is @property is too long to be seen: a warning, or, where only CLIP does not
 * see it, an info, whose details have "property", "dropped" (tokens) and "dropped-clip". */
void gst_avatar_report_cut (GstElement *element, const gchar *property,
    const AvatarPromptTruncation *cut);

/* Posts the element message "avatar-face": whence @box is, on a picture of @width x @height pixels, and
 * where it is: the face that moves. @source: "face-box", "detector", or "none": the whole picture. */
void gst_avatar_report_face (GstElement *element, const gchar *source, const AvatarFaceBox *box,
    guint width, guint height);

G_END_DECLS
