/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Bad input: one error on the bus, in the right domain, that names what was found. */
#include "support.h"

static void
expect (const gchar *launch, gboolean portrait, GQuark domain, gint code, const gchar *text)
{
  g_autoptr (Run) run = run_pipeline (launch, portrait);

  fail_unless (run->error != NULL, "no error: %s", launch);
  fail_unless (strstr (run->error->message, text), "\"%s\" has no \"%s\"", run->error->message,
      text);
  fail_unless_equals_string (g_quark_to_string (run->error->domain), g_quark_to_string (domain));
  fail_unless_equals_int (run->error->code, code);
  fail_unless_equals_int (run->n_errors, 1);
  fail_unless_equals_int (run->n_buffers, 0);
}

#define END " ! avatarvaedecode ! fakesink name=sink"

GST_START_TEST (test_portrait)
{
  g_autofree gchar *sound = sample_path ("hello.wav");
  g_autofree gchar *launch = g_strdup_printf (AUDIO (5) " ! avatardenoise reference=%s" END, sound);

  expect (AUDIO (5) " ! avatardenoise" END, FALSE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS,
      "no portrait");
  expect (AUDIO (5) " ! avatardenoise reference=/nowhere/face.png" END, FALSE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_NOT_FOUND, "/nowhere/face.png");
  expect (launch, FALSE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "hello.wav");
  expect (AUDIO (5) " ! " DENOISE END " videotestsrc num-buffers=0 ! denoise.reference", FALSE,
      GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "no portrait");
}
GST_END_TEST;

GST_START_TEST (test_audio)
{
  expect (AUDIO (0) " ! " DENOISE END, TRUE, GST_STREAM_ERROR, GST_STREAM_ERROR_DECODE, "empty");
}
GST_END_TEST;

GST_START_TEST (test_settings)
{
  expect (AUDIO (5) " ! avatardenoise name=denoise steps=0" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_SETTINGS, "steps is 0");
  expect (AUDIO (5) " ! " DENOISE " face-box=1,2,3" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_SETTINGS, "1,2,3");
  expect (AUDIO (5) " ! " DENOISE " chunk=3 overlap=3" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_SETTINGS, "overlap");
  expect (AUDIO (5) " ! " DENOISE
                    " ! avatarvaedecode ! video/x-raw,width=100,height=60 ! fakesink name=sink",
      TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "100 x 60");
  expect (AUDIO (5) " ! " DENOISE
                    " ! avatarvaedecode ! video/x-raw,width=136,height=136 ! fakesink name=sink",
      TRUE, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "136 x 136");
  expect (AUDIO (5) " ! " DENOISE " ! avatarvaedecode tile-size=7 ! fakesink name=sink", TRUE,
      GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, "7");
}
GST_END_TEST;

GST_START_TEST (test_model)
{
  expect (AUDIO (5) " ! " DENOISE " model=/nowhere/model" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_NOT_FOUND, "/nowhere/model");
  expect (AUDIO (5) " ! " DENOISE " device=abacus" END, TRUE, GST_RESOURCE_ERROR,
      GST_RESOURCE_ERROR_FAILED, "abacus");
}
GST_END_TEST;

static Suite *
errors_suite (void)
{
  Suite *suite = suite_create ("errors");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_portrait);
  tcase_add_test (tc, test_audio);
  tcase_add_test (tc, test_settings);
  tcase_add_test (tc, test_model);
  return suite;
}

GST_CHECK_MAIN (errors);
