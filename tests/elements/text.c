/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompts of a model that has text encoders: they reach the video, their encoding is reported, and the
 * property text-cache says where it is kept. */
#include "support.h"

#include <glib/gstdio.h>
#include <string.h>

#define LATENTS \
  "chunk=2 overlap=1 mode=stream guidance-scale=3 ! " SMALL_LATENTS " ! fakesink name=sink"

static gchar *folder, *cache;

static void
make_model (void)
{
  g_autofree gchar *config = g_build_filename (g_getenv ("AVATAR_MODEL"), "config.json", NULL);
  g_autoptr (GError) error = NULL;
  gint status;

  folder = g_dir_make_tmp ("avatar-test-XXXXXX", NULL);
  cache = g_build_filename (folder, "cache", NULL);
  {
    const gchar *argv[] = { g_getenv ("AVATAR_RANDOM"), "--config", config, "--parts",
      "transformer,vae,whisper,llava,clip", folder, NULL };

    g_spawn_sync (NULL, (gchar **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL,
        &status, &error);
    g_assert_no_error (error);
    fail_unless (g_spawn_check_wait_status (status, NULL));
  }
}

static void
remove_tree (const gchar *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const gchar *name;

  while (dir && (name = g_dir_read_name (dir))) {
    g_autofree gchar *child = g_build_filename (path, name, NULL);

    remove_tree (child);
  }
  g_remove (path);
}

static guint
count_cache (void)
{
  g_autoptr (GDir) dir = g_dir_open (cache, 0, NULL);
  guint n = 0;

  while (dir && g_dir_read_name (dir))
    n++;
  return n;
}

/* @data: how many messages told of the text encoders */
static void
on_message (GstElement *pipeline, GstMessage *message, gpointer data)
{
  GstProgressType type;
  g_autofree gchar *code = NULL;

  if (!message || GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return;
  gst_message_parse_progress (message, &type, &code, NULL);
  if (strcmp (code, "text") == 0)
    g_atomic_int_inc ((gint *) data);
}

static Run *
run_with (const gchar *prompt, const gchar *where, gint *told)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (3) " model=%s ! " DENOISE " model=%s " LATENTS, folder, folder);
  GstElement *pipeline = pipeline_new (launch, TRUE);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autofree gchar *found = NULL;
  Run *run;

  g_object_set (denoise, "prompt", prompt, "negative-prompt", "bad", "text-cache", where, NULL);
  g_object_get (denoise, "text-cache", &found, NULL);
  fail_unless_equals_string (found, where);
  *told = 0;
  run = run_play (pipeline, on_message, told);
  g_assert_no_error (run->error);
  fail_unless (run->bytes->len > 0);
  return run;
}

static gboolean
is_same (Run *a, Run *b)
{
  return a->bytes->len == b->bytes->len
      && memcmp (a->bytes->data, b->bytes->data, a->bytes->len) == 0;
}

GST_START_TEST (test_cache)
{
  gint told;
  g_autoptr (Run) without = NULL, kept = NULL, again = NULL, other = NULL;

  make_model ();
  without = run_with ("a man talks", "none", &told);
  fail_unless (told > 10);
  fail_unless_equals_int (count_cache (), 0);
  kept = run_with ("a man talks", cache, &told);
  fail_unless (told > 10);
  fail_unless_equals_int (count_cache (), 2);
  again = run_with ("a man talks", cache, &told);
  fail_unless_equals_int (told, 0);
  other = run_with ("a cat sings", cache, &told);
  fail_unless (told > 10);
  fail_unless_equals_int (count_cache (), 3);
  fail_unless (is_same (without, kept) && is_same (kept, again));
  fail_if (is_same (kept, other));
  remove_tree (folder);
  g_free (folder);
  g_free (cache);
}
GST_END_TEST;

static Suite *
text_suite (void)
{
  Suite *suite = suite_create ("text");
  TCase *tcase = tcase_create ("text");

  suite_add_tcase (suite, tcase);
  tcase_add_test (tcase, test_cache);
  return suite;
}

GST_CHECK_MAIN (text)
