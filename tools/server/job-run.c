/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/job-run.h"

#include <glib/gstdio.h>
#include <gst/video/video.h>
#include <string.h>

/* Constant quality: at a mean rate, the bytes of the H.264 encoder depend on its threads. The AAC
 * encoder adds 1024 samples of delay without reporting them. They fill its first packet,
 * which is dropped; the threshold keeps the muxer from filling the gap. Audio leaves avatarbin
 * together with its video, so the queues have their usual limits. */
#define PIPELINE                                                                                         \
  "filesrc name=in ! decodebin name=reader "                                                             \
  "audioconvert name=mixer ! audioresample ! audio/x-raw,rate=48000,channels=[1,2] "                     \
  "! identity single-segment=true drop-allocation=true "                                                 \
  "! audiorate name=rate tolerance=1000000000 skip-to-first=true ! avatarbin name=avatar "               \
  "avatar.video ! capsfilter name=size ! queue ! videoconvert ! video/x-raw,format=I420 "                \
  "! x264enc pass=qual quantizer=18 ! mp4mux name=mux start-gap-threshold=30000000 ! filesink name=out " \
  "avatar.audio ! queue ! audioconvert ! audioresample ! avenc_aac ! identity name=delay ! mux."
#define DELAY_SAMPLES 1024
/* Wait (ns) between two looks whether the job is still wanted. */
#define LOOK (100 * GST_MSECOND)
/* Shortest time (us) between two pictures that are kept for clients. */
#define PICTURE_INTERVAL (200 * G_TIME_SPAN_MILLISECOND)

typedef struct
{
  AvatarJob *job;
  const AvatarServerConfig *config;
  AvatarPlanner *planner;
  GstElement *pipeline;
  GstPad *sink; /* input of the audio chain */
  gint64 picture_time;
  gboolean too_long;
} Run;

/* ------------------------------------------------------------------------------------- pictures */

/* Keeps a copy, because the decoder uses its buffers again. */
static GstPadProbeReturn
on_picture (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Run *run = data;
  AvatarJob *job = run->job;
  gint64 now = g_get_monotonic_time ();
  g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);
  g_autoptr (GstBuffer) copy = NULL;
  GstSample *sample;

  if (run->picture_time == 0 || now - run->picture_time >= PICTURE_INTERVAL)
    copy = gst_buffer_copy_deep (GST_PAD_PROBE_INFO_BUFFER (info));
  g_mutex_lock (&job->lock);
  job->frames_done++;
  if (copy && caps) {
    run->picture_time = now;
    if (!job->first_picture)
      job->first_picture = g_get_real_time ();
    sample = gst_sample_new (copy, caps, NULL, NULL);
    g_clear_pointer (&job->picture, gst_sample_unref);
    job->picture = sample;
    job->n_pictures++;
  }
  g_mutex_unlock (&job->lock);
  return GST_PAD_PROBE_OK;
}

/* Ends a job whose audio turns out to be longer than its header said. */
static GstPadProbeReturn
on_sound (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Run *run = data;
  GstClockTime time = GST_BUFFER_PTS (GST_PAD_PROBE_INFO_BUFFER (info));

  if (!GST_CLOCK_TIME_IS_VALID (time) || time / GST_SECOND <= run->config->most_seconds
      || run->too_long)
    return GST_PAD_PROBE_OK;
  run->too_long = TRUE;
  gst_element_post_message (run->pipeline,
      gst_message_new_application (GST_OBJECT (run->pipeline),
          gst_structure_new_empty ("too-long")));
  return GST_PAD_PROBE_DROP;
}

/* ------------------------------------------------------------------------------------- pipeline */

/* Links one audio stream after the other, as "decodebin : audioconvert" of gst-launch-1.0 does. */
static void
on_pad (GstElement *decodebin, GstPad *pad, gpointer data)
{
  Run *run = data;
  g_autoptr (GstCaps) caps = gst_pad_query_caps (pad, NULL);

  if (!gst_caps_is_empty (caps) && !gst_caps_is_any (caps)
      && gst_structure_has_name (gst_caps_get_structure (caps, 0), "audio/x-raw")
      && !gst_pad_is_linked (run->sink))
    gst_pad_link (pad, run->sink);
}

static void
on_no_more_pads (GstElement *decodebin, gpointer data)
{
  Run *run = data;

  if (!gst_pad_is_linked (run->sink))
    gst_element_post_message (run->pipeline,
        gst_message_new_application (GST_OBJECT (run->pipeline),
            gst_structure_new_empty ("no-sound")));
}

static void
set_location (Run *run, const char *element, const char *property, const char *file)
{
  g_autoptr (GstElement) found = gst_bin_get_by_name (GST_BIN (run->pipeline), element);
  g_autofree char *path = avatar_job_path (run->job, file);

  g_object_set (found, property, path, NULL);
}

static void
set_size (Run *run)
{
  const AvatarJobSettings *settings = &run->job->settings;
  g_autoptr (GstElement) filter = gst_bin_get_by_name (GST_BIN (run->pipeline), "size");
  g_autoptr (GstCaps) caps = gst_caps_new_simple ("video/x-raw", "width", G_TYPE_INT,
      (int) settings->width, "height", G_TYPE_INT, (int) settings->height, NULL);

  if (settings->width)
    g_object_set (filter, "caps", caps, NULL);
}

static void
add_probe (Run *run, const char *element, const char *name, GstPadProbeCallback callback)
{
  g_autoptr (GstElement) found = gst_bin_get_by_name (GST_BIN (run->pipeline), element);
  g_autoptr (GstPad) pad = gst_element_get_static_pad (found, name);

  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, callback, run, NULL);
}

/* Audio shorter than a packet of AAC is all in the first one, which must then be kept. */
static void
set_delay (Run *run)
{
  g_autoptr (GstElement) delay = gst_bin_get_by_name (GST_BIN (run->pipeline), "delay");

  if (run->job->frames_total > 1)
    gst_util_set_object_arg (G_OBJECT (delay), "drop-buffer-flags", "discont");
}

static gboolean
make_pipeline (Run *run, AvatarProblem **problem)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GstElement) decode = NULL, convert = NULL, avatar = NULL;

  run->pipeline = gst_parse_launch_full (PIPELINE, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
  if (!run->pipeline)
    return avatar_problem_set (problem, 500, "the elements of GStreamer that a job needs",
        "install the GStreamer plugins base, good, bad, ugly and libav", "%s", error->message);
  decode = gst_bin_get_by_name (GST_BIN (run->pipeline), "reader");
  convert = gst_bin_get_by_name (GST_BIN (run->pipeline), "mixer");
  avatar = gst_bin_get_by_name (GST_BIN (run->pipeline), "avatar");
  run->sink = gst_element_get_static_pad (convert, "sink");
  g_signal_connect (decode, "pad-added", G_CALLBACK (on_pad), run);
  g_signal_connect (decode, "no-more-pads", G_CALLBACK (on_no_more_pads), run);
  if (!avatar_server_config_apply (run->config, &run->job->settings, avatar, problem))
    return FALSE;
  /* A job has time: no window is skipped. */
  gst_util_set_object_arg (G_OBJECT (avatar), "late-policy", "block");
  set_location (run, "in", "location", AVATAR_JOB_AUDIO);
  set_location (run, "avatar", "reference", AVATAR_JOB_IMAGE);
  set_location (run, "out", "location", AVATAR_JOB_PART);
  set_size (run);
  set_delay (run);
  add_probe (run, "avatar", "video", on_picture);
  add_probe (run, "rate", "src", on_sound);
  return TRUE;
}

/* ------------------------------------------------------------------------------------- messages */

static void
take_window (AvatarJob *job, const GstStructure *s)
{
  static const char *const stages[] = { "audio", "denoise", "decode" };
  const char *stage = gst_structure_get_string (s, "stage");
  guint64 time = 0;
  guint frames = 0;

  gst_structure_get (s, "compute-time", G_TYPE_UINT64, &time, "frames", G_TYPE_UINT, &frames, NULL);
  g_mutex_lock (&job->lock);
  for (guint i = 0; stage && i < AVATAR_N_STAGES; i++)
    if (strcmp (stage, stages[i]) == 0) {
      job->stage_seconds[i] += time / (double) GST_SECOND;
      if (i == AVATAR_STAGE_DENOISE)
        job->frames_denoised += frames;
    }
  g_mutex_unlock (&job->lock);
}

static void
take_progress (AvatarJob *job, GstMessage *message)
{
  g_autofree char *text = NULL;

  gst_message_parse_progress (message, NULL, NULL, &text);
  g_mutex_lock (&job->lock);
  g_free (job->phase);
  job->phase = g_steal_pointer (&text);
  g_mutex_unlock (&job->lock);
}

static void
take_warning (AvatarJob *job, GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = NULL;

  gst_message_parse_warning (message, &error, NULL);
  text = g_utf8_make_valid (error->message, -1);
  g_mutex_lock (&job->lock);
  if (job->warnings->len < 10
      && !g_ptr_array_find_with_equal_func (job->warnings, text, g_str_equal, NULL))
    g_ptr_array_add (job->warnings, g_steal_pointer (&text));
  g_mutex_unlock (&job->lock);
}

static void
take_application (Run *run, GstMessage *message, AvatarProblem **problem)
{
  if (gst_message_has_name (message, "too-long"))
    avatar_problem_set (problem, 413, NULL, "cut the sound, or start the server with --max-seconds",
        "the sound is longer than %u s", run->config->most_seconds);
  else
    avatar_problem_set (problem, 415, "a sound file with speech", NULL,
        "the file has no audio stream");
}

/* Returns TRUE if the message ends the run. */
static gboolean
take_message (Run *run, GstMessage *message, AvatarProblem **problem)
{
  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_EOS:
      return TRUE;
    case GST_MESSAGE_ERROR:
      if (!*problem)
        *problem = avatar_server_problem_from_message (message);
      return TRUE;
    case GST_MESSAGE_APPLICATION:
      take_application (run, message, problem);
      return TRUE;
    case GST_MESSAGE_WARNING:
      take_warning (run->job, message);
      break;
    case GST_MESSAGE_PROGRESS:
      take_progress (run->job, message);
      break;
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "avatar-window")) {
        take_window (run->job, gst_message_get_structure (message));
        avatar_planner_take_window (run->planner, gst_message_get_structure (message));
      }
      break;
    default:
      break;
  }
  return FALSE;
}

/* Returns TRUE if the pipeline has come to its end. */
static gboolean
play (Run *run, AvatarProblem **problem)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (run->pipeline);
  gboolean ended = FALSE;

  gst_element_set_state (run->pipeline, GST_STATE_PLAYING);
  while (!ended && avatar_job_is_wanted (run->job)) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop (bus, LOOK);
    ended = message && take_message (run, message, problem);
  }
  gst_element_set_state (run->pipeline, GST_STATE_NULL);
  return ended && !*problem;
}

/* The video has its name only when all of it is on the disk. */
static gboolean
keep_video (AvatarJob *job, AvatarProblem **problem)
{
  g_autofree char *part = avatar_job_path (job, AVATAR_JOB_PART);
  g_autofree char *video = avatar_job_path (job, AVATAR_JOB_VIDEO);
  g_autoptr (GError) error = NULL;

  if (job->frames_done == 0)
    return avatar_problem_set (problem, 500, "at least one", NULL,
        "the run has made no video frame");
  if (avatar_sync_path (part, &error) && g_rename (part, video) == 0
      && avatar_sync_path (job->folder, &error))
    return TRUE;
  return avatar_problem_set (problem, 500, NULL, "see to the disk of the server",
      "the video could not be stored%s%s", error ? ": " : "", error ? error->message : "");
}

gboolean
avatar_job_run (AvatarJob *job, gpointer context, AvatarProblem **problem)
{
  const AvatarJobRunContext *c = context;
  Run run = { .job = job, .config = c->config, .planner = c->planner };
  g_autofree char *part = avatar_job_path (job, AVATAR_JOB_PART);
  gboolean good
      = make_pipeline (&run, problem) && play (&run, problem) && keep_video (job, problem);

  if (good)
    avatar_planner_learn (c->planner, job);
  else
    g_unlink (part);
  gst_clear_object (&run.sink);
  gst_clear_object (&run.pipeline);
  return good;
}
