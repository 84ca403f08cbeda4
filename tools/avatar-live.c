/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a live pipeline, as gst-launch-1.0 does, with the element "liveoutput". Used by
 * pipelines/live and pipelines/two-hosts. */
#include "examples/live-output.h"
#include <glib-unix.h>
#include <stdlib.h>

typedef struct
{
  GMainLoop *loop;
  GstElement *pipeline;
  gboolean failed;
  guint n_signals, late_steps; /* steps in the last message avatar-late; 0: none, or recovered */
} Live;

static void say (const char *format, ...) G_GNUC_PRINTF (1, 2);

static void
say (const char *format, ...)
{
  va_list list;

  va_start (list, format);
  g_autofree char *text = g_strdup_vprintf (format, list);
  va_end (list);
  g_printerr ("live: %s\n", text);
}

/* Sends EOS into the pipeline, without the main loop: sources may take long to stop. */
static void
send_eos (GstElement *pipeline, gpointer data)
{
  gst_element_send_event (pipeline, gst_event_new_eos ());
}

static void
end (Live *self)
{
  gst_element_call_async (self->pipeline, send_eos, NULL, NULL);
}

static gboolean
on_signal (gpointer data)
{
  Live *self = data;

  if (self->n_signals++ == 0) {
    say ("ending; a second signal stops at once");
    end (self);
  } else {
    self->failed = TRUE;
    g_main_loop_quit (self->loop);
  }
  return G_SOURCE_CONTINUE;
}

static gboolean
on_time_over (gpointer data)
{
  end (data);
  return G_SOURCE_REMOVE;
}

static void
show_output (GstMessage *message, const GstStructure *s)
{
  const char *state = gst_structure_get_string (s, "state");
  const char *reason = gst_structure_get_string (s, "reason");
  const char *name = GST_MESSAGE_SRC_NAME (message);
  guint64 wait = 0;
  guint connections = 0;

  gst_structure_get (s, "wait", G_TYPE_UINT64, &wait, "connections", G_TYPE_UINT, &connections,
      NULL);
  if (g_str_equal (state, "lost"))
    say ("%s: lost (%s); next attempt in %.1f s", name, reason, wait / (double) GST_SECOND);
  else if (g_str_equal (state, "connected"))
    say ("%s: connected (%u)", name, connections);
  else
    say ("%s: %s", name, state);
}

/* Prints a decision of the late policy, which lowers the steps, and tries one more at a time when
 * windows are in time. */
static void
show_late (Live *self, const GstStructure *s)
{
  const char *action = gst_structure_get_string (s, "action");
  GstClockTime time = 0;
  gint64 lateness = 0;
  guint steps = 0, dropped = 0;

  gst_structure_get (s, "running-time", GST_TYPE_CLOCK_TIME, &time, "lateness", G_TYPE_INT64,
      &lateness, "steps", G_TYPE_UINT, &steps, "dropped", G_TYPE_UINT, &dropped, NULL);
  if (g_str_equal (action, "steps") && (self->late_steps == 0 || steps < self->late_steps))
    say ("too slow: %u steps from %.1f s on", steps, time / (double) GST_SECOND);
  else if (g_str_equal (action, "skip"))
    say ("too slow: %u frames from %.1f s on are skipped, which would be %.1f s late", dropped,
        time / (double) GST_SECOND, lateness / (double) GST_SECOND);
  else
    say ("in time again: %u steps from %.1f s on", steps, time / (double) GST_SECOND);
  self->late_steps = g_str_equal (action, "recovered") ? 0 : steps;
}

static void
show_error (GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *debug = NULL;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR)
    gst_message_parse_error (message, &error, &debug);
  else
    gst_message_parse_warning (message, &error, &debug);
  say ("%s: %s: %s", GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR ? "error" : "warning",
      GST_MESSAGE_SRC_NAME (message), error->message);
  if (debug)
    g_printerr ("%s\n", debug);
}

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Live *self = data;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ERROR:
      show_error (message);
      self->failed = TRUE;
      g_main_loop_quit (self->loop);
      break;
    case GST_MESSAGE_WARNING:
      show_error (message);
      break;
    case GST_MESSAGE_EOS:
      say ("ended");
      g_main_loop_quit (self->loop);
      break;
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency (GST_BIN (self->pipeline));
      break;
    case GST_MESSAGE_CLOCK_LOST:
      gst_element_set_state (self->pipeline, GST_STATE_PAUSED);
      gst_element_set_state (self->pipeline, GST_STATE_PLAYING);
      break;
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "live-output"))
        show_output (message, gst_message_get_structure (message));
      else if (gst_message_has_name (message, "avatar-late"))
        show_late (self, gst_message_get_structure (message));
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

static GstPadProbeReturn
on_end (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Live *self = data;

  if (GST_EVENT_TYPE (info->data) == GST_EVENT_EOS)
    g_idle_add (on_time_over, self);
  return GST_PAD_PROBE_OK;
}

/* Ends the pipeline when the element of this name has ended. */
static gboolean
end_with (Live *self, const char *name)
{
  if (!name)
    return TRUE;
  g_autoptr (GstElement) element = gst_bin_get_by_name (GST_BIN (self->pipeline), name);
  g_autoptr (GstPad) pad = element ? gst_element_get_static_pad (element, "src") : NULL;
  if (!pad) {
    say ("error: --end-with is '%s', expected the name of an element with a pad 'src'", name);
    return FALSE;
  }
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_EVENT_DOWNSTREAM, on_end, self, NULL);
  return TRUE;
}

/* Calls on_time_over once. A timeout counts 32 bits of milliseconds, which is too short. */
static void
end_after (Live *self, double seconds)
{
  g_autoptr (GSource) timer = g_timeout_source_new (0);

  g_source_set_ready_time (timer,
      g_get_monotonic_time () + (gint64) (MIN (seconds, 1e12) * G_TIME_SPAN_SECOND));
  g_source_set_callback (timer, on_time_over, self, NULL);
  g_source_attach (timer, NULL);
}

static int
play (Live *self, double seconds)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (self->pipeline);

  self->loop = g_main_loop_new (NULL, FALSE);
  gst_bus_add_watch (bus, on_message, self);
  g_unix_signal_add (SIGINT, on_signal, self);
  g_unix_signal_add (SIGTERM, on_signal, self);
  if (seconds > 0)
    end_after (self, seconds);
  if (gst_element_set_state (self->pipeline, GST_STATE_PLAYING) == GST_STATE_CHANGE_FAILURE)
    self->failed = TRUE;
  /* An element that could not start has posted the reason, which the loop shows before it ends. */
  if (self->failed)
    g_timeout_add (1000, G_SOURCE_FUNC (g_main_loop_quit), self->loop);
  g_main_loop_run (self->loop);
  gst_element_set_state (self->pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  g_main_loop_unref (self->loop);
  return self->failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

int
main (int argc, char **argv)
{
  double seconds = 0;
  g_autofree char *last = NULL;
  g_auto (GStrv) words = NULL;
  g_autoptr (GError) error = NULL;
  const GOptionEntry entries[] = {
    { "seconds", 0, 0, G_OPTION_ARG_DOUBLE, &seconds, "End after this time (s)", "S" },
    { "end-with", 0, 0, G_OPTION_ARG_STRING, &last,
        "End when this element has ended, although others go on", "NAME" },
    { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &words, NULL, "PIPELINE" },
    G_OPTION_ENTRY_NULL,
  };
  g_autoptr (GOptionContext) context = g_option_context_new (NULL);
  Live self = { 0 };
  int status = EXIT_FAILURE;

  g_option_context_set_strict_posix (context, TRUE);
  g_option_context_set_summary (context,
      "Runs a live pipeline in the syntax of gst-launch-1.0, "
      "with the element \"liveoutput\".");
  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error) || !words) {
    say ("error: %s", error ? error->message : "no pipeline given (see --help)");
    return EXIT_FAILURE;
  }
  avatar_live_output_register ();
  self.pipeline
      = gst_parse_launchv_full ((const char **) words, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
  if (!self.pipeline || !GST_IS_PIPELINE (self.pipeline))
    say ("error: %s", error ? error->message : "expected a pipeline of several elements");
  else if (end_with (&self, last))
    status = play (&self, seconds);
  gst_clear_object (&self.pipeline);
  return status;
}
