/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory of the chain while its input is GAP events alone, faster than in real time.
 *   bench-gaps PORTRAIT MINUTES
 * Prints for each minute of video: minute, anonymous memory (MB), processor time so far (s). The
 * elements are found by GST_PLUGIN_PATH_1_0. */
#include <gst/gst.h>

#include <string.h>
#include <time.h>

#define CHAIN                                                                               \
  "avataraudioenc name=enc window-frames=25 context=5 ! avatardenoise name=denoise "        \
  "mode=stream window-latents=7 overlap=2 idle-steps=1 ! avatarvaedecode tile-frames=16 ! " \
  "video/x-raw,width=64,height=64 ! fakesink name=sink async=false sync=false"

static double
anonymous_mb (void)
{
  g_autofree char *text = NULL;
  const char *line;

  if (!g_file_get_contents ("/proc/self/status", &text, NULL, NULL))
    return 0;
  line = strstr (text, "\nRssAnon:");
  return line ? g_ascii_strtoull (line + strlen ("\nRssAnon:"), NULL, 10) / 1000. : 0;
}

static void
on_frame (GstElement *sink, GstBuffer *buffer, GstPad *pad, gpointer data)
{
  guint *n = data;

  if (++*n % (25 * 60) == 0)
    g_print ("%u %.1f %.1f\n", *n / (25 * 60), anonymous_mb (), (double) clock () / CLOCKS_PER_SEC);
}

static void
send_begin (GstPad *pad)
{
  g_autoptr (GstCaps) caps
      = gst_caps_from_string ("audio/x-raw,format=F32LE,rate=16000,channels=1,layout=interleaved");
  GstSegment segment;

  gst_segment_init (&segment, GST_FORMAT_TIME);
  gst_pad_send_event (pad, gst_event_new_stream_start ("gaps"));
  gst_pad_send_event (pad, gst_event_new_caps (caps));
  gst_pad_send_event (pad, gst_event_new_segment (&segment));
}

int
main (int argc, char **argv)
{
  g_autoptr (GstElement) pipeline = NULL;
  g_autoptr (GstElement) enc = NULL;
  g_autoptr (GstElement) denoise = NULL;
  g_autoptr (GstElement) sink = NULL;
  g_autoptr (GstPad) pad = NULL;
  g_autoptr (GstBus) bus = NULL;
  g_autoptr (GstMessage) message = NULL;
  guint n_frames = 0, seconds;

  gst_init (&argc, &argv);
  if (argc != 3 || !(pipeline = gst_parse_launch (CHAIN, NULL))) {
    g_printerr ("usage: bench-gaps PORTRAIT MINUTES\n");
    return 2;
  }
  seconds = 60 * (guint) g_ascii_strtoull (argv[2], NULL, 10);
  enc = gst_bin_get_by_name (GST_BIN (pipeline), "enc");
  denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  pad = gst_element_get_static_pad (enc, "sink");
  bus = gst_element_get_bus (pipeline);
  g_object_set (denoise, "reference", argv[1], NULL);
  g_object_set (sink, "signal-handoffs", TRUE, NULL);
  g_signal_connect (sink, "handoff", G_CALLBACK (on_frame), &n_frames);
  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  send_begin (pad);
  for (guint i = 0; i < seconds; i++) {
    if (!gst_pad_send_event (pad, gst_event_new_gap (i * GST_SECOND, GST_SECOND)))
      break;
    gst_bus_set_flushing (bus, TRUE); /* drops messages */
    gst_bus_set_flushing (bus, FALSE);
  }
  gst_pad_send_event (pad, gst_event_new_eos ());
  message
      = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE, GST_MESSAGE_EOS | GST_MESSAGE_ERROR);
  g_print ("%s, %u frames, expected %u\n", GST_MESSAGE_TYPE_NAME (message), n_frames, 25 * seconds);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  return n_frames == 25 * seconds ? 0 : 1;
}
