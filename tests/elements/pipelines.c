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

/* A sanitizer makes the sample's 147 frames a matter of minutes: there, 23 and a bit do, of the same
 * kind of file. */
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

static Suite *
pipelines_suite (void)
{
  Suite *suite = suite_create ("pipelines");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_checked_fixture (tc, setup, teardown);
  tcase_add_test (tc, test_cut_by_files);
  tcase_add_test (tc, test_mp4);
  return suite;
}

GST_CHECK_MAIN (pipelines);
