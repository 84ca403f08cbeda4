/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatarvaedecode: as many frames as there was audio, in every format, at every start. */
#include "support.h"

static Run *
decode (const gchar *caps)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (7) " ! " DENOISE " ! avatarvaedecode ! " SMALL_VIDEO
                                   "%s ! fakesink name=sink",
          caps);
  Run *run = run_pipeline (launch, TRUE);

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 7);
  fail_unless_equals_uint64 (run->first_pts, 0);
  fail_unless_equals_uint64 (run->end, 7 * 40 * GST_MSECOND);
  return run;
}

static gdouble
mean (const guint8 *data, gsize n)
{
  gdouble sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += data[i];
  return sum / n;
}

GST_START_TEST (test_formats)
{
  g_autoptr (Run) rgb = decode (",format=RGB");
  g_autoptr (Run) i420 = decode (",format=I420");
  g_autoptr (Run) nv12 = decode (",format=NV12");
  const gsize pixels = 64 * 64;

  fail_unless_equals_int (rgb->bytes->len, 7 * 3 * pixels);
  fail_unless_equals_int (i420->bytes->len, 7 * pixels * 3 / 2);
  fail_unless_equals_int (nv12->bytes->len, i420->bytes->len);
  /* The same luma, and about as bright as the grey of RGB in video range. */
  for (guint i = 0; i < 7; i++)
    fail_unless (memcmp (i420->bytes->data + i * pixels * 3 / 2,
                     nv12->bytes->data + i * pixels * 3 / 2, pixels)
        == 0);
  fail_unless (ABS (mean (i420->bytes->data, pixels)
                   - (16 + mean (rgb->bytes->data, 3 * pixels) * 219 / 255))
      < 25);
  fail_if (memcmp (rgb->bytes->data, rgb->bytes->data + 6 * 3 * pixels, 3 * pixels) == 0,
      "the picture does not move");
}
GST_END_TEST;

/* Tiled or whole: a clip shorter than a tile comes out the same. */
GST_START_TEST (test_tiling)
{
  g_autoptr (Run) tiled
      = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode tiling=exact ! " SMALL_VIDEO
                                ",format=RGB ! fakesink name=sink",
          TRUE);
  g_autoptr (Run) whole
      = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode tiling=off ! " SMALL_VIDEO
                                ",format=RGB ! fakesink name=sink",
          TRUE);

  g_assert_no_error (tiled->error);
  fail_unless_equals_int (tiled->n_buffers, 9);
  fail_unless_equals_int (tiled->bytes->len, whole->bytes->len);
  fail_unless (memcmp (tiled->bytes->data, whole->bytes->data, whole->bytes->len) == 0);
}
GST_END_TEST;

/* Time that does not begin at 0 is kept to the end of the chain. */
GST_START_TEST (test_start_time)
{
  g_autoptr (Run) run = run_pipeline (
      "audiotestsrc timestamp-offset=3000000000 samplesperbuffer=500 num-buffers=5 ! "
      "audio/x-raw,format=F32LE,rate=16000,channels=1 ! avataraudioenc ! " DENOISE
      " ! avatarvaedecode ! " SMALL_VIDEO " ! fakesink name=sink",
      TRUE);

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 4); /* 2500 samples are 3.9 frames */
  fail_unless_equals_uint64 (run->first_pts, 3 * GST_SECOND);
  fail_unless_equals_uint64 (run->end, 3 * GST_SECOND + 160 * GST_MSECOND);
}
GST_END_TEST;

static Suite *
vaedecode_suite (void)
{
  Suite *suite = suite_create ("vaedecode");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_formats);
  tcase_add_test (tc, test_tiling);
  tcase_add_test (tc, test_start_time);
  return suite;
}

GST_CHECK_MAIN (vaedecode);
