/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whole pipelines: the stream cut by files at both joints, and an MP4 as long as its sound. */
#include <glib/gstdio.h>

#include "support.h"

static gchar *folder;

static void
setup (void)
{
  folder = g_dir_make_tmp ("avatar-elements-XXXXXX", NULL);
}

static void
teardown (void)
{
  static const gchar *const names[] = { "features", "latents", "out.mp4", "sound.wav" };

  for (guint i = 0; i < G_N_ELEMENTS (names); i++) {
    g_autofree gchar *path = g_build_filename (folder, names[i], NULL);
    g_unlink (path);
  }
  g_rmdir (folder);
  g_clear_pointer (&folder, g_free);
}

static Run *
run_in_folder (const gchar *format, gboolean portrait)
{
  g_auto (GStrv) parts = g_strsplit (format, "@", -1);
  g_autofree gchar *launch = g_strjoinv (folder, parts);
  Run *run = run_pipeline (launch, portrait);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  return run;
}

GST_START_TEST (test_cut_by_files)
{
  g_autoptr (Run) whole = run_in_folder (AUDIO (7) " ! " DENOISE " ! avatarvaedecode ! " SMALL_VIDEO
                                                   ",format=RGB ! fakesink name=sink",
      TRUE);
  g_autoptr (Run) a = run_in_folder (AUDIO (7) " ! gdppay ! filesink location=@/features", FALSE);
  g_autoptr (Run) b = run_in_folder ("filesrc location=@/features ! gdpdepay ! " DENOISE
                                     " ! " SMALL_LATENTS " ! gdppay ! filesink location=@/latents",
      TRUE);
  g_autoptr (Run) cut = run_in_folder ("filesrc location=@/latents ! gdpdepay ! avatarvaedecode ! "
                                       "" SMALL_VIDEO ",format=RGB ! fakesink name=sink",
      FALSE);

  fail_unless_equals_int (whole->n_buffers, 7);
  fail_unless_equals_int (cut->n_buffers, 7);
  fail_unless_equals_uint64 (cut->end, whole->end);
  fail_unless_equals_int (cut->bytes->len, whole->bytes->len);
  fail_unless (memcmp (cut->bytes->data, whole->bytes->data, whole->bytes->len) == 0);
}
GST_END_TEST;

/* With a sanitizer the sample's 147 frames would take minutes, so a file of the same kind with a
 * little more than 23 frames is used. */
static gchar *
sound_new (void)
{
#ifdef __SANITIZE_ADDRESS__
  g_autoptr (Run) run = run_in_folder ("audiotestsrc samplesperbuffer=1000 num-buffers=41 ! "
                                       "audio/x-raw,format=S16LE,rate=44100,channels=2 ! "
                                       "wavenc ! filesink location=@/sound.wav",
      FALSE);

  return g_build_filename (folder, "sound.wav", NULL);
#else
  return sample_path ("hello.wav");
#endif
}

/* The issue's line: the video lasts as long as the audio, to one frame. */
GST_START_TEST (test_mp4)
{
  g_autofree gchar *sound = sound_new ();
  g_autofree gchar *launch = g_strdup_printf (
      "filesrc location=%s ! decodebin ! audioconvert ! audioresample ! tee name=t  t. ! queue ! "
      "avataraudioenc ! avatardenoise name=denoise steps=1 ! avatarvaedecode ! videoconvert ! "
      "x264enc ! mp4mux name=m ! filesink location=@/out.mp4  t. ! queue max-size-time=0 "
      "max-size-bytes=0 max-size-buffers=0 ! audioconvert ! avenc_aac ! m.",
      sound);
  g_autofree gchar *plain
      = g_strdup_printf ("filesrc location=%s ! decodebin ! audioconvert ! fakesink name=sink",
          sound);
  g_autoptr (Run) made = run_in_folder (launch, TRUE);
  g_autoptr (Run) audio = run_in_folder (plain, FALSE);
  g_autoptr (Run) video
      = run_in_folder ("filesrc location=@/out.mp4 ! qtdemux name=d d.video_0 ! fakesink name=sink",
          FALSE);

  fail_unless (made->eos);
  fail_unless (audio->end > 0);
  fail_unless (ABS (GST_CLOCK_DIFF (video->n_buffers * 40 * GST_MSECOND, audio->end))
          <= (GstClockTimeDiff) (40 * GST_MSECOND),
      "%u frames for %" GST_TIME_FORMAT, video->n_buffers, GST_TIME_ARGS (audio->end));
}
GST_END_TEST;

/* Latents are recorded and shown. The queue of the file holds 1 s of latents and is full before
 * the decoder has the 17 latents of its first tile, and the file's sink waits for the other's
 * preroll. */
GST_START_TEST (test_tee)
{
  g_autoptr (Run) run = run_in_folder (
      AUDIO (70) " ! avatardenoise name=denoise steps=1 ! tee name=t  t. ! queue ! gdppay ! "
                 "filesink location=@/latents  t. ! queue ! avatarvaedecode ! " SMALL_VIDEO
                 " ! fakesink name=sink",
      TRUE);

  fail_unless_equals_int (run->n_buffers, 70);
}
GST_END_TEST;

/* The same where a window has fewer latents than a tile, and with two decoders. */
GST_START_TEST (test_tee_of_decoders)
{
  g_autoptr (Run) run = run_in_folder (
      AUDIO (
          70) " ! avatardenoise name=denoise steps=1 mode=stream window-latents=4 overlap=1 ! tee name=t  "
              "t. ! queue ! fakesink  t. ! queue ! avatarvaedecode ! fakesink  "
              "t. ! queue ! avatarvaedecode ! " SMALL_VIDEO " ! fakesink name=sink",
      TRUE);

  fail_unless_equals_int (run->n_buffers, 70);
}
GST_END_TEST;

typedef struct
{
  gint width, height;
} Size;

static void
note_size (GstElement *pipeline, GstMessage *message, gpointer data)
{
  GstElement *decode = message ? NULL : gst_bin_get_by_name (GST_BIN (pipeline), "decode");
  Size *size = data;

  if (decode) {
    g_autoptr (GstPad) pad = gst_element_get_static_pad (decode, "src");
    g_autoptr (GstCaps) caps = gst_pad_get_current_caps (pad);
    GstStructure *s = gst_caps_get_structure (caps, 0);

    gst_structure_get_int (s, "width", &size->width);
    gst_structure_get_int (s, "height", &size->height);
    gst_object_unref (decode);
  }
}

/* The model makes its own size, and videoscale and its like do the rest. */
GST_START_TEST (test_converted)
{
  GstElement *pipeline = pipeline_new (
      AUDIO (
          5) " ! avatardenoise name=denoise steps=1 ! avatarvaedecode name=decode ! videoscale ! "
             "videorate ! videoconvert ! video/x-raw,width=320,height=180,framerate=50/1,"
             "format=GRAY8 ! fakesink name=sink",
      TRUE);
  Size size = { 0 };
  g_autoptr (Run) run = run_play (pipeline, note_size, &size);

  g_assert_no_error (run->error);
  fail_unless (run->eos && run->n_buffers >= 9);
  fail_unless_equals_int (size.width, 128);
  fail_unless_equals_int (size.height, 128);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static Suite *
pipelines_suite (void)
{
  Suite *suite = suite_create ("pipelines");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_cut_by_files);
  tcase_add_test (tc, test_mp4);
  tcase_add_test (tc, test_tee);
  tcase_add_test (tc, test_tee_of_decoders);
  tcase_add_test (tc, test_converted);
  return suite;
}

GST_CHECK_MAIN (pipelines);
