/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* talk-run LENGTH SIZE PIPELINE...: runs a pipeline of gst-launch-1.0 for pipelines/talk. Prints
 * what memory and time it needs before it starts, and its progress. LENGTH is that of the audio in
 * ns, SIZE that of the video, WIDTHxHEIGHT, or "auto". Warnings go to stderr, one a line, and so
 * does the reason of a failure, as the last line; exit status 1. */
#include "tools/talk-progress.h"
#include "tools/talk-speed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Error of a source whose stream another element has stopped, possibly before that one's error. */
#define STOPPED "Internal data stream error"

typedef struct
{
  GstElement *pipeline;
  TalkPlan plan;
  TalkProgress progress;
  GHashTable *warnings;
  char *problem; /* first error that names a cause */
  char *stopped; /* first element that only reports that its stream was stopped */
} Run;

/* ----------------------------------------------------------------------------------------- time */

static char *
duration (double seconds)
{
  if (seconds < 120)
    return g_strdup_printf ("%.0f s", MAX (ceil (seconds), 1));
  if (seconds < 7200)
    return g_strdup_printf ("%.0f min", ceil (seconds / 60));
  return g_strdup_printf ("%.1f h", seconds / 3600);
}

/* Returns the time of a run on a GPU whose speed is not known: that of an H200. */
static char *
estimate_gpu (const TalkPlan *plan)
{
  guint64 budget = MAX (plan->plan.gpu.budget_bytes, plan->plan.gpu.min_bytes);
  g_autofree char *name = g_strdup_printf ("plan:cuda:%" G_GUINT64_FORMAT, (budget >> 20) + 1);
  g_autofree char *time = NULL;
  AvatarPlan gpu;

  if (!avatar_plan_make (plan->model, name, &plan->denoise, &plan->decode, plan->frames, NULL, &gpu,
          NULL))
    return g_strdup ("the time is not known");
  time = duration (gpu.gpu.run_seconds);
  return g_strdup_printf ("at least %s, which an H200 takes", time);
}

static char *
estimate (const TalkPlan *plan)
{
  double speed = talk_speed_load (plan);
  gboolean known = speed > 0;
  g_autofree char *time = NULL;

  if (!known && plan->plan.gpu.budget_bytes)
    return estimate_gpu (plan);
  if (!known)
    speed = talk_speed_measure (plan);
  if (speed <= 0)
    return g_strdup ("the time is not known");
  time = duration (talk_plan_work (plan) / speed);
  return g_strdup_printf ("about %s%s", time, known ? ", at the speed of the last run" : "");
}

/* ------------------------------------------------------------------------------------- messages */

/* Returns the second line of @debug, which has details for some elements. */
static char *
detail_of (const char *debug)
{
  const char *line = debug ? strchr (debug, '\n') : NULL;

  if (!line || !line[1] || g_str_has_prefix (line + 1, "avatar-error"))
    return NULL;
  return g_strndup (line + 1, strcspn (line + 1, "\n"));
}

static void
take_error (Run *self, GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *debug = NULL;
  g_autofree char *detail = NULL;
  char **kept = &self->problem;

  gst_message_parse_error (message, &error, &debug);
  detail = detail_of (debug);
  if (g_str_has_prefix (error->message, STOPPED)) {
    kept = &self->stopped;
    g_free (error->message);
    error->message = g_strdup_printf ("the pipeline stopped at %s", GST_MESSAGE_SRC_NAME (message));
  }
  if (*kept)
    return;
  *kept = detail ? g_strdup_printf ("%s (%s)", error->message, detail) : g_strdup (error->message);
}

static void
take_warning (Run *self, GstMessage *message)
{
  g_autoptr (GError) error = NULL;

  gst_message_parse_warning (message, &error, NULL);
  if (g_hash_table_add (self->warnings, g_strdup (error->message)))
    g_printerr ("warning: %s\n", error->message);
}

/* Returns TRUE at the end of the stream, or FALSE after an error. Later messages may have the cause
 * of an error, so they are read too, except EOS: a source whose stream is stopped sends it. */
static gboolean
play (Run *self)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (self->pipeline);
  gboolean failed = FALSE;
  GstMessage *message;

  if (gst_element_set_state (self->pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE)
    failed = TRUE;
  while ((message = gst_bus_timed_pop (bus, failed ? 0 : GST_CLOCK_TIME_NONE))) {
    g_autoptr (GstMessage) owned = message;

    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS && !failed)
      return TRUE;
    if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      take_error (self, message);
      failed = TRUE;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING) {
      take_warning (self, message);
    } else {
      talk_progress_take (&self->progress, message);
    }
  }
  return FALSE;
}

static gboolean
run (Run *self)
{
  gint64 begin = g_get_monotonic_time ();
  gboolean good;

  talk_progress_init (&self->progress, &self->plan);
  good = play (self);
  gst_element_set_state (self->pipeline, GST_STATE_NULL);
  if (good) {
    talk_progress_end (&self->progress);
    talk_speed_store (&self->plan, (g_get_monotonic_time () - begin) * 1e-6);
  } else {
    g_printerr ("%s\n",
        self->problem       ? self->problem
            : self->stopped ? self->stopped
                            : "the pipeline did not start, without a reason");
  }
  talk_progress_clear (&self->progress);
  return good;
}

/* ------------------------------------------------------------------------------------ arguments */

static gboolean
prepare (Run *self, char **argv, GError **error)
{
  const GstClockTime length = g_ascii_strtoull (argv[1], NULL, 10);
  guint width = 0, height = 0;
  g_autofree char *time = NULL;

  self->pipeline
      = gst_parse_launchv_full ((const char **) argv + 3, NULL, GST_PARSE_FLAG_FATAL_ERRORS, error);
  if (!self->pipeline)
    return FALSE;
  if (sscanf (argv[2], "%ux%u", &width, &height) != 2)
    width = height = 0;
  if (!talk_plan_make (&self->plan, GST_BIN (self->pipeline), length, width, height, error))
    return FALSE;
  time = estimate (&self->plan);
  talk_plan_print (&self->plan, time);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Run self = { .warnings = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL) };
  gboolean good;

  gst_init (&argc, &argv);
  if (argc < 4) {
    g_printerr ("usage: talk-run LENGTH SIZE PIPELINE...\n");
    return 2;
  }
  good = prepare (&self, argv, &error) && run (&self);
  if (error)
    g_printerr ("%s\n", error->message);
  gst_clear_object (&self.pipeline);
  talk_plan_clear (&self.plan);
  g_hash_table_unref (self.warnings);
  g_free (self.problem);
  g_free (self.stopped);
  return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
