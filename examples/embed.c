/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An application that embeds the elements: it shows the progress, changes the prompt during the
 * run, and handles the messages that the elements post on the bus.
 *
 *   embed SOUND PORTRAIT OUT.mkv
 */
#include <gst/gst.h>
#include <string.h>

typedef struct
{
  GMainLoop *loop;
  GstElement *denoise;
  gboolean failed;
} App;

/* Prints a line for each window, and changes the prompt after the first one. */
static void
on_element_message (App *app, const GstStructure *s)
{
  guint64 time = 0;
  guint frames = 0;

  if (gst_structure_has_name (s, "avatar-window")) {
    gst_structure_get (s, "frames", G_TYPE_UINT, &frames, "compute-time", G_TYPE_UINT64, &time,
        NULL);
    g_print ("%s: %u frames in %.2f s\n", gst_structure_get_string (s, "stage"), frames,
        time / (gdouble) GST_SECOND);
    if (g_strcmp0 (gst_structure_get_string (s, "stage"), "denoise") == 0)
      g_object_set (app->denoise, "prompt", "A happy woman talks", NULL);
  } else if (gst_structure_has_name (s, "avatar-settings")) {
    g_print ("the new prompt applies from here on\n");
  }
}

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  App *app = data;
  g_autoptr (GError) error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ELEMENT:
      on_element_message (app, gst_message_get_structure (message));
      break;
    case GST_MESSAGE_WARNING:
      gst_message_parse_warning (message, &error, NULL);
      g_printerr ("warning: %s\n", error->message);
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("error: %s\n", error->message);
      app->failed = TRUE;
      g_main_loop_quit (app->loop);
      break;
    case GST_MESSAGE_EOS:
      g_main_loop_quit (app->loop);
      break;
    default:
      break;
  }
  return G_SOURCE_CONTINUE;
}

/* A tee passes the audio to the avatar and to the file. The queue of the second branch is
 * unlimited, because the audio arrives there before the video. */
#define PIPELINE                                                                                              \
  "filesrc name=in ! decodebin ! audioconvert ! identity drop-allocation=true ! tee name=t "                  \
  "t. ! queue ! audioconvert ! audioresample ! avataraudioenc ! avatardenoise name=denoise "                  \
  "mode=stream window-latents=9 overlap=2 ! avatarvaedecode ! videoconvert ! x264enc ! matroskamux name=mux " \
  "! filesink name=out t. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 "                       \
  "! audioconvert ! audioresample ! opusenc ! mux."

static void
set_string (GstElement *pipeline, const char *element, const char *property, const char *value)
{
  g_autoptr (GstElement) found = gst_bin_get_by_name (GST_BIN (pipeline), element);

  g_object_set (found, property, value, NULL);
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GstElement) pipeline = NULL;
  g_autoptr (GstBus) bus = NULL;
  App app = { 0 };

  gst_init (&argc, &argv);
  if (argc == 4)
    pipeline = gst_parse_launch (PIPELINE, &error);
  if (!pipeline || error) {
    g_printerr ("%s\n", error ? error->message : "usage: embed SOUND PORTRAIT OUT.mkv");
    return 1;
  }
  set_string (pipeline, "in", "location", argv[1]);
  set_string (pipeline, "denoise", "reference", argv[2]);
  set_string (pipeline, "out", "location", argv[3]);
  app.denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  app.loop = g_main_loop_new (NULL, FALSE);
  bus = gst_element_get_bus (pipeline);
  gst_bus_add_watch (bus, on_message, &app);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  g_main_loop_run (app.loop);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_bus_remove_watch (bus);
  gst_object_unref (app.denoise);
  g_main_loop_unref (app.loop);
  return app.failed;
}
