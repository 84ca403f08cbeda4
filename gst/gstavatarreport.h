/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Messages of the elements on the bus: errors, warnings, progress and statistics. */
#pragma once

#include <avatar/denoise.h>
#include <avatar/image.h>
#include <gst/gst.h>

G_BEGIN_DECLS

/* Name of the statistics message, and of the structure in the property stats. */
#define GST_AVATAR_WINDOW_MESSAGE "avatar-window"

/**
 * GstAvatarWindow:
 * @stage: "audio", "denoise" or "decode"
 * @index: number of the window or tile since the start of the stream
 * @frames: number of video frames
 * @timestamp, @duration: position in the stream, in ns
 * @compute_time: wall-clock time, in ns
 * @computed_on: the device
 * @steps: number of denoising steps; left out if 0
 * @bad_samples: number of audio samples so far that were not finite and were replaced by silence
 * @resident, @streamed, @evicted, @restored: numbers of weight groups, see AvatarDenoiseStats; left
 *   out if all are 0
 * @uploaded: bytes of weights that were copied to the device
 *
 * Statistics of a completed window of the audio encoder or the denoiser, or of a temporal tile of
 * the decoder.
 */
typedef struct
{
  const gchar *stage;
  guint index;
  guint frames;
  GstClockTime timestamp, duration;
  GstClockTime compute_time;
  AvatarDevice *computed_on;
  guint steps;
  guint64 bad_samples;
  guint resident, streamed, evicted, restored;
  guint64 uploaded;
} GstAvatarWindow;

/* Posts @error in the GStreamer domain that corresponds to it, and frees it. @file, @function,
 * @line: position of the caller in the source. */
void gst_avatar_report_error_full (GstElement *element, GError *error, const gchar *file,
    const gchar *function, gint line);
#define gst_avatar_report_error(element, error) \
  gst_avatar_report_error_full (GST_ELEMENT (element), error, __FILE__, GST_FUNCTION, __LINE__)

/* Posts @error as a warning, and frees it. */
void gst_avatar_report_warning_full (GstElement *element, GError *error, const gchar *file,
    const gchar *function, gint line);
#define gst_avatar_report_warning(element, error) \
  gst_avatar_report_warning_full (GST_ELEMENT (element), error, __FILE__, GST_FUNCTION, __LINE__)

/* Warns that @property was set too late to have an effect on the running stage. */
void gst_avatar_report_too_late (GstElement *element, const gchar *property);

/**
 * gst_avatar_report_failure_full:
 * @error: (transfer full)
 * @failed: (inout): an error has been posted; then @error is not
 *
 * Maps an error of the engine to a flow return, and posts it unless the stage was cancelled.
 *
 * Returns: %GST_FLOW_FLUSHING if cancelled, else %GST_FLOW_ERROR
 */
GstFlowReturn gst_avatar_report_failure_full (GstElement *element, GError *error, gboolean *failed,
    const gchar *file, const gchar *function, gint line);
#define gst_avatar_report_failure(element, error, failed)                                       \
  gst_avatar_report_failure_full (GST_ELEMENT (element), error, failed, __FILE__, GST_FUNCTION, \
      __LINE__)

/* @percent: 0 to 100, or -1 for none. */
void gst_avatar_report_progress (GstElement *element, GstProgressType type, const gchar *code,
    gint percent, const gchar *text);

/* Sets the fields memory-now, memory-peak and budget, in bytes. */
void gst_avatar_report_memory (GstStructure *structure, AvatarDevice *device);
/* Posts the element message "avatar-window" with the memory of @device, and the same under its
 * deprecated name "avatar-chunk". Returns the structure for the property stats. */
GstStructure *
gst_avatar_report_window (GstElement *element, AvatarDevice *device, const GstAvatarWindow *window);

/* Posts a warning that the end of the prompt in @property is ignored; or an info message, if
 * CLIP alone ignores it. The details have the fields "property", "dropped" and "dropped-clip"
 * (tokens). */
void gst_avatar_report_truncation (GstElement *element, const gchar *property,
    const AvatarPromptTruncation *cut);

/* Posts the element message "avatar-face": the box of the animated face on a picture of @width x
 * @height pixels. @source: "face-box", "detector", or "none" for the whole picture. */
void gst_avatar_report_face (GstElement *element, const gchar *source, const AvatarFaceBox *box,
    guint width, guint height);

G_END_DECLS
