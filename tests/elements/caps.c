/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Dimension strings and tensor caps: round trips, padded ranks, garbage. */
#include "gst/gstavatarcaps.h"

#include <avatar/error.h>

#include "gst/gstavatarvideocaps.h"

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
  const GstAvatarLatentInfo info = { 16, 20, 12, 25, 1, 0, 0 };
  GstAvatarLatentInfo back;
  GstAvatarFeatureInfo features;
  g_autoptr (GstCaps) caps = gst_avatar_caps_new_latents (&info, "abc");
  const GstStructure *s = gst_caps_get_structure (caps, 0);
  gint n, d;
  GError *error = NULL;

  fail_unless_equals_int (gst_caps_get_size (caps), 1);
  fail_unless_equals_string (gst_structure_get_string (s, "dimensions"), "12:20:1:16");
  fail_unless (gst_structure_get_fraction (s, "framerate", &n, &d) && n == 25 && d == 4);
  fail_unless (gst_avatar_caps_parse_latents (caps, NULL, &back, NULL));
  fail_unless (back.channels == 16 && back.height == 20 && back.width == 12);
  fail_unless (back.fps_n == 25 && back.fps_d == 1);
  fail_if (gst_avatar_caps_parse_features (caps, NULL, &features, &error));
  fail_unless (strstr (error->message, "latents") != NULL);
  g_clear_error (&error);
}
GST_END_TEST;

/* Windows of 7 latents, of which 2 belong to the window before. */
GST_START_TEST (test_windows)
{
  static const gchar *const bad[]
      = { "window-latents=3", "window-latents=3,overlap=3", "window-latents=0,overlap=0",
          "window-latents=3,overlap=-1", "window-latents=(string)3,overlap=1" };
  const GstAvatarLatentInfo info = { 16, 20, 12, 25, 1, 7, 2 };
  GstAvatarLatentInfo back = { 0 };
  g_autoptr (GstCaps) caps = gst_avatar_caps_new_latents (&info, "abc");
  g_autoptr (GString) ends = g_string_new (NULL);

  fail_unless (gst_avatar_caps_parse_latents (caps, NULL, &back, NULL));
  fail_unless (memcmp (&info, &back, sizeof info) == 0);
  for (guint k = 0; k < 18; k++)
    g_string_append_c (ends, gst_avatar_latent_info_ends_window (&back, k) ? '|' : '-');
  fail_unless_equals_string (ends->str, "------|----|----|-");
  back.window = back.overlap = 0;
  fail_if (gst_avatar_latent_info_ends_window (&back, 6));
  for (guint i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autofree gchar *text = g_strdup_printf (GST_AVATAR_TENSOR_CAPS
        ",dimensions=(string)12:20:1:16,framerate=25/4,%s",
        bad[i]);
    g_autoptr (GstCaps) wrong = gst_caps_from_string (text);
    g_autoptr (GError) error = NULL;

    fail_if (gst_avatar_caps_parse_latents (wrong, NULL, &back, &error), "taken: %s", bad[i]);
    fail_unless (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT));
  }
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

/* Returns the output size of a model of 128 x 96 if downstream accepts @video, as "WxH", with a
 * "!" if downstream requires it, or the error. */
static gchar *
choose (const gchar *video)
{
  const AvatarModelInfo info = { .name = "test",
    .size_multiple = 16,
    .latent_scale = 8,
    .latent_channels = 16,
    .fps = 25 };
  g_autoptr (GstCaps) caps = gst_caps_from_string (video);
  g_autoptr (GstCaps) latents = gst_avatar_video_caps_to_latents (caps, &info);
  g_autoptr (GError) error = NULL;
  guint width = 128, height = 96;
  gboolean demanded;

  if (!gst_avatar_video_caps_choose_size (latents, &info, &width, &height, &demanded, &error))
    return g_strdup (error->message);
  return g_strdup_printf ("%ux%u%s", width, height, demanded ? "!" : "");
}

/* A preference of downstream is no demand as long as it takes the model's own size, too. */
GST_START_TEST (test_size)
{
  static const gchar *const cases[][2] = {
    { "video/x-raw", "128x96" },
    { "video/x-raw,width=[1,2147483647],height=[1,2147483647]", "128x96" },
    { "video/x-raw,width=1920,height=1072; video/x-raw,width=[1,32768],height=[1,32768]",
        "128x96" },
    { "video/x-raw,width=1920,height=1080; video/x-raw", "128x96" },
    { "video/x-raw,width=1280,height=720; video/x-raw,width=128,height=96", "128x96!" },
    { "video/x-raw,width=[64,256],height=[64,256]", "128x96" },
    { "video/x-raw,width={64,128}", "128x96" },
    { "video/x-raw,width=704,height=1216", "704x1216!" },
    { "video/x-raw,width=256", "256x192!" },
    { "video/x-raw,height=48", "64x48!" },
    { "video/x-raw,width=[17,100]", "96x64!" },
    { "video/x-raw,width={100,256}", "256x192!" },
    { "video/x-raw,width=100,height=60; video/x-raw,width=64,height=64", "64x64!" },
  };
  g_autofree gchar *narrow = choose ("video/x-raw,width=100");
  g_autofree gchar *odd = choose ("video/x-raw,width=136,height=60");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autofree gchar *chosen = choose (cases[i][0]);

    fail_unless (g_str_equal (chosen, cases[i][1]), "%s: %s, expected %s", cases[i][0], chosen,
        cases[i][1]);
  }
  fail_unless (strstr (narrow, "100 x any") && strstr (narrow, "multiples of 16"), "%s", narrow);
  fail_unless (strstr (odd, "136 x 60") && strstr (odd, "videoscale"), "%s", odd);
  fail_unless (strstr (odd, "nearest is 128 x 64"), "%s", odd);
}
GST_END_TEST;

/* Each cause by its name, with what there is, what was asked for, and what converts it. */
GST_START_TEST (test_misfits)
{
  static const gchar *const cases[][2] = {
    { "video/x-raw,framerate=30/1", "framerate is 25/1, downstream accepts 30/1: add videorate" },
    { "video/x-raw,framerate=[30/1,60/1]", "[ 30/1, 60/1 ]" },
    { "video/x-raw,pixel-aspect-ratio=2/1", "pixel-aspect-ratio is 1/1, downstream accepts 2/1" },
    { "video/x-raw,format=GRAY8", "downstream accepts GRAY8: add videoconvert" },
    { "video/x-raw,interlace-mode=interleaved", "interlace-mode is progressive" },
    { "video/x-raw,width=704,height=96", "width is 128, downstream accepts 704: add videoscale" },
    { "video/x-raw(memory:GLMemory)", "memory:GLMemory" },
    { "audio/x-raw", "media type is video/x-raw, downstream accepts audio/x-raw" },
    { "video/x-raw,format=GRAY8,framerate=30/1; video/x-raw,width=64", "width is 128" },
    { "EMPTY", "contradict each other" },
  };
  g_autoptr (GstCaps) made
      = gst_caps_from_string ("video/x-raw,format={RGB,I420},width=128,height=96,framerate=25/1,"
                              "pixel-aspect-ratio=1/1,interlace-mode=progressive");

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GstCaps) taken = gst_caps_from_string (cases[i][0]);
    g_autofree gchar *why = gst_avatar_video_caps_explain (made, taken);

    fail_unless (strstr (why, cases[i][1]), "%s: \"%s\" has no \"%s\"", cases[i][0], why,
        cases[i][1]);
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
  tcase_add_test (tc, test_windows);
  tcase_add_test (tc, test_foreign);
  tcase_add_test (tc, test_size);
  tcase_add_test (tc, test_misfits);
  return suite;
}

GST_CHECK_MAIN (caps);
