/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A live application: sends raw audio to avatarbin as a speech synthesiser does, in pieces that may
 * pause and arrive in bursts. It changes the prompt and interrupts the speech while playing, and
 * prints the messages of the avatar.
 *
 *   live [--prompt-after SECONDS --prompt TEXT] [--interrupt-after SECONDS] PCM PORTRAIT OUT
 *
 * PCM has 16-bit samples of this machine's byte order, 16 kHz, mono; - is standard input. OUT is a
 * file (.mkv), rtmp://HOST/APP/KEY, or - for the screen. Seconds count from the start. */
#include <gio/gio.h>
#include <gst/gst.h>
#include <string.h>

/* A piece of audio, 40 ms: [640] samples. */
#define PIECE 1280

/* Continuous audio: the face is idle while there is no speech. The source has a queue of 10 s,
 * which an interruption empties. */
#define SPEECH                                                                                      \
  "appsrc name=speech format=time block=true max-bytes=320000 caps=audio/x-raw,format=" FORMAT      \
  ",rate=16000,channels=1,layout=interleaved ! avatarbin name=avatar continuous=true profile=live " \
  "steps=1 "
#if G_BYTE_ORDER == G_LITTLE_ENDIAN
#define FORMAT "S16LE"
#else
#define FORMAT "S16BE"
#endif

/* The filter removes as many samples as the encoder adds without reporting them. */
#define ENCODE                                                                            \
  "avatar.video ! queue ! videoconvert ! x264enc tune=zerolatency key-int-max=50 ! mux. " \
  "avatar.audio ! queue ! audioconvert ! audioresample ! audiofirfilter latency=1024 "    \
  "! avenc_aac ! mux. "
#define TO_FILE SPEECH ENCODE "matroskamux name=mux ! filesink name=out"
#define TO_SERVER SPEECH ENCODE "flvmux name=mux streamable=true ! rtmp2sink name=out"
#define TO_SCREEN                                               \
  SPEECH "avatar.video ! queue ! videoconvert ! autovideosink " \
         "avatar.audio ! queue ! audioconvert ! audioresample ! autoaudiosink"

typedef struct
{
  GMainLoop *loop;
  GstElement *pipeline, *speech, *avatar;
  GInputStream *input;
  gchar *prompt;
  gboolean failed;
} App;

static void
on_element_message (const GstStructure *s)
{
  guint64 timestamp = 0;
  gdouble speed = 0;

  if (gst_structure_has_name (s, "avatar-window")) {
    gst_structure_get (s, "timestamp", G_TYPE_UINT64, &timestamp, "speed", G_TYPE_DOUBLE, &speed,
        NULL);
    g_print ("%s: window at %.2f s, %.1f times real time\n", gst_structure_get_string (s, "stage"),
        timestamp / (gdouble) GST_SECOND, speed);
  } else if (g_str_has_prefix (gst_structure_get_name (s), "avatar-")
      && !gst_structure_has_name (s, "avatar-chunk")) {
    g_autofree gchar *text = gst_structure_to_string (s);

    g_print ("%s\n", text);
  }
}

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  App *app = data;
  g_autoptr (GError) error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_ELEMENT:
      on_element_message (gst_message_get_structure (message));
      break;
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency (GST_BIN (app->pipeline));
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

/* Ends the stream a second after the last speech has left the source. */
static gboolean
end_when_spoken (gpointer data)
{
  App *app = data;
  guint64 waiting = 0;

  g_object_get (app->speech, "current-level-bytes", &waiting, NULL);
  if (waiting > 0)
    return G_SOURCE_CONTINUE;
  gst_element_send_event (app->pipeline, gst_event_new_eos ());
  return G_SOURCE_REMOVE;
}

/* Thread that reads the speech, and waits while the queue of the source is full. The buffers have
 * no time stamps: they are played when they arrive, or after those before them. */
static gpointer
read_speech (gpointer data)
{
  App *app = data;
  GstFlowReturn ret = GST_FLOW_OK;
  gsize n = PIECE;

  while (n == PIECE && ret != GST_FLOW_EOS) {
    GstBuffer *buffer = gst_buffer_new_allocate (NULL, PIECE, NULL);
    GstMapInfo map;

    gst_buffer_map (buffer, &map, GST_MAP_WRITE);
    g_input_stream_read_all (app->input, map.data, PIECE, &n, NULL, NULL);
    gst_buffer_unmap (buffer, &map);
    n -= n % 2;
    gst_buffer_resize (buffer, 0, n);
    if (n > 0)
      g_signal_emit_by_name (app->speech, "push-buffer", buffer, &ret);
    gst_buffer_unref (buffer);
  }
  g_timeout_add (1000, end_when_spoken, app);
  return NULL;
}

static gboolean
change_prompt (gpointer data)
{
  App *app = data;

  g_print ("the prompt changes with the next window\n");
  g_object_set (app->avatar, "prompt", app->prompt, NULL);
  return G_SOURCE_REMOVE;
}

/* Drops the speech that waits in the source, and the speech that is not yet in the video. The
 * message avatar-cleared has the position up to which it was spoken. */
static gboolean
interrupt (gpointer data)
{
  App *app = data;
  GstStructure *s = gst_structure_new_empty ("avatar-clear");

  g_print ("interrupted\n");
  gst_element_send_event (app->speech, gst_event_new_flush_start ());
  gst_element_send_event (app->speech, gst_event_new_flush_stop (FALSE));
  gst_element_send_event (app->avatar, gst_event_new_custom (GST_EVENT_CUSTOM_DOWNSTREAM_OOB, s));
  return G_SOURCE_REMOVE;
}

static gboolean
open_input (App *app, const gchar *pcm, GError **error)
{
  g_autoptr (GFile) file = g_file_new_for_path (strcmp (pcm, "-") == 0 ? "/dev/stdin" : pcm);

  app->input = G_INPUT_STREAM (g_file_read (file, NULL, error));
  return app->input != NULL;
}

static gboolean
make_pipeline (App *app, const gchar *portrait, const gchar *out, GError **error)
{
  const gchar *launch = strcmp (out, "-") == 0 ? TO_SCREEN
      : g_str_has_prefix (out, "rtmp://")      ? TO_SERVER
                                               : TO_FILE;
  g_autoptr (GstElement) sink = NULL;

  app->pipeline = gst_parse_launch (launch, error);
  if (!app->pipeline || *error)
    return FALSE;
  app->speech = gst_bin_get_by_name (GST_BIN (app->pipeline), "speech");
  app->avatar = gst_bin_get_by_name (GST_BIN (app->pipeline), "avatar");
  sink = gst_bin_get_by_name (GST_BIN (app->pipeline), "out");
  if (sink)
    g_object_set (sink, "location", out, NULL);
  g_object_set (app->avatar, "reference", portrait, NULL);
  return TRUE;
}

static void
play (App *app)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (app->pipeline);
  GThread *thread;

  app->loop = g_main_loop_new (NULL, FALSE);
  gst_bus_add_watch (bus, on_message, app);
  gst_element_set_state (app->pipeline, GST_STATE_PLAYING);
  thread = g_thread_new ("speech", read_speech, app);
  g_main_loop_run (app->loop);
  gst_element_set_state (app->pipeline, GST_STATE_NULL);
  g_input_stream_close (app->input, NULL, NULL);
  g_thread_join (thread);
  gst_bus_remove_watch (bus);
  g_main_loop_unref (app->loop);
}

int
main (int argc, char **argv)
{
  App app = { 0 };
  double prompt_after = -1, interrupt_after = -1;
  const GOptionEntry entries[] = {
    { "prompt-after", 0, 0, G_OPTION_ARG_DOUBLE, &prompt_after, "Change the prompt", "SECONDS" },
    { "prompt", 0, 0, G_OPTION_ARG_STRING, &app.prompt, "The new prompt", "TEXT" },
    { "interrupt-after", 0, 0, G_OPTION_ARG_DOUBLE, &interrupt_after, "Interrupt", "SECONDS" },
    G_OPTION_ENTRY_NULL,
  };
  g_autoptr (GOptionContext) context = g_option_context_new ("PCM PORTRAIT OUT");
  g_autoptr (GError) error = NULL;

  g_option_context_add_main_entries (context, entries, NULL);
  g_option_context_add_group (context, gst_init_get_option_group ());
  if (!g_option_context_parse (context, &argc, &argv, &error) || argc != 4
      || !open_input (&app, argv[1], &error) || !make_pipeline (&app, argv[2], argv[3], &error)) {
    g_printerr ("%s\n", error ? error->message : "expected PCM PORTRAIT OUT; see --help");
    return 1;
  }
  if (prompt_after >= 0 && app.prompt)
    g_timeout_add ((guint) (prompt_after * 1000), change_prompt, &app);
  if (interrupt_after >= 0)
    g_timeout_add ((guint) (interrupt_after * 1000), interrupt, &app);
  play (&app);
  gst_object_unref (app.speech);
  gst_object_unref (app.avatar);
  gst_object_unref (app.pipeline);
  g_object_unref (app.input);
  g_free (app.prompt);
  return app.failed;
}
