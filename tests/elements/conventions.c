/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GStreamer's conventions: deprecated names of properties and messages still work, presets can be
 * loaded, output buffers come from pools, and the plugin describes itself. */
#include "support.h"

#include <string.h>

static const gchar *const factories[] = { "avataraudioenc", "avatardenoise", "avatarvaedecode" };

typedef struct
{
  const gchar *factory, *deprecated, *name, *value, *text;
} Alias;

static const Alias aliases[] = {
  { "avataraudioenc", "window", "window-frames", "25", "25" },
  { "avataraudioenc", "parity", "upstream-rounding", "true", "true" },
  { "avatardenoise", "chunk", "window-latents", "9", "9" },
  { "avatardenoise", "noise", "noise-location", "/nowhere/noise.pt", "/nowhere/noise.pt" },
  { "avatardenoise", "text-cache", "prompt-cache-location", "none", "none" },
  { "avatardenoise", "cache", "step-cache", "adaptive", "adaptive" },
  { "avatardenoise", "cache", "step-cache", "easy", "easy" },
  { "avatardenoise", "cache", "step-cache", "forecast", "forecast" },
  { "avatardenoise", "parity", "upstream-rounding", "true", "true" },
  { "avatarvaedecode", "parity", "upstream-rounding", "true", "true" },
};

static gchar *
get_text (GstElement *element, const gchar *name)
{
  g_auto (GValue) value = G_VALUE_INIT;

  g_object_get_property (G_OBJECT (element), name, &value);
  return gst_value_serialize (&value);
}

static void
expect_value (GstElement *element, const gchar *name, const gchar *expected)
{
  g_autofree gchar *text = get_text (element, name);

  fail_unless (strstr (text, expected), "%s is %s, expected %s", name, text, expected);
}

/* A deprecated name sets and gets the same value as the new name, in both directions. */
GST_START_TEST (test_aliases)
{
  for (guint i = 0; i < G_N_ELEMENTS (aliases); i++) {
    const Alias *alias = &aliases[i];
    GstElement *old = gst_element_factory_make (alias->factory, NULL);
    GstElement *new = gst_element_factory_make (alias->factory, NULL);
    GObjectClass *klass = G_OBJECT_GET_CLASS (old);
    GParamSpec *deprecated = g_object_class_find_property (klass, alias->deprecated);

    fail_unless (deprecated->flags & G_PARAM_DEPRECATED);
    fail_unless (
        deprecated->value_type == g_object_class_find_property (klass, alias->name)->value_type);
    gst_util_set_object_arg (G_OBJECT (old), alias->deprecated, alias->value);
    gst_util_set_object_arg (G_OBJECT (new), alias->name, alias->value);
    expect_value (old, alias->name, alias->text);
    expect_value (old, alias->deprecated, alias->text);
    expect_value (new, alias->deprecated, alias->text);
    gst_object_unref (old);
    gst_object_unref (new);
  }
}
GST_END_TEST;

typedef struct
{
  guint n_warnings;
  gchar *text;
  guint n_windows, n_chunks;
} Messages;

static void
count_messages (GstElement *pipeline, GstMessage *message, gpointer data)
{
  Messages *messages = data;
  g_autoptr (GError) error = NULL;

  if (!message)
    return;
  if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING) {
    gst_message_parse_warning (message, &error, NULL);
    if (strstr (error->message, "deprecated")) {
      messages->n_warnings++;
      g_free (messages->text);
      messages->text = g_strdup (error->message);
    }
  }
  messages->n_windows += gst_message_has_name (message, "avatar-window");
  messages->n_chunks += gst_message_has_name (message, "avatar-chunk");
}

static Run *
run_counting (const gchar *launch, Messages *messages)
{
  GstElement *pipeline = pipeline_new (launch, TRUE);
  Run *run = run_play (pipeline, count_messages, messages);

  gst_object_unref (pipeline);
  g_assert_no_error (run->error);
  return run;
}

/* A launch line with deprecated names gives the same latents, and one warning that lists them. */
GST_START_TEST (test_launch)
{
  Messages old_messages = { 0 }, new_messages = { 0 };
  g_autoptr (Run) old = run_counting (
      AUDIO (9) " ! " DENOISE
                " mode=stream chunk=3 overlap=1 cache=upstream text-cache=none ! " SMALL_LATENTS
                " ! fakesink name=sink",
      &old_messages);
  g_autoptr (Run) new
      = run_counting (AUDIO (9) " ! " DENOISE
                                " mode=stream window-latents=3 overlap=1 step-cache=upstream "
                                "prompt-cache-location=none ! " SMALL_LATENTS
                                " ! fakesink name=sink",
          &new_messages);

  fail_unless (old->n_buffers > 0);
  fail_unless_equals_int (old->bytes->len, new->bytes->len);
  fail_unless (memcmp (old->bytes->data, new->bytes->data, old->bytes->len) == 0);
  fail_unless_equals_int (old_messages.n_warnings, 1);
  fail_unless_equals_int (new_messages.n_warnings, 0);
  fail_unless (strstr (old_messages.text, "chunk (use window-latents)"), "%s", old_messages.text);
  fail_unless (strstr (old_messages.text, "cache (use step-cache)"), "%s", old_messages.text);
  fail_unless (!strstr (old_messages.text, "noise"), "%s", old_messages.text);
  g_free (old_messages.text);
}
GST_END_TEST;

/* Each message avatar-window is followed by its copy under the deprecated name. */
GST_START_TEST (test_messages)
{
  Messages messages = { 0 };
  g_autoptr (Run) run
      = run_counting (AUDIO (5) " ! " DENOISE " ! avatarvaedecode ! fakesink name=sink", &messages);

  fail_unless_equals_int (messages.n_windows, 3);
  fail_unless_equals_int (messages.n_chunks, 3);
}
GST_END_TEST;

/* A name that is set while the element runs causes the warning at once, and only once. */
GST_START_TEST (test_warning_once)
{
  GstElement *encoder = gst_element_factory_make ("avataraudioenc", NULL);
  g_autoptr (GstBus) bus = gst_bus_new ();
  guint n = 0;

  gst_element_set_bus (encoder, bus);
  fail_unless (gst_element_set_state (encoder, GST_STATE_PAUSED) != GST_STATE_CHANGE_FAILURE);
  fail_unless (!gst_bus_have_pending (bus) || !gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING));
  for (guint i = 0; i < 3; i++)
    g_object_set (encoder, "window", 25, NULL);
  for (GstMessage *message; (message = gst_bus_pop_filtered (bus, GST_MESSAGE_WARNING));) {
    g_autoptr (GError) error = NULL;

    gst_message_parse_warning (message, &error, NULL);
    n += strstr (error->message, "window (use window-frames)") != NULL;
    gst_message_unref (message);
  }
  fail_unless_equals_int (n, 1);
  gst_element_set_state (encoder, GST_STATE_NULL);
  gst_element_set_bus (encoder, NULL);
  gst_object_unref (encoder);
}
GST_END_TEST;

/* Every element has the six presets, each of which sets all properties that another one sets. */
GST_START_TEST (test_presets)
{
  static const gchar *const names[]
      = { "Quality", "Balanced", "Fast", "Low memory", "Live", "Realtime" };

  for (guint i = 0; i < G_N_ELEMENTS (factories); i++) {
    GstElement *element = gst_element_factory_make (factories[i], NULL);
    g_auto (GStrv) found = gst_preset_get_preset_names (GST_PRESET (element));

    fail_unless (found != NULL, "%s has no presets", factories[i]);
    fail_unless_equals_int (g_strv_length (found), G_N_ELEMENTS (names));
    for (guint j = 0; j < G_N_ELEMENTS (names); j++)
      fail_unless (gst_preset_load_preset (GST_PRESET (element), names[j]), "%s: %s", factories[i],
          names[j]);
    fail_unless (gst_preset_load_preset (GST_PRESET (element), "Realtime"));
    if (i == 0)
      expect_value (element, "lookahead", "1");
    else if (i == 1)
      expect_value (element, "overlap", "1");
    else
      expect_value (element, "context-latents", "1");
    fail_unless (gst_preset_load_preset (GST_PRESET (element), "Live"));
    if (i == 0)
      expect_value (element, "align-windows", "true");
    else if (i == 1)
      expect_value (element, "window-latents", "7");
    else
      expect_value (element, "tiling", "stream");
    fail_unless (gst_preset_load_preset (GST_PRESET (element), "Low memory"));
    if (i > 0)
      expect_value (element, "vram-budget", "4096");
    fail_unless (gst_preset_load_preset (GST_PRESET (element), "Balanced"));
    if (i == 1)
      expect_value (element, "step-cache", "upstream");
    fail_unless (gst_preset_load_preset (GST_PRESET (element), "Quality"));
    expect_value (element,
        i == 0       ? "window-frames"
            : i == 1 ? "window-latents"
                     : "tile-frames",
        "0");
    expect_value (element, "vram-budget", "auto");
    gst_object_unref (element);
  }
}
GST_END_TEST;

/* A pipeline description selects a preset. Properties that are not in the preset stay. */
GST_START_TEST (test_preset_launch)
{
  g_autoptr (GstElement) element = gst_parse_launch ("avatardenoise @preset=Live steps=3", NULL);

  fail_unless (element != NULL);
  expect_value (element, "mode", "stream");
  expect_value (element, "window-latents", "7");
  expect_value (element, "steps", "3");
}
GST_END_TEST;

/* Each key of a preset file is a property of the element, and not a deprecated one. */
GST_START_TEST (test_preset_files)
{
  for (guint i = 0; i < G_N_ELEMENTS (factories); i++) {
    GstElement *element = gst_element_factory_make (factories[i], NULL);
    g_autofree gchar *name = g_strdup_printf ("%s.prs", G_OBJECT_TYPE_NAME (element));
    g_autofree gchar *path = g_build_filename (g_getenv ("GST_PRESET_PATH"), name, NULL);
    g_autoptr (GKeyFile) file = g_key_file_new ();
    g_auto (GStrv) groups = NULL;

    fail_unless (g_key_file_load_from_file (file, path, G_KEY_FILE_NONE, NULL), "%s", path);
    groups = g_key_file_get_groups (file, NULL);
    for (guint j = 0; groups[j]; j++) {
      g_auto (GStrv) keys = g_key_file_get_keys (file, groups[j], NULL, NULL);

      for (guint k = 0; keys[k] && groups[j][0] != '_'; k++) {
        GParamSpec *pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (element), keys[k]);

        fail_unless (g_str_has_prefix (keys[k], "_meta/")
                || (pspec && !(pspec->flags & G_PARAM_DEPRECATED)),
            "%s: [%s] %s", path, groups[j], keys[k]);
      }
    }
    gst_object_unref (element);
  }
}
GST_END_TEST;

/* A preset that is saved has current names only. */
GST_START_TEST (test_saved_names)
{
  for (guint i = 0; i < G_N_ELEMENTS (factories); i++) {
    GstElement *element = gst_element_factory_make (factories[i], NULL);
    g_auto (GStrv) names = gst_preset_get_property_names (GST_PRESET (element));

    fail_unless (g_strv_contains ((const gchar *const *) names, "upstream-rounding"));
    fail_if (g_strv_contains ((const gchar *const *) names, "parity"));
    fail_if (g_strv_contains ((const gchar *const *) names, "stats"));
    fail_if (g_strv_contains ((const gchar *const *) names, "parent"));
    gst_object_unref (element);
  }
}
GST_END_TEST;

static GstPadProbeReturn
check_pool (GstPad *pad, GstPadProbeInfo *info, gpointer n)
{
  if (info->type & GST_PAD_PROBE_TYPE_BUFFER) {
    fail_unless (GST_PAD_PROBE_INFO_BUFFER (info)->pool != NULL);
    g_atomic_int_inc ((gint *) n);
  } else {
    GstBufferList *list = GST_PAD_PROBE_INFO_BUFFER_LIST (info);

    for (guint i = 0; i < gst_buffer_list_length (list); i++)
      fail_unless (gst_buffer_list_get (list, i)->pool != NULL);
    g_atomic_int_add ((gint *) n, (gint) gst_buffer_list_length (list));
  }
  return GST_PAD_PROBE_OK;
}

/* All three elements take their output buffers from a pool. */
GST_START_TEST (test_pools)
{
  GstElement *pipeline = pipeline_new (AUDIO (9) " name=enc ! " DENOISE
                                                 " ! avatarvaedecode name=dec ! fakesink name=sink",
      TRUE);
  static const gchar *const names[] = { "enc", "denoise", "dec" };
  static const gint expected[] = { 9, 3, 9 };
  gint n[3] = { 0 };

  for (guint i = 0; i < 3; i++) {
    g_autoptr (GstElement) element = gst_bin_get_by_name (GST_BIN (pipeline), names[i]);
    g_autoptr (GstPad) pad = gst_element_get_static_pad (element, "src");

    gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER | GST_PAD_PROBE_TYPE_BUFFER_LIST, check_pool,
        &n[i], NULL);
  }
  {
    g_autoptr (Run) run = run_play (pipeline, NULL, NULL);

    g_assert_no_error (run->error);
  }
  for (guint i = 0; i < 3; i++)
    fail_unless_equals_int (n[i], expected[i]);
  gst_object_unref (pipeline);
}
GST_END_TEST;

GST_START_TEST (test_metadata)
{
  static const gchar *const klasses[]
      = { "Filter/Converter/Audio", "Filter/Converter/Audio/Video", "Codec/Decoder/Video" };
  g_autoptr (GstPlugin) plugin = gst_registry_find_plugin (gst_registry_get (), "avatar");

  fail_unless_equals_string (gst_plugin_get_package (plugin), "gst-avatar");
  fail_unless_equals_string (gst_plugin_get_source (plugin), "gst-avatar");
  fail_if (strstr (gst_plugin_get_origin (plugin), "gstreamer.freedesktop.org"));
  for (guint i = 0; i < G_N_ELEMENTS (factories); i++) {
    g_autoptr (GstElementFactory) factory = gst_element_factory_find (factories[i]);

    fail_unless_equals_string (gst_element_factory_get_metadata (factory,
                                   GST_ELEMENT_METADATA_KLASS),
        klasses[i]);
  }
}
GST_END_TEST;

static Suite *
conventions_suite (void)
{
  Suite *suite = suite_create ("conventions");
  TCase *tc = tcase_create ("general");

  suite_add_tcase (suite, tc);
  tcase_add_test (tc, test_aliases);
  tcase_add_test (tc, test_launch);
  tcase_add_test (tc, test_messages);
  tcase_add_test (tc, test_warning_once);
  tcase_add_test (tc, test_presets);
  tcase_add_test (tc, test_preset_launch);
  tcase_add_test (tc, test_preset_files);
  tcase_add_test (tc, test_saved_names);
  tcase_add_test (tc, test_pools);
  tcase_add_test (tc, test_metadata);
  return suite;
}

GST_CHECK_MAIN (conventions);
