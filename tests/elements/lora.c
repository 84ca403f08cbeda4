/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The property lora of avatardenoise: how it is read, that it reaches the engine, and that what is
 * wrong with it is told with the file's name. */
#include "gst/gstavatarloras.h"
#include "lora-file.h"
#include "support.h"

#include <glib/gstdio.h>
#include <math.h>

#define LATENTS(settings) \
  AUDIO (5)               \
  " ! avatardenoise name=denoise steps=2 " settings " ! " SMALL_LATENTS " ! fakesink name=sink"

static void
expect_one (const gchar *text, const gchar *path, gdouble strength)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GArray) loras = gst_avatar_loras_parse (text, &error);
  const AvatarLoraSetting *last;

  g_assert_no_error (error);
  last = &g_array_index (loras, AvatarLoraSetting, loras->len - 1);
  fail_unless_equals_string (last->path, path);
  fail_unless_equals_float (last->strength, strength);
}

/* Strengths by step, and by noise level. */
GST_START_TEST (test_parse_schedule)
{
  g_autoptr (GArray) loras = gst_avatar_loras_parse ("a:0/0.5/-1,b:0.8@0.98-0.1,c@1-0:2/x", NULL);
  const AvatarLoraSetting *lora = (const AvatarLoraSetting *) loras->data;

  fail_unless_equals_int (loras->len, 3);
  fail_unless_equals_string (lora[0].path, "a");
  fail_unless_equals_float (lora[0].strength, 1);
  fail_unless_equals_int (lora[0].schedule->n_strengths, 3);
  fail_unless_equals_float (lora[0].schedule->strengths[1], 0.5);
  fail_unless_equals_float (lora[0].schedule->strengths[2], -1);
  fail_unless_equals_string (lora[1].path, "b");
  fail_unless_equals_float (lora[1].strength, 0.8);
  fail_unless_equals_float (lora[1].schedule->sigma_from, 0.98);
  fail_unless_equals_float (lora[1].schedule->sigma_to, 0.1);
  fail_unless_equals_string (lora[2].path, "c@1-0:2/x");
  fail_unless (lora[2].schedule == NULL);
}
GST_END_TEST;

GST_START_TEST (test_parse)
{
  static const gchar *const nonsense[]
      = { ",", "a,", ",a", "a,,b", ":0.5", "a:inf", "b,a:nan", "a:1/nan", ":1@1-0" };
  g_autoptr (GArray) none = gst_avatar_loras_parse (NULL, NULL);
  g_autoptr (GArray) empty = gst_avatar_loras_parse ("", NULL);
  g_autoptr (GArray) three = gst_avatar_loras_parse ("a,b:2,c", NULL);

  fail_unless_equals_int (none->len, 0);
  fail_unless_equals_int (empty->len, 0);
  fail_unless_equals_int (three->len, 3);
  expect_one ("a.safetensors", "a.safetensors", 1);
  expect_one ("a.safetensors:0.5", "a.safetensors", 0.5);
  expect_one ("a:0.5,b:-1e-1", "b", -0.1);
  expect_one ("a:1,b:c:", "b:c:", 1);
  expect_one ("a:1,/b:c/d", "/b:c/d", 1);
  expect_one ("take:2:1", "take:2", 1);
  expect_one ("x,one\\, two\\\\n:3", "one, two\\\\n", 3);
  for (guint i = 0; i < G_N_ELEMENTS (nonsense); i++) {
    g_autoptr (GError) error = NULL;

    fail_unless (gst_avatar_loras_parse (nonsense[i], &error) == NULL);
    fail_unless (g_error_matches (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS));
    fail_unless (strstr (error->message, nonsense[i]), "%s", error->message);
  }
}
GST_END_TEST;

/* The latents with the property @lora. */
static Run *
run_with (const gchar *lora)
{
  GstElement *pipeline = pipeline_new (LATENTS (""), TRUE);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autofree gchar *found = NULL;

  g_object_set (denoise, "lora", lora, NULL);
  g_object_get (denoise, "lora", &found, NULL);
  fail_unless_equals_string (found, lora);
  return run_play (pipeline, NULL, NULL);
}

/* The relative difference of the latents in the mean square. */
static gdouble
difference (Run *a, Run *b)
{
  const gfloat *x = (const gfloat *) a->bytes->data, *y = (const gfloat *) b->bytes->data;
  gdouble error = 0, size = 0;

  g_assert_no_error (a->error);
  g_assert_no_error (b->error);
  fail_unless (a->bytes->len > 0 && a->bytes->len == b->bytes->len);
  for (guint i = 0; i < a->bytes->len / sizeof (gfloat); i++) {
    error += (x[i] - y[i]) * (gdouble) (x[i] - y[i]);
    size += x[i] * (gdouble) x[i];
  }
  return sqrt (error / size);
}

GST_START_TEST (test_latents)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path
      = write_lora (folder, "a.safetensors", "double_blocks.0.img_attn_proj", WIDTH);
  g_autofree gchar *comma = write_lora (folder, "b,c:1", "double_blocks.0.img_attn_proj", WIDTH);
  g_autofree gchar *zero = g_strconcat (path, ":0", NULL);
  g_autofree gchar *half = g_strconcat (path, ":0.5", NULL);
  g_autofree gchar *late = g_strconcat (path, ":0/1", NULL);
  g_autofree gchar *never = g_strconcat (path, ":1@0.01-0", NULL);
  g_autofree gchar *both = g_strdup_printf ("%s:0.5,%s/b\\,c:1:0.5", path, folder);
  g_autoptr (Run) plain = run_with (NULL);
  g_autoptr (Run) nothing = run_with (zero);
  g_autoptr (Run) one = run_with (path);
  g_autoptr (Run) weak = run_with (half);
  g_autoptr (Run) twice = run_with (both);
  g_autoptr (Run) second = run_with (late);
  g_autoptr (Run) none = run_with (never);

  fail_unless (difference (nothing, plain) == 0);
  fail_unless (difference (one, plain) > 1e-3);
  fail_unless (difference (weak, plain) > 1e-4 && difference (weak, one) > 1e-4);
  fail_unless (difference (twice, one) < 1e-5); /* a half and a half */
  fail_unless (difference (second, plain) > 1e-4 && difference (second, one) > 1e-4);
  fail_unless (difference (none, plain) == 0);
  g_unlink (path);
  g_unlink (comma);
  g_rmdir (folder);
}
GST_END_TEST;

static void
take_warning (GstElement *pipeline, GstMessage *message, gpointer data)
{
  g_autoptr (GError) warning = NULL;

  if (!message || GST_MESSAGE_TYPE (message) != GST_MESSAGE_WARNING)
    return;
  gst_message_parse_warning (message, &warning, NULL);
  g_ptr_array_add (data, g_strdup (warning->message));
}

/* A message reports unused tensors of a file, and none is posted if all are used. */
GST_START_TEST (test_warnings)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);

  for (guint k = 0; k < 2; k++) {
    g_autofree gchar *path = write_lora_and (folder, "a.safetensors",
        "double_blocks.0.img_attn_proj", WIDTH, k ? "blocks.0.lora_A.weight" : NULL);
    g_autoptr (GPtrArray) warnings = g_ptr_array_new_with_free_func (g_free);
    GstElement *pipeline = pipeline_new (LATENTS (""), TRUE);
    g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
    g_autoptr (Run) run = NULL;

    g_object_set (denoise, "lora", path, NULL);
    run = run_play (pipeline, take_warning, warnings);
    g_assert_no_error (run->error);
    fail_unless_equals_int (warnings->len, k);
    if (k)
      fail_unless (strstr (warnings->pdata[0], "1 of its 3 keys")
          && strstr (warnings->pdata[0], "\"blocks.0.lora_A.weight\""));
    g_unlink (path);
  }
  g_rmdir (folder);
}
GST_END_TEST;

static void
expect_error (const gchar *lora, GQuark domain, gint code, const gchar *text)
{
  g_autoptr (Run) run = run_with (lora);

  fail_unless (g_error_matches (run->error, domain, code), "%s",
      run->error ? run->error->message : "no error");
  fail_unless (strstr (run->error->message, text), "%s", run->error->message);
  fail_unless_equals_int (run->n_errors, 1);
  fail_unless_equals_int (run->n_buffers, 0);
}

GST_START_TEST (test_errors)
{
  g_autofree gchar *folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  g_autofree gchar *path
      = write_lora (folder, "wide.safetensors", "double_blocks.0.img_attn_proj", WIDTH + 1);
  g_autofree gchar *sound = sample_path ("hello.wav");

  expect_error (":0.5", GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_SETTINGS, ":0.5");
  expect_error ("/nowhere/lora.pt:0.5", GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_NOT_FOUND,
      "/nowhere/lora.pt");
  expect_error (path, GST_STREAM_ERROR, GST_STREAM_ERROR_WRONG_TYPE, "wide.safetensors");
  expect_error (sound, GST_RESOURCE_ERROR, GST_RESOURCE_ERROR_READ, "hello.wav");
  g_unlink (path);
  g_rmdir (folder);
}
GST_END_TEST;

static Suite *
lora_suite (void)
{
  Suite *suite = suite_create ("lora");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_parse);
  tcase_add_test (tc, test_parse_schedule);
  tcase_add_test (tc, test_latents);
  tcase_add_test (tc, test_warnings);
  tcase_add_test (tc, test_errors);
  return suite;
}

GST_CHECK_MAIN (lora);
