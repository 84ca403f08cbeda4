/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plays a live pipeline and prints its delays.
 *   bench-live SECONDS LAUNCH
 * LAUNCH has an element named "decode", whose frames are measured as they leave it, and a live
 * source; other chains may follow, with "decode1", "decode2" and so on. Ends SECONDS after the
 * first frame. Prints the time from the first sample to the first frame; the delay of frames, from
 * the running time of their PTS to the moment when they leave, and the latency that is answered
 * there; the frames a second of all chains; computing time of each stage; decisions of the late
 * policy; and processor time. The rate is the highest possible one if the source is not live. */
#include <gst/gst.h>
#include <stdlib.h>
#include <sys/resource.h>

#define N_STAGES 3

static const gchar *const stages[N_STAGES] = { "audio", "denoise", "decode" };

typedef struct
{
  GMutex lock;
  GstElement *pipeline;
  GMainLoop *loop;
  guint seconds, n_frames, n_late[3];
  guint n_all;               /* frames of all chains after the first one of all */
  gint64 all_start, all_end; /* monotonic times of the first frame of all, and of the last */
  GstClockTime first, sum, last, longest, end;
  gdouble compute[N_STAGES], largest[N_STAGES], duration[N_STAGES];
  guint windows[N_STAGES];
} Live;

static GstClockTime
running_time (GstElement *pipeline)
{
  g_autoptr (GstClock) clock = gst_element_get_clock (pipeline);

  return clock ? gst_clock_get_time (clock) - gst_element_get_base_time (pipeline) : 0;
}

static gboolean
on_end (gpointer data)
{
  g_main_loop_quit (((Live *) data)->loop);
  return G_SOURCE_REMOVE;
}

static GstPadProbeReturn
on_any_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Live *live = data;

  g_mutex_lock (&live->lock);
  live->all_end = g_get_monotonic_time ();
  if (live->all_start == 0) {
    live->all_start = live->all_end;
    g_timeout_add_seconds (live->seconds, on_end, live);
  } else {
    live->n_all++;
  }
  g_mutex_unlock (&live->lock);
  return GST_PAD_PROBE_OK;
}

static GstPadProbeReturn
on_frame (GstPad *pad, GstPadProbeInfo *info, gpointer data)
{
  Live *live = data;
  GstBuffer *frame = GST_PAD_PROBE_INFO_BUFFER (info);
  GstClockTime now = running_time (live->pipeline), delay;

  g_mutex_lock (&live->lock);
  delay = now - MIN (now, GST_BUFFER_PTS (frame));
  if (live->n_frames++ == 0)
    live->first = delay; /* its PTS is that of the first sample */
  live->sum += delay;
  live->longest = MAX (live->longest, delay);
  live->last = delay;
  live->end = GST_BUFFER_PTS (frame) + GST_BUFFER_DURATION (frame);
  g_mutex_unlock (&live->lock);
  return GST_PAD_PROBE_OK;
}

static void
take_window (Live *live, const GstStructure *s)
{
  const gchar *stage = gst_structure_get_string (s, "stage");
  guint64 compute, duration;

  gst_structure_get (s, "compute-time", G_TYPE_UINT64, &compute, "duration", G_TYPE_UINT64,
      &duration, NULL);
  for (guint i = 0; i < N_STAGES; i++)
    if (g_str_equal (stage, stages[i])) {
      live->compute[i] += compute / 1e9;
      live->duration[i] += duration / 1e9;
      live->largest[i] = MAX (live->largest[i], compute / 1e9);
      live->windows[i]++;
    }
}

static void
take_late (Live *live, const GstStructure *s)
{
  static const char *const actions[] = { "steps", "skip", "recovered" };

  for (guint i = 0; i < G_N_ELEMENTS (actions); i++)
    live->n_late[i] += g_str_equal (gst_structure_get_string (s, "action"), actions[i]);
}

static gboolean
on_message (GstBus *bus, GstMessage *message, gpointer data)
{
  Live *live = data;
  g_autoptr (GError) error = NULL;

  switch (GST_MESSAGE_TYPE (message)) {
    case GST_MESSAGE_LATENCY:
      gst_bin_recalculate_latency (GST_BIN (live->pipeline));
      break;
    case GST_MESSAGE_ERROR:
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("bench-live: %s\n", error->message);
      exit (1);
    case GST_MESSAGE_EOS:
      g_main_loop_quit (live->loop);
      break;
    default:
      if (gst_message_has_name (message, "avatar-window"))
        take_window (live, gst_message_get_structure (message));
      else if (gst_message_has_name (message, "avatar-late"))
        take_late (live, gst_message_get_structure (message));
      break;
  }
  return G_SOURCE_CONTINUE;
}

static GstClockTime
query_latency (Live *live)
{
  g_autoptr (GstElement) decode = gst_bin_get_by_name (GST_BIN (live->pipeline), "decode");
  g_autoptr (GstPad) pad = gst_element_get_static_pad (decode, "src");
  g_autoptr (GstQuery) query = gst_query_new_latency ();
  GstClockTime min = 0;

  if (gst_pad_query (pad, query))
    gst_query_parse_latency (query, NULL, &min, NULL);
  return min;
}

static void
print (Live *live)
{
  struct rusage usage;
  gdouble cpu, played = live->end / 1e9;

  getrusage (RUSAGE_SELF, &usage);
  cpu = usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6 + usage.ru_stime.tv_sec
      + usage.ru_stime.tv_usec / 1e6;
  g_print ("first frame after %.2f s; latency of the decoder's output %.2f s\n", live->first / 1e9,
      query_latency (live) / 1e9);
  g_print ("frames: %u of %.0f; delay: mean %.2f, longest %.2f, last %.2f s\n", live->n_frames,
      played * 25, live->sum / 1e9 / MAX (live->n_frames, 1), live->longest / 1e9,
      live->last / 1e9);
  g_print ("all chains: %.1f frames a second after the first\n",
      live->n_all * 1e6 / MAX (live->all_end - live->all_start, 1));
  for (guint i = 0; i < N_STAGES; i++)
    g_print ("%s: %u windows, mean %.0f ms, longest %.0f ms, %.1f times real time\n", stages[i],
        live->windows[i], 1e3 * live->compute[i] / MAX (live->windows[i], 1),
        1e3 * live->largest[i], live->duration[i] / MAX (live->compute[i], 1e-9));
  g_print ("avatar-late: steps %u, skip %u, recovered %u\n", live->n_late[0], live->n_late[1],
      live->n_late[2]);
  g_print ("processor time %.1f s for %.1f s of video: %.2f of a core\n", cpu, played,
      cpu / MAX (played, 1e-9));
}

/* Counts the frames of the element @name. Returns FALSE if there is none. */
static gboolean
watch (Live *live, const char *name)
{
  g_autoptr (GstElement) decode = gst_bin_get_by_name (GST_BIN (live->pipeline), name);
  g_autoptr (GstPad) pad = decode ? gst_element_get_static_pad (decode, "src") : NULL;

  if (!pad)
    return FALSE;
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_any_frame, live, NULL);
  if (g_str_equal (name, "decode"))
    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_frame, live, NULL);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  Live live = { 0 };
  g_autoptr (GstBus) bus = NULL;

  gst_init (&argc, &argv);
  if (argc != 3) {
    g_printerr ("usage: bench-live SECONDS LAUNCH\n");
    return 1;
  }
  live.pipeline = gst_parse_launch (argv[2], &error);
  if (!live.pipeline || !watch (&live, "decode")) {
    g_printerr ("bench-live: %s\n", error ? error->message : "no element is named \"decode\"");
    return 1;
  }
  for (guint i = 1;; i++) {
    g_autofree char *name = g_strdup_printf ("decode%u", i);

    if (!watch (&live, name))
      break;
  }
  live.seconds = g_ascii_strtoull (argv[1], NULL, 10);
  live.loop = g_main_loop_new (NULL, FALSE);
  bus = gst_element_get_bus (live.pipeline);
  gst_bus_add_watch (bus, on_message, &live);
  gst_element_set_state (live.pipeline, GST_STATE_PLAYING);
  g_main_loop_run (live.loop);
  print (&live);
  gst_element_set_state (live.pipeline, GST_STATE_NULL);
  return 0;
}
