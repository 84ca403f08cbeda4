/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared helpers of the element tests: run a pipeline to its end and collect its output. */
#pragma once

#include <gst/check/gstcheck.h>
#include <gst/check/gstharness.h>

G_BEGIN_DECLS

/* Short clips of sound, 40 ms a buffer. */
#define AUDIO(frames)                                               \
  "audiotestsrc wave=saw samplesperbuffer=640 num-buffers=" #frames \
  " ! audio/x-raw,format=F32LE,rate=16000,channels=1 ! avataraudioenc"
#define DENOISE "avatardenoise name=denoise steps=2"
/* Caps that make the video 64 x 64 pixels, after avatardenoise and after avatarvaedecode: for
 * tests whose subject is not the picture, which a sanitizer makes ten times as slow. */
#define SMALL_LATENTS "other/tensors,dimensions=(string)8:8:1:16"
#define SMALL_VIDEO "video/x-raw,width=64,height=64"

typedef struct
{
  guint n_errors;
  GError *error; /* the first */
  guint n_buffers;
  GstClockTime first_pts, end; /* PTS of the first buffer; PTS + duration of the last */
  GByteArray *bytes;           /* contents of all buffers */
  GstCaps *caps;
  GPtrArray *windows; /* avatar-window structures */
  gboolean eos;
} Run;

/* Called for every message as it is posted, by who posts it, and with %NULL at the end, before the
 * pipeline goes to NULL. */
typedef void (*RunFunc) (GstElement *pipeline, GstMessage *message, gpointer data);

/* Plays @pipeline to EOS or the first error, and back to NULL. @func: or %NULL. */
Run *run_play (GstElement *pipeline, RunFunc func, gpointer data);
/* A pipeline with the sample portrait for "denoise" if @portrait. */
GstElement *pipeline_new (const gchar *launch, gboolean portrait);
/* Runs @launch to EOS or the first error and records the buffers of a sink named "sink".
 * @portrait: set the sample portrait as the reference of "denoise". */
Run *run_pipeline (const gchar *launch, gboolean portrait);
void run_free (Run *run);
gchar *sample_path (const gchar *name);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Run, run_free)

G_END_DECLS
