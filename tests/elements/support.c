/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a pipeline and keeps what came out: see the header. */
#include "support.h"

/* Against a hang alone. */
#define WATCHDOG (600 * GST_SECOND)

gchar *
sample_path (const gchar *name)
{
  return g_build_filename (g_getenv ("AVATAR_SAMPLES"), name, NULL);
}

static void
on_handoff (GstElement *sink, GstBuffer *buffer, GstPad *pad, Run *run)
{
  GstMapInfo map;

  if (run->n_buffers++ == 0)
    run->first_pts = GST_BUFFER_PTS (buffer);
  run->end = GST_BUFFER_PTS (buffer) + GST_BUFFER_DURATION (buffer);
  gst_clear_caps (&run->caps);
  run->caps = gst_pad_get_current_caps (pad);
  fail_unless (gst_buffer_map (buffer, &map, GST_MAP_READ));
  g_byte_array_append (run->bytes, map.data, map.size);
  gst_buffer_unmap (buffer, &map);
}

static gboolean
take_message (Run *run, GstMessage *message)
{
  GError *error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_EOS:
      run->eos = TRUE;
      return FALSE;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      /* The source also posts an error, as its data is not consumed; it is ignored. */
      if (g_str_has_prefix (GST_OBJECT_NAME (GST_MESSAGE_SRC (message)), "avatar")
          || g_str_equal (GST_OBJECT_NAME (GST_MESSAGE_SRC (message)), "denoise")) {
        run->n_errors++;
        if (!run->error)
          run->error = g_error_copy (error);
      }
      g_error_free (error);
      return FALSE;
    case GST_MESSAGE_ELEMENT:
      if (gst_message_has_name (message, "avatar-window"))
        g_ptr_array_add (run->windows, gst_structure_copy (gst_message_get_structure (message)));
      return TRUE;
    default:
      return TRUE;
  }
}

GstElement *
pipeline_new (const gchar *launch, gboolean portrait)
{
  GError *error = NULL;
  GstElement *pipeline = gst_parse_launch (launch, &error);

  g_assert_no_error (error);
  if (portrait) {
    g_autofree gchar *path = sample_path ("portrait.png");
    GstElement *denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");

    g_object_set (denoise, "reference", path, NULL);
    gst_object_unref (denoise);
  }
  return pipeline;
}

typedef struct
{
  GstElement *pipeline;
  RunFunc func;
  gpointer data;
} Listener;

static GstBusSyncReply
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Listener *listener = data;

  if (listener->func)
    listener->func (listener->pipeline, message, listener->data);
  return GST_BUS_PASS;
}

static void
wait_for_end (Run *run, GstBus *bus)
{
  gboolean more = TRUE;

  while (more) {
    g_autoptr (GstMessage) message = gst_bus_timed_pop (bus, WATCHDOG);
    fail_unless (message != NULL, "no end");
    more = take_message (run, message);
  }
}

/* Pops messages posted after the end, such as a second error, when all threads have ended. */
static void
take_rest (Run *run, GstElement *pipeline, GstBus *bus)
{
  GstMessage *message;

  gst_element_set_state (pipeline, GST_STATE_READY);
  while ((message = gst_bus_pop (bus))) {
    take_message (run, message);
    gst_message_unref (message);
  }
}

Run *
run_play (GstElement *pipeline, RunFunc func, gpointer data)
{
  Run *run = g_new0 (Run, 1);
  Listener listener = { pipeline, func, data };
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  gulong handler = 0;

  run->bytes = g_byte_array_new ();
  run->windows = g_ptr_array_new_with_free_func ((GDestroyNotify) gst_structure_free);
  if (sink) {
    g_object_set (sink, "signal-handoffs", TRUE, NULL);
    handler = g_signal_connect (sink, "handoff", G_CALLBACK (on_handoff), run);
  }
  gst_bus_set_sync_handler (bus, on_message, &listener, NULL);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  wait_for_end (run, bus);
  if (func)
    func (pipeline, NULL, data);
  take_rest (run, pipeline, bus);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_bus_set_sync_handler (bus, NULL, NULL, NULL);
  if (sink) {
    g_signal_handler_disconnect (sink, handler);
    gst_object_unref (sink);
  }
  return run;
}

Run *
run_pipeline (const gchar *launch, gboolean portrait)
{
  GstElement *pipeline = pipeline_new (launch, portrait);
  Run *run = run_play (pipeline, NULL, NULL);

  gst_object_unref (pipeline);
  return run;
}

void
run_free (Run *run)
{
  g_clear_error (&run->error);
  g_byte_array_unref (run->bytes);
  gst_clear_caps (&run->caps);
  g_ptr_array_unref (run->windows);
  g_free (run);
}
