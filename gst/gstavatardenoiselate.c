/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The late policy of avatardenoise. Before each window the task asks how late its frames would be.
 *
 * adapt: fewer steps, so that the window is in time and takes no longer than it lasts; at 1 step it
 * skips like hold. A step more is tried after some windows in time, later each time that it fails.
 * A shorter window is not tried: it shares as many latents with the one before, so that each of its
 * own frames costs more.
 *
 * hold: a window that would be late by more than half of its duration is skipped: its features are
 * dropped, and downstream gets a GAP event. Less than that is worth computing, because the rest of
 * the window is in time. What the latency allows too little for computing does not count, since
 * skipping would not help: then a window is skipped earlier. The delay therefore stays below the
 * latency and one window, or below the time to compute a window, if that is longer. */
#include "gst/gstavatardenoiseprivate.h"
#include "gst/gstavatarreport.h"

GST_DEBUG_CATEGORY_EXTERN (avatar_denoise_debug);
#define GST_CAT_DEFAULT avatar_denoise_debug

/* Windows in time after which another step is tried, at first and at most. */
#define MIN_PATIENCE 4
#define MAX_PATIENCE 64
/* Part of the duration of a window, in percent, that its steps may take after one was added. */
#define MAX_LOAD 80

/* The window that is due. Times in ns.
 * @lateness: lateness of its first frame, if it is computed
 * @backlog: the same, as if it took no longer than the latency allows
 * @excess: time for computing beyond that, by the clock of a live pipeline */
typedef struct
{
  GstClockTime pts, running_time, duration;
  GstClockTimeDiff lateness, backlog, excess;
  guint n_frames; /* new video frames */
} Due;

void
gst_avatar_denoise_late_reset (GstAvatarDenoise *self)
{
  GstAvatarDenoiseLate *late = &self->late;

  late->max_steps = late->n_in_time = 0;
  late->step_time = 0;
  late->patience = MIN_PATIENCE;
  late->probing = late->skipping = FALSE;
  late->n_processed = late->n_dropped = 0;
}

void
gst_avatar_denoise_note_window (GstAvatarDenoise *self, const AvatarDenoiseStats *stats,
    guint n_frames)
{
  GstClockTime now = gst_avatar_lateness_now (&self->late.lateness, GST_ELEMENT (self));
  GstClockTime time = (GstClockTime) (stats->seconds * GST_SECOND);

  if (GST_CLOCK_TIME_IS_VALID (now) && GST_CLOCK_TIME_IS_VALID (self->late.begin))
    time = now > self->late.begin ? now - self->late.begin : 0;
  self->late.step_time = time / MAX (stats->steps, 1);
  self->late.n_processed += n_frames;
}

/* Sets lateness, backlog and excess. Returns %FALSE if they are not known. */
static gboolean
measure (GstAvatarDenoise *self, Due *due)
{
  guint steps = gst_avatar_denoise_get_steps (self);
  GstClockTime compute = steps * self->late.step_time, allowed;
  GstAvatarLateness *lateness = &self->late.lateness;
  GstElement *element = GST_ELEMENT (self);
  gboolean live;

  GST_OBJECT_LOCK (self);
  allowed = gst_avatar_processing_get (&self->client.processing, due->duration);
  GST_OBJECT_UNLOCK (self);
  live = GST_CLOCK_TIME_IS_VALID (gst_avatar_lateness_now (lateness, element));
  due->excess = live && compute > allowed ? compute - allowed : 0;
  return gst_avatar_lateness_get (lateness, element, due->running_time, compute, &due->lateness)
      && gst_avatar_lateness_get (lateness, element, due->running_time, compute - due->excess,
          &due->backlog);
}

static GstClockTime
get_running_time (GstAvatarDenoise *self, GstClockTime pts)
{
  return gst_segment_to_running_time (&self->clear.segment, GST_FORMAT_TIME, pts);
}

/* Tells the denoiser when the first new frame of the window that is due has to leave. */
static void
set_deadline (GstAvatarDenoise *self)
{
  guint64 first = gst_avatar_denoise_first_frame (self->n_latents);
  GstClockTime pts = gst_avatar_denoise_frame_to_pts (self, first);

  avatar_denoiser_set_deadline (self->denoiser,
      gst_avatar_lateness_get_deadline (&self->late.lateness, GST_ELEMENT (self),
          get_running_time (self, pts)));
}

/* Gets the window that is due. Returns %FALSE if its lateness is not known. */
static gboolean
get_due (GstAvatarDenoise *self, Due *due)
{
  guint64 first = gst_avatar_denoise_first_frame (self->n_latents);
  GstAvatarPortions portions;

  if (!gst_avatar_denoise_get_portions (self, &portions))
    return FALSE;
  due->n_frames = self->n_latents ? portions.further : portions.first;
  due->pts = gst_avatar_denoise_frame_to_pts (self, first);
  due->duration = gst_avatar_denoise_frame_to_pts (self, first + due->n_frames) - due->pts;
  due->running_time = get_running_time (self, due->pts);
  return GST_CLOCK_TIME_IS_VALID (due->running_time) && measure (self, due);
}

static void
report_late (GstAvatarDenoise *self, const Due *due, const gchar *action, guint n_dropped)
{
  guint steps = gst_avatar_denoise_get_steps (self);
  GstStructure *s = gst_structure_new ("avatar-late", "action", G_TYPE_STRING, action,
      "running-time", GST_TYPE_CLOCK_TIME, due->running_time, "timestamp", GST_TYPE_CLOCK_TIME,
      due->pts, "duration", GST_TYPE_CLOCK_TIME, due->duration, "lateness", G_TYPE_INT64,
      due->lateness, "steps", G_TYPE_UINT, steps, "dropped", G_TYPE_UINT, n_dropped, NULL);

  GST_INFO_OBJECT (self, "%" GST_PTR_FORMAT, s);
  gst_element_post_message (GST_ELEMENT (self), gst_message_new_element (GST_OBJECT (self), s));
}

/* Limits the steps of the next windows, and says so. */
static GstFlowReturn
set_steps (GstAvatarDenoise *self, Due *due, guint steps)
{
  guint before = self->late.max_steps, wanted = gst_avatar_denoise_get_wanted_steps (self);
  GError *error = NULL;

  self->late.max_steps = steps >= wanted ? 0 : steps;
  if (!gst_avatar_denoise_change_steps (self, &error)) {
    self->late.max_steps = before;
    if (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_CANCELLED)) {
      g_error_free (error);
      return GST_FLOW_FLUSHING;
    }
    gst_avatar_report_warning (self, error);
    return GST_FLOW_OK;
  }
  measure (self, due);
  report_late (self, due, steps >= wanted ? "recovered" : "steps", 0);
  return GST_FLOW_OK;
}

/* Returns the largest number of steps with which the window is in time and keeps up. */
static guint
choose_steps (GstAvatarDenoise *self, const Due *due, guint steps)
{
  GstClockTimeDiff lateness = due->lateness;

  while (steps > 1 && (lateness > 0 || steps * self->late.step_time > due->duration)) {
    steps--;
    lateness -= self->late.step_time;
  }
  return steps;
}

static GstFlowReturn
lower_steps (GstAvatarDenoise *self, Due *due, guint steps)
{
  guint fewer = choose_steps (self, due, steps);

  self->late.n_in_time = 0;
  if (self->late.probing)
    self->late.patience = MIN (2 * self->late.patience, MAX_PATIENCE);
  self->late.probing = FALSE;
  return fewer < steps ? set_steps (self, due, fewer) : GST_FLOW_OK;
}

/* Tries a step more, if enough windows were in time. */
static GstFlowReturn
raise_steps (GstAvatarDenoise *self, Due *due, guint steps)
{
  GstClockTime longer = (steps + 1) * self->late.step_time;

  if (due->lateness + (GstClockTimeDiff) self->late.step_time > 0
      || longer > due->duration * MAX_LOAD / 100) {
    self->late.n_in_time = 0;
    return GST_FLOW_OK;
  }
  if (++self->late.n_in_time < self->late.patience)
    return GST_FLOW_OK;
  self->late.n_in_time = 0;
  self->late.probing = TRUE;
  return set_steps (self, due, steps + 1);
}

static GstFlowReturn
adapt (GstAvatarDenoise *self, Due *due)
{
  guint wanted = gst_avatar_denoise_get_wanted_steps (self);
  guint steps = gst_avatar_denoise_get_steps (self);

  if (due->lateness > (GstClockTimeDiff) gst_avatar_denoise_frames_to_time (self, 1))
    return lower_steps (self, due, steps);
  if (steps < wanted)
    return raise_steps (self, due, steps);
  return GST_FLOW_OK;
}

/* Posts that frames were dropped. */
static void
report_qos (GstAvatarDenoise *self, const Due *due)
{
  GstClockTime stream_time
      = gst_segment_to_stream_time (&self->clear.segment, GST_FORMAT_TIME, due->pts);
  GstClockTime now = gst_avatar_lateness_now (&self->late.lateness, GST_ELEMENT (self));
  GstMessage *message = gst_message_new_qos (GST_OBJECT (self), GST_CLOCK_TIME_IS_VALID (now),
      due->running_time, stream_time, due->pts, due->duration);

  gst_message_set_qos_values (message, due->lateness,
      1.0 + (gdouble) due->lateness / (gdouble) MAX (due->duration, 1), 1000000);
  gst_message_set_qos_stats (message, GST_FORMAT_DEFAULT, self->late.n_processed,
      self->late.n_dropped);
  gst_element_post_message (GST_ELEMENT (self), message);
}

/* Skips the window. @skipped: (out): %FALSE if it is the first of the stream, after which nothing
 * can be held. */
static GstFlowReturn
skip (GstAvatarDenoise *self, const Due *due, gboolean *skipped)
{
  guint n = avatar_denoiser_skip (self->denoiser);
  GstFlowReturn ret;

  *skipped = n > 0;
  if (n == 0)
    return GST_FLOW_OK;
  ret = gst_avatar_denoise_push_held (self);
  self->n_latents += n;
  self->late.n_dropped += due->n_frames;
  self->late.skipping = TRUE;
  report_late (self, due, "skip", due->n_frames);
  report_qos (self, due);
  if (ret == GST_FLOW_OK)
    gst_pad_push_event (self->srcpad, gst_event_new_gap (due->pts, due->duration));
  return ret;
}

/* Returns %TRUE if the window is too late to be worth computing. */
static gboolean
is_too_late (GstAvatarDenoise *self, const Due *due)
{
  GstClockTimeDiff duration = due->duration, most = MAX (duration - due->excess, 0);

  /* half a frame of jitter is normal */
  most = MAX (most, (GstClockTimeDiff) gst_avatar_denoise_frames_to_time (self, 1) / 2);
  return due->backlog > MIN (most, duration / 2);
}

GstFlowReturn
gst_avatar_denoise_keep_up (GstAvatarDenoise *self, gboolean *skipped)
{
  GstFlowReturn ret = GST_FLOW_OK;
  Due due;

  *skipped = FALSE;
  if (self->active.late_policy != GST_AVATAR_LATE_BLOCK && get_due (self, &due)) {
    if (self->active.late_policy == GST_AVATAR_LATE_ADAPT)
      ret = adapt (self, &due);
    if (ret == GST_FLOW_OK && is_too_late (self, &due))
      ret = skip (self, &due, skipped);
    if (!*skipped && self->late.skipping) {
      self->late.skipping = FALSE;
      if (self->active.late_policy == GST_AVATAR_LATE_HOLD)
        report_late (self, &due, "recovered", 0);
    }
  }
  set_deadline (self);
  self->late.begin = gst_avatar_lateness_now (&self->late.lateness, GST_ELEMENT (self));
  return ret;
}
