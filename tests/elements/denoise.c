/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* avatardenoise: how many latents, their times, the portrait's two doors, sizes, statistics. */
#include "support.h"

#define LATENTS " ! " SMALL_LATENTS " ! fakesink name=sink"

static void
expect_latents (const gchar *launch, guint frames)
{
  g_autoptr (Run) run = run_pipeline (launch, TRUE);

  g_assert_no_error (run->error);
  fail_unless (run->eos);
  fail_unless_equals_int (run->n_buffers, (frames + 3 + 3) / 4);
  fail_unless_equals_uint64 (run->first_pts, 0);
  fail_unless_equals_uint64 (run->end, frames * 40 * GST_MSECOND);
}

GST_START_TEST (test_counts)
{
  expect_latents (AUDIO (1) " ! " DENOISE LATENTS, 1);
  expect_latents (AUDIO (2) " ! " DENOISE LATENTS, 2);
  expect_latents (AUDIO (5) " ! " DENOISE LATENTS, 5);
  expect_latents (AUDIO (9) " ! " DENOISE LATENTS, 9);
  expect_latents (AUDIO (11) " ! " DENOISE " mode=stream chunk=3 overlap=1" LATENTS, 11);
  expect_latents (AUDIO (11) " ! " DENOISE " mode=clip" LATENTS, 11);
}
GST_END_TEST;

GST_START_TEST (test_seed)
{
  g_autoptr (Run) a = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autoptr (Run) b = run_pipeline (AUDIO (5) " ! " DENOISE " seed=1" LATENTS, TRUE);
  g_autoptr (Run) c = run_pipeline (AUDIO (5) " ! " DENOISE " seed=2" LATENTS, TRUE);

  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  fail_unless (memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0);
  fail_if (memcmp (a->bytes->data, c->bytes->data, a->bytes->len) == 0);
}
GST_END_TEST;

static void
expect_same_portrait (const gchar *format)
{
  g_autofree gchar *path = sample_path ("portrait.png");
  g_autofree gchar *launch = g_strdup_printf (
      AUDIO (
          5) " ! " DENOISE LATENTS
             " filesrc location=%s ! pngdec ! videoconvert ! video/x-raw,format=%s ! denoise.reference",
      path, format);
  g_autoptr (Run) file = run_pipeline (AUDIO (5) " ! " DENOISE LATENTS, TRUE);
  g_autoptr (Run) pad = run_pipeline (launch, FALSE);

  g_assert_no_error (pad->error);
  fail_unless (file->bytes->len > 0 && file->bytes->len == pad->bytes->len);
  fail_unless (memcmp (file->bytes->data, pad->bytes->data, file->bytes->len) == 0);
}

GST_START_TEST (test_reference_pad)
{
  expect_same_portrait ("RGB");
  expect_same_portrait ("RGBA");
  expect_same_portrait ("RGBx");
}
GST_END_TEST;

GST_START_TEST (test_size)
{
  g_autoptr (Run) run = run_pipeline (
      AUDIO (
          5) " ! " DENOISE
             " ! avatarvaedecode ! video/x-raw,format=RGB,width=96,height=160 ! fakesink name=sink",
      TRUE);
  gint width = 0, height = 0;

  g_assert_no_error (run->error);
  fail_unless_equals_int (run->n_buffers, 5);
  gst_structure_get_int (gst_caps_get_structure (run->caps, 0), "width", &width);
  gst_structure_get_int (gst_caps_get_structure (run->caps, 0), "height", &height);
  fail_unless_equals_int (width, 96);
  fail_unless_equals_int (height, 160);
}
GST_END_TEST;

GST_START_TEST (test_chunks)
{
  g_autoptr (Run) run
      = run_pipeline (AUDIO (9) " ! " DENOISE " ! avatarvaedecode ! fakesink name=sink", TRUE);
  static const gchar *const stages[] = { "audio", "denoise", "decode" };

  fail_unless_equals_int (run->chunks->len, 3);
  for (guint i = 0; i < 3; i++) {
    const GstStructure *s = run->chunks->pdata[i];
    GstClockTime compute = 0, duration = 0;
    guint64 now = 0, peak = 0;
    guint frames = 0;

    fail_unless_equals_string (gst_structure_get_string (s, "stage"), stages[i]);
    fail_unless (gst_structure_get_clock_time (s, "compute-time", &compute) && compute > 0);
    fail_unless (gst_structure_get_clock_time (s, "duration", &duration));
    fail_unless_equals_uint64 (duration, 360 * GST_MSECOND);
    fail_unless (gst_structure_get_uint (s, "frames", &frames) && frames == 9);
    fail_unless (gst_structure_get_uint64 (s, "memory-now", &now));
    fail_unless (gst_structure_get_uint64 (s, "memory-peak", &peak));
    fail_unless (peak >= now && peak > 0);
  }
}
GST_END_TEST;

static Suite *
denoise_suite (void)
{
  Suite *suite = suite_create ("denoise");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_counts);
  tcase_add_test (tc, test_seed);
  tcase_add_test (tc, test_reference_pad);
  tcase_add_test (tc, test_size);
  tcase_add_test (tc, test_chunks);
  return suite;
}

GST_CHECK_MAIN (denoise);
