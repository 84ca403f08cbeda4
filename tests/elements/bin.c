/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarbin: the same frames as the three elements, the same audio as its input, and audio that
 * leaves with the video of its time. */
#include "support.h"

#include <string.h>

/* Audio that the bin has to convert, 40 ms a buffer. */
#define SOUND(frames)                                                \
  "audiotestsrc wave=saw samplesperbuffer=1764 num-buffers=" #frames \
  " ! audio/x-raw,format=S32LE,rate=44100,channels=2"
#define BIN "avatarbin name=denoise steps=2"

static void
expect_same_bytes (const Run *a, const Run *b)
{
  fail_unless (a->bytes->len > 0);
  fail_unless_equals_int (a->bytes->len, b->bytes->len);
  fail_unless (memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0);
}

/* The bin makes the frames of the three elements, and converts the audio as a pipeline does. The
 * pad "audio" is not linked. */
GST_START_TEST (test_frames)
{
  g_autoptr (Run) bin = run_pipeline (SOUND (9) " ! " BIN " ! " SMALL_VIDEO ",format=RGB"
                                                " ! fakesink name=sink",
      TRUE);
  g_autoptr (Run) elements
      = run_pipeline (SOUND (9) " ! audioconvert ! audioresample ! avataraudioenc ! " DENOISE
                                " ! avatarvaedecode ! " SMALL_VIDEO ",format=RGB"
                                " ! fakesink name=sink",
          TRUE);

  g_assert_no_error (bin->error);
  fail_unless (bin->eos);
  fail_unless_equals_int (bin->n_buffers, 9);
  fail_unless_equals_uint64 (bin->end, elements->end);
  expect_same_bytes (bin, elements);
}
GST_END_TEST;

/* Audio leaves as it entered. */
GST_START_TEST (test_audio)
{
  g_autoptr (Run) bin
      = run_pipeline (SOUND (9) " ! " BIN " denoise.video ! " SMALL_VIDEO
                                " ! fakesink sync=false denoise.audio ! fakesink name=sink",
          TRUE);
  g_autoptr (Run) sound = run_pipeline (SOUND (9) " ! fakesink name=sink", FALSE);

  g_assert_no_error (bin->error);
  fail_unless (bin->eos);
  fail_unless (gst_caps_is_equal (bin->caps, sound->caps));
  fail_unless_equals_int (bin->n_buffers, 9);
  expect_same_bytes (bin, sound);
}
GST_END_TEST;

static Suite *
bin_suite (void)
{
  Suite *suite = suite_create ("bin");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_frames);
  tcase_add_test (tc, test_audio);
  return suite;
}

GST_CHECK_MAIN (bin);
