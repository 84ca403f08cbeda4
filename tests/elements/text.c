/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prompts of a model with text encoders: they change the video, their encoding is reported and
 * stored at the location of the property prompt-cache-location, and the truncation of long ones is
 * reported. */
#include "support.h"

#include <glib/gstdio.h>
#include <string.h>

/* Messages of pipelines so far: of progress in encoding, and those with details on prompts. */
typedef struct
{
  gint told;
  GMutex lock;
  GString *cuts; /* "warning prompt 12 3, ..." */
} Heard;

#define LATENTS \
  "window-latents=2 overlap=1 mode=stream guidance-scale=3 ! " SMALL_LATENTS " ! fakesink name=sink"

static gchar *folder, *cache;

static void
make_model (void)
{
  const gchar *config = g_getenv ("AVATAR_SMALL_CONFIG");
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

static void
remove_model (void)
{
  remove_tree (folder);
  g_clear_pointer (&folder, g_free);
  g_clear_pointer (&cache, g_free);
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

static void
on_details (GstMessage *message, Heard *heard)
{
  const GstStructure *details = NULL;
  guint dropped = 0, clip = 0;

  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING)
    gst_message_parse_warning_details (message, &details);
  else
    gst_message_parse_info_details (message, &details);
  if (!details || !gst_structure_has_name (details, "avatar-prompt"))
    return;
  fail_unless (gst_structure_get (details, "dropped", G_TYPE_UINT, &dropped, "dropped-clip",
      G_TYPE_UINT, &clip, NULL));
  g_mutex_lock (&heard->lock);
  g_string_append_printf (heard->cuts, "%s %s %u %u, ", GST_MESSAGE_TYPE_NAME (message),
      gst_structure_get_string (details, "property"), dropped, clip);
  g_mutex_unlock (&heard->lock);
}

static void
on_message (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Heard *heard = data;
  GstProgressType type;
  g_autofree gchar *code = NULL;

  if (message
      && (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING
          || GST_MESSAGE_TYPE (message) == GST_MESSAGE_INFO))
    on_details (message, heard);
  if (!message || GST_MESSAGE_TYPE (message) != GST_MESSAGE_PROGRESS)
    return;
  gst_message_parse_progress (message, &type, &code, NULL);
  if (strcmp (code, "text") == 0)
    g_atomic_int_inc (&heard->told);
}

/* @cuts: (out) (nullable): messages about truncated prompts */
static Run *
run_exact (const gchar *prompt, const gchar *where, gboolean exact, gint *told, gchar **cuts)
{
  g_autofree gchar *launch
      = g_strdup_printf (AUDIO (3) " model=%s ! " DENOISE " model=%s " LATENTS, folder, folder);
  GstElement *pipeline = pipeline_new (launch, TRUE);
  g_autoptr (GstElement) denoise = gst_bin_get_by_name (GST_BIN (pipeline), "denoise");
  g_autofree gchar *found = NULL;
  Heard heard = { .cuts = g_string_new (NULL) };
  gboolean is_exact = !exact;
  Run *run;

  g_object_set (denoise, "exact-rope", exact, "prompt", prompt, "negative-prompt", "bad",
      "prompt-cache-location", where, NULL);
  g_object_get (denoise, "prompt-cache-location", &found, NULL);
  fail_unless_equals_string (found, where);
  g_object_get (denoise, "exact-rope", &is_exact, NULL);
  fail_unless (is_exact == exact);
  g_mutex_init (&heard.lock);
  run = run_play (pipeline, on_message, &heard);
  g_mutex_clear (&heard.lock);
  g_assert_no_error (run->error);
  fail_unless (run->bytes->len > 0);
  *told = heard.told;
  if (cuts)
    *cuts = g_string_free (heard.cuts, FALSE);
  else
    g_string_free (heard.cuts, TRUE);
  return run;
}

static Run *
run_with (const gchar *prompt, const gchar *where, gint *told)
{
  return run_exact (prompt, where, FALSE, told, NULL);
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
  remove_model ();
}
GST_END_TEST;

/* A message reports the numbers of a truncated prompt, and none is posted for a complete one.
 * The random tokenizer of LLaVA has this word as a token, that of CLIP spells it. */
GST_START_TEST (test_too_long)
{
  static const struct
  {
    guint words;
    const gchar *expected; /* beginning */
  } cases[] = { { 1, "" }, { 20, "info prompt 0 " }, { 200, "warning prompt " } };
  gint told;

  make_model ();
  for (guint i = 0; i < G_N_ELEMENTS (cases); i++) {
    g_autoptr (GString) prompt = g_string_new (NULL);
    g_autofree gchar *cuts = NULL;
    g_autoptr (Run) run = NULL;

    for (guint j = 0; j < cases[i].words; j++)
      g_string_append (prompt, " video");
    run = run_exact (prompt->str, "none", FALSE, &told, &cuts);
    GST_INFO ("%u words: %s", cases[i].words, cuts);
    fail_unless (i ? g_str_has_prefix (cuts, cases[i].expected) : !*cuts, "%s", cuts);
    fail_if (strstr (cuts, "negative"));
    fail_unless (i == 0 || strchr (cuts, ',') == cuts + strlen (cuts) - 2, "%s", cuts);
  }
  remove_model ();
}
GST_END_TEST;

GST_START_TEST (test_exact_rope)
{
  g_autoptr (Run) rounded = NULL, exact = NULL;
  gint told;

  make_model ();
  rounded = run_with ("a man talks", "none", &told);
  exact = run_exact ("a man talks", "none", TRUE, &told, NULL);
  fail_if (is_same (rounded, exact));
  remove_model ();
}
GST_END_TEST;

static Suite *
text_suite (void)
{
  Suite *suite = suite_create ("text");
  TCase *tcase = tcase_create ("text");

  suite_add_tcase (suite, tcase);
  tcase_add_test (tcase, test_cache);
  tcase_add_test (tcase, test_too_long);
  tcase_add_test (tcase, test_exact_rope);
  return suite;
}

GST_CHECK_MAIN (text)
