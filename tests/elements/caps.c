/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dimension strings and tensor caps: round trips, padded ranks, garbage. */
#include "gst/gstavatarcaps.h"

#include <avatar/error.h>

#include "support.h"

GST_START_TEST (test_dimensions)
{
  static const gchar *const garbage[] = { "", ":", "64:", ":64", "64::5", "0:5", "-1:5", "64:5x",
    "64 :5", "4294967297:1", "65537", "65536:65536:65536", "2:3:4:5:6", "64,5,10" };
  guint dims[GST_AVATAR_MAX_RANK];
  g_autofree gchar *shorter = NULL, *padded = NULL;
  GError *error = NULL;

  fail_unless (gst_avatar_dimensions_parse ("64:5:10", dims, NULL));
  fail_unless (dims[0] == 64 && dims[1] == 5 && dims[2] == 10 && dims[3] == 1);
  shorter = gst_avatar_dimensions_to_string (dims, 1);
  padded = gst_avatar_dimensions_to_string (dims, 4);
  fail_unless_equals_string (shorter, "64:5:10");
  fail_unless_equals_string (padded, "64:5:10:1");
  fail_unless (gst_avatar_dimensions_parse ("64:5:10:1:1:1:1:1", dims, NULL));
  fail_unless (dims[2] == 10 && dims[3] == 1);
  for (guint i = 0; i < G_N_ELEMENTS (garbage); i++) {
    fail_if (gst_avatar_dimensions_parse (garbage[i], dims, &error), "taken: %s", garbage[i]);
    fail_unless (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT));
    g_clear_error (&error);
  }
}
GST_END_TEST;

GST_START_TEST (test_features)
{
  const GstAvatarFeatureInfo info = { 10, 5, 64, 25, 1 };
  GstAvatarFeatureInfo back;
  g_autoptr (GstCaps) caps = gst_avatar_caps_new_features (&info, "abc");
  GError *error = NULL;

  fail_unless_equals_int (gst_caps_get_size (caps), 2);
  for (guint i = 0; i < 2; i++) {
    g_autoptr (GstCaps) one = gst_caps_copy_nth (caps, i);
    fail_unless (gst_avatar_caps_parse_features (one, "abc", &back, NULL));
    fail_unless (back.steps == 10 && back.states == 5 && back.channels == 64 && back.fps_n == 25);
    fail_if (gst_avatar_caps_parse_features (one, "other", &back, &error));
    fail_unless (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_MISMATCH));
    g_clear_error (&error);
  }
  fail_unless_equals_int (gst_avatar_feature_info_get_size (&info), 4 * 10 * 5 * 64);
}
GST_END_TEST;

GST_START_TEST (test_latents)
{
  const GstAvatarLatentInfo info = { 16, 20, 12, 25, 1 };
  GstAvatarLatentInfo back;
  GstAvatarFeatureInfo features;
  g_autoptr (GstCaps) caps = gst_avatar_caps_new_latents (&info, "abc");
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  gint n, d;
  guint width, height;
  GError *error = NULL;

  fail_unless_equals_int (gst_caps_get_size (caps), 1);
  fail_unless_equals_string (gst_structure_get_string (s, "dimensions"), "12:20:1:16");
  fail_unless (gst_structure_get_fraction (s, "framerate", &n, &d) && n == 25 && d == 4);
  fail_unless (gst_avatar_caps_parse_latents (caps, NULL, &back, NULL));
  fail_unless (back.channels == 16 && back.height == 20 && back.width == 12);
  fail_unless (back.fps_n == 25 && back.fps_d == 1);
  fail_unless (gst_avatar_caps_get_video_size (caps, 8, &width, &height));
  fail_unless (width == 96 && height == 160);
  fail_if (gst_avatar_caps_parse_features (caps, NULL, &features, &error));
  fail_unless (strstr (error->message, "latents") != NULL);
  g_clear_error (&error);
}
GST_END_TEST;

GST_START_TEST (test_foreign)
{
  static const gchar *const bad[]
      = { "audio/x-raw", "other/tensors,format=static,num_tensors=1,types=float32",
          "other/tensors,format=static,num_tensors=1,types=float16,dimensions=(string)64:5:10",
          "other/tensors,format=static,num_tensors=1,types=float32,dimensions=(string)64:5:10:2" };
  g_autoptr (GstCaps) good = gst_caps_from_string (
      "other/tensors,format=static,num_tensors=1,types=float32,dimensions=(string)64:5:10:1:1,"
      "framerate=0/1");
  GstAvatarFeatureInfo info;

  fail_unless (gst_avatar_caps_parse_features (good, "abc", &info, NULL));
  fail_unless (info.channels == 64 && info.fps_n == 0);
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GstCaps) caps = gst_caps_from_string (bad[i]);
    fail_if (gst_avatar_caps_parse_features (caps, NULL, &info, NULL), "taken: %s", bad[i]);
  }
}
GST_END_TEST;

static Suite *
caps_suite (void)
{
  Suite *suite = suite_create ("caps");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_dimensions);
  tcase_add_test (tc, test_features);
  tcase_add_test (tc, test_latents);
  tcase_add_test (tc, test_foreign);
  return suite;
}

GST_CHECK_MAIN (caps);
