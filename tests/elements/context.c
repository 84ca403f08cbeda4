/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One engine for the elements of a pipeline and for the application, by GstContext. */
#include "gst/gstavatarengine.h"

#include "support.h"

#define TYPE "gst.avatar.Engine"

static GstElement *
pipeline_of_three (GstElement *elements[3])
{
  static const gchar *const names[] = { "avataraudioenc", "avatardenoise", "avatarvaedecode" };
  GstElement *pipeline = gst_pipeline_new (NULL);
  g_autofree gchar *portrait = sample_path ("portrait.png");

  for (guint i = 0; i < 3; i++) {
    elements[i] = gst_element_factory_make (names[i], NULL);
    gst_bin_add (GST_BIN (pipeline), elements[i]);
  }
  fail_unless (gst_element_link_many (elements[0], elements[1], elements[2], NULL));
  g_object_set (elements[1], "reference", portrait, NULL);
  return pipeline;
}

/* The engine of the element's context; no reference. */
static gpointer
engine_of (GstElement *element)
{
  g_autoptr (GstContext) context = gst_element_get_context (element, TYPE);
  const GValue *value;

  if (!context)
    return NULL;
  value = gst_structure_get_value (gst_context_get_structure (context), "engine");
  return value ? g_value_get_boxed (value) : NULL;
}

static guint
count (GstElement *pipeline, GstMessageType type)
{
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  guint n = 0;
  GstMessage *message;

  while ((message = gst_bus_pop_filtered (bus, type))) {
    n++;
    gst_message_unref (message);
  }
  return n;
}

/* One element opens, tells, and the others have it from their neighbour. */
GST_START_TEST (test_neighbours)
{
  GstElement *elements[3], *pipeline = pipeline_of_three (elements);

  for (guint i = 0; i < 3; i++)
    g_object_set (elements[i], "device", "cpu", NULL);
  fail_unless (gst_element_set_state (pipeline, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (engine_of (elements[0]) != NULL);
  fail_unless (engine_of (elements[0]) == engine_of (elements[1]));
  fail_unless (engine_of (elements[0]) == engine_of (elements[2]));
  fail_unless_equals_int (count (pipeline, GST_MESSAGE_HAVE_CONTEXT), 1);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  /* persistent: the next run finds it */
  fail_unless (engine_of (elements[0]) != NULL);
  fail_unless (gst_element_set_state (pipeline, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless_equals_int (count (pipeline, GST_MESSAGE_HAVE_CONTEXT), 0);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* A shared engine with other settings is not used. */
GST_START_TEST (test_other_device)
{
  GstElement *elements[3], *pipeline = pipeline_of_three (elements);

  g_object_set (elements[0], "device", "cpu", NULL);
  g_object_set (elements[1], "device", "sim:512", NULL);
  g_object_set (elements[2], "device", "cpu", NULL);
  fail_unless (gst_element_set_state (pipeline, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (engine_of (elements[0]) && engine_of (elements[1]));
  fail_unless (engine_of (elements[0]) != engine_of (elements[1]));
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

/* "auto" is the device that it turns out to be. */
GST_START_TEST (test_automatic_device)
{
  GstElement *elements[3], *pipeline = pipeline_of_three (elements);
  GstAvatarEngine *engine;

  fail_unless (gst_element_set_state (elements[1], GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  engine = engine_of (elements[1]);
  fail_unless (engine != NULL);
  g_object_set (elements[0], "device", avatar_device_get_name (engine->device), NULL);
  fail_unless (gst_element_set_state (elements[0], GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (engine_of (elements[0]) == engine);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static GstBusSyncReply
answer_need (GstBus *bus, GstMessage *message, gpointer data)
{
  const gchar *type = NULL;
  g_autoptr (GstContext) context = NULL;
  guint *asked = data;

  if (GST_MESSAGE_TYPE (message) != GST_MESSAGE_NEED_CONTEXT
      || !gst_message_parse_context_type (message, &type) || !g_str_equal (type, TYPE))
    return GST_BUS_PASS;
  context = gst_context_new (TYPE, TRUE);
  gst_structure_set (gst_context_writable_structure (context), "device", G_TYPE_STRING, "sim:300",
      NULL);
  gst_element_set_context (GST_ELEMENT (GST_MESSAGE_SRC (message)), context);
  (*asked)++;
  return GST_BUS_PASS;
}

static guint64
budget_of (GstElement *element)
{
  GstStructure *stats = NULL;
  guint64 budget = 0;

  g_object_get (element, "stats", &stats, NULL);
  fail_unless (stats && gst_structure_get_uint64 (stats, "budget", &budget));
  gst_structure_free (stats);
  return budget;
}

/* The application says which device, for elements that say nothing themselves. */
GST_START_TEST (test_application)
{
  GstElement *elements[3], *pipeline = pipeline_of_three (elements), *other[3], *another;
  g_autoptr (GstBus) bus = gst_element_get_bus (pipeline);
  g_autoptr (GstContext) context = NULL;
  guint asked = 0;

  gst_bus_set_sync_handler (bus, answer_need, &asked, NULL);
  g_object_set (elements[0], "vram-budget", "10%", NULL);
  fail_unless (gst_element_set_state (pipeline, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (asked > 0);
  fail_unless_equals_uint64 (budget_of (elements[0]), 30 << 20);
  /* and gives what one pipeline has opened to another */
  context = gst_element_get_context (elements[0], TYPE);
  another = pipeline_of_three (other);
  for (guint i = 0; i < 3; i++)
    g_object_set (other[i], "device", "sim:300", NULL);
  gst_element_set_context (another, context);
  fail_unless (gst_element_set_state (another, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (engine_of (other[1]) == engine_of (elements[0]));
  fail_unless_equals_int (count (another, GST_MESSAGE_NEED_CONTEXT | GST_MESSAGE_HAVE_CONTEXT), 0);
  gst_element_set_state (another, GST_STATE_NULL);
  gst_object_unref (another);
  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_bus_set_sync_handler (bus, NULL, NULL, NULL);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static void
on_log (GstDebugCategory *category, GstDebugLevel level, const gchar *file, const gchar *function,
    gint line, GObject *object, GstDebugMessage *message, gpointer data)
{
  if (level > GST_LEVEL_WARNING)
    return;
  g_atomic_int_inc ((gint *) data);
  g_test_message ("%s: %s", function, gst_debug_message_get (message));
}

/* Prints messages and properties as gst-launch does with -m and -v. */
static void
print_message (GstElement *pipeline, GstMessage *message, gpointer data)
{
  g_autofree gchar *text = NULL;
  gint *told = data;

  if (!message || !gst_message_get_structure (message))
    return;
  text = gst_structure_to_string (gst_message_get_structure (message));
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_HAVE_CONTEXT) {
    fail_unless (strstr (text, "engine") && !strstr (text, "NULL"), "%s", text);
    g_atomic_int_inc (told);
  }
}

/* A run has nothing to warn of, and what it posts can be printed. */
GST_START_TEST (test_quiet)
{
  GstElement *pipeline = pipeline_new (AUDIO (5) " ! " DENOISE " ! avatarvaedecode ! " SMALL_VIDEO
                                                 " ! fakesink name=sink",
      TRUE);
  g_autoptr (Run) run = NULL;
  gint warnings = 0, told = 0;

  gst_debug_add_log_function (on_log, &warnings, NULL);
  gst_debug_set_default_threshold (GST_LEVEL_WARNING);
  run = run_play (pipeline, print_message, &told);
  gst_debug_set_default_threshold (GST_LEVEL_NONE);
  gst_debug_remove_log_function (on_log);
  g_assert_no_error (run->error);
  fail_unless_equals_int (g_atomic_int_get (&told), 1);
  fail_unless_equals_int (g_atomic_int_get (&warnings), 0);
  gst_object_unref (pipeline);
}
GST_END_TEST;

static Suite *
context_suite (void)
{
  Suite *suite = suite_create ("context");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_neighbours);
  tcase_add_test (tc, test_other_device);
  tcase_add_test (tc, test_automatic_device);
  tcase_add_test (tc, test_application);
  tcase_add_test (tc, test_quiet);
  return suite;
}

GST_CHECK_MAIN (context);
