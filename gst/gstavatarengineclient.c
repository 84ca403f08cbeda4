/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Use of a shared engine by an element: see the header. */
#include "gst/gstavatarengineclient.h"

#include "gst/gstavatarcontext.h"
#include "gst/gstavatarreport.h"

#define DEFAULT_DEVICE "auto"
#define DEFAULT_BUDGET "auto"

void
gst_avatar_engine_install_properties (GObjectClass *klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (klass, GST_AVATAR_PROP_MODEL,
      g_param_spec_string ("model", "Model",
          "Path of the model's folder, in any layout that avatar-inspect knows; unset = the "
          "environment variable AVATAR_MODEL, or else the installed demo model",
          NULL, flags));
  g_object_class_install_property (klass, GST_AVATAR_PROP_DEVICE,
      g_param_spec_string ("device", "Device",
          "Compute device: auto (a GPU if there is one, else the CPU), cpu, cuda (the first GPU), "
          "cuda:N (GPU number N, counted from 0), or several GPUs as one: cuda:0+cuda:1, or cuda:all",
          DEFAULT_DEVICE, flags));
  g_object_class_install_property (klass, GST_AVATAR_PROP_BUDGET,
      g_param_spec_string ("vram-budget", "VRAM budget",
          "Maximum memory to use on the device: a number of MiB, N% of the device's memory, or auto "
          "(the free memory less a reserve; on the CPU no limit). It applies to all elements on a "
          "device together; the lowest value set is in force. Of several GPUs each has the same "
          "budget, or its own: 4096,8192",
          DEFAULT_BUDGET, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING));
  g_object_class_install_property (klass, GST_AVATAR_PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "Statistics of the newest window or tile, with the fields of the element message "
          "avatar-window; memory-now, memory-peak and budget are current values",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
  g_object_class_install_property (klass, GST_AVATAR_PROP_PROCESSING_LATENCY,
      gst_avatar_processing_param_spec ());
}

void
gst_avatar_engine_client_init (GstAvatarEngineClient *client)
{
  client->device = g_strdup (DEFAULT_DEVICE);
  client->budget = g_strdup (DEFAULT_BUDGET);
  gst_avatar_processing_init (&client->processing);
}

void
gst_avatar_engine_client_clear (GstAvatarEngineClient *client, GstElement *element)
{
  gst_avatar_engine_client_close (client, element);
  g_clear_pointer (&client->model, g_free);
  g_clear_pointer (&client->device, g_free);
  g_clear_pointer (&client->budget, g_free);
  g_clear_pointer (&client->context_engine, gst_avatar_engine_unref);
  g_clear_pointer (&client->context_model, g_free);
  g_clear_pointer (&client->context_device, g_free);
  gst_clear_structure (&client->stats);
}

/* Called with the object lock held. */
static gboolean
replace (gchar **text, const gchar *by)
{
  gboolean same = g_strcmp0 (*text, by) == 0;
  gchar *before = *text;

  *text = g_strdup (by);
  g_free (before);
  return !same;
}

/* Called with the object lock held. An invalid budget is rejected if the engine is open; the
 * element then keeps the previous one. */
static void
set_budget (GstAvatarEngineClient *client, const gchar *text, GError **error)
{
  if (client->engine && !gst_avatar_engine_request_budget (client->engine, client, text, error))
    return;
  g_free (client->budget);
  client->budget = g_strdup (text ?: DEFAULT_BUDGET);
}

gboolean
gst_avatar_engine_client_set_property (GstAvatarEngineClient *client, GstElement *element,
    const GValue *value, GParamSpec *pspec)
{
  gboolean ours = TRUE, too_late = FALSE, latency_changed = FALSE;
  GError *error = NULL;

  if (gst_avatar_aliases_set (&client->aliases, element, pspec, value))
    return TRUE;
  GST_OBJECT_LOCK (element);
  switch (pspec->param_id) {
    case GST_AVATAR_PROP_MODEL:
      too_late = replace (&client->model, g_value_get_string (value)) && client->engine;
      break;
    case GST_AVATAR_PROP_DEVICE:
      too_late = replace (&client->device, g_value_get_string (value) ?: DEFAULT_DEVICE)
          && client->engine;
      break;
    case GST_AVATAR_PROP_BUDGET:
      set_budget (client, g_value_get_string (value), &error);
      break;
    case GST_AVATAR_PROP_PROCESSING_LATENCY:
      latency_changed = client->engine && client->processing.fixed != g_value_get_uint64 (value);
      client->processing.fixed = g_value_get_uint64 (value);
      break;
    default:
      ours = FALSE;
      break;
  }
  GST_OBJECT_UNLOCK (element);
  if (too_late)
    gst_avatar_report_too_late (element, pspec->name);
  if (latency_changed)
    gst_element_post_message (element, gst_message_new_latency (GST_OBJECT (element)));
  if (error)
    gst_avatar_report_warning (element, error);
  return ours;
}

/* Called with the object lock held. Returns the newest statistics with the current use of
 * memory, or %NULL if there are none. */
static GstStructure *
stats_now (GstAvatarEngineClient *client)
{
  GstStructure *stats = client->stats ? gst_structure_copy (client->stats) : NULL;

  if (client->engine && !stats)
    stats = gst_structure_new_empty (GST_AVATAR_WINDOW_MESSAGE);
  if (client->engine)
    gst_avatar_report_memory (stats, client->engine->device);
  return stats;
}

gboolean
gst_avatar_engine_client_get_property (GstAvatarEngineClient *client, GstElement *element,
    GValue *value, GParamSpec *pspec)
{
  gboolean ours = TRUE;

  if (gst_avatar_aliases_get (element, pspec, value))
    return TRUE;
  GST_OBJECT_LOCK (element);
  switch (pspec->param_id) {
    case GST_AVATAR_PROP_MODEL:
      g_value_set_string (value, client->model);
      break;
    case GST_AVATAR_PROP_DEVICE:
      g_value_set_string (value, client->device);
      break;
    case GST_AVATAR_PROP_BUDGET:
      g_value_set_string (value, client->budget);
      break;
    case GST_AVATAR_PROP_STATS:
      g_value_take_boxed (value, stats_now (client));
      break;
    case GST_AVATAR_PROP_PROCESSING_LATENCY:
      g_value_set_uint64 (value, client->processing.fixed);
      break;
    default:
      ours = FALSE;
      break;
  }
  GST_OBJECT_UNLOCK (element);
  return ours;
}

void
gst_avatar_engine_client_set_context (GstAvatarEngineClient *client, GstElement *element,
    GstContext *context)
{
  const GstStructure *s;
  GstAvatarEngine *engine = NULL;
  const gchar *model, *device;

  if (!gst_context_has_context_type (context, GST_AVATAR_ENGINE_CONTEXT))
    return;
  s = gst_context_get_structure (context);
  gst_structure_get (s, "engine", GST_TYPE_AVATAR_ENGINE, &engine, NULL);
  model = gst_structure_get_string (s, "model");
  device = gst_structure_get_string (s, "device");
  GST_OBJECT_LOCK (element);
  if (engine) {
    GstAvatarEngine *before = client->context_engine;
    client->context_engine = engine;
    engine = before;
  }
  if (model) {
    g_free (client->context_model);
    client->context_model = g_strdup (model);
  }
  if (device) {
    g_free (client->context_device);
    client->context_device = g_strdup (device);
  }
  GST_OBJECT_UNLOCK (element);
  if (engine)
    gst_avatar_engine_unref (engine);
}

gboolean
gst_avatar_engine_client_query (GstAvatarEngineClient *client, GstElement *element, GstQuery *query)
{
  g_autoptr (GstContext) context = NULL;

  if (!gst_avatar_context_is_query (query))
    return FALSE;
  GST_OBJECT_LOCK (element);
  if (client->engine)
    context
        = gst_avatar_context_new (client->engine, client->context_model, client->context_device);
  GST_OBJECT_UNLOCK (element);
  if (context)
    gst_query_set_context (query, context);
  return context != NULL;
}

/* Opens an engine and shares it. */
static GstAvatarEngine *
open_engine (GstAvatarEngineClient *client, GstElement *element, const gchar *model,
    const gchar *device, GError **error)
{
  GstAvatarEngine *engine = gst_avatar_engine_open (model, device, error);
  g_autoptr (GstContext) context = NULL;

  if (!engine)
    return NULL;
  GST_OBJECT_LOCK (element);
  context = gst_avatar_context_new (engine, client->context_model, client->context_device);
  GST_OBJECT_UNLOCK (element);
  gst_avatar_context_have (element, context);
  return engine;
}

/* Model and device to use: the element's own properties, or else those of the application. */
static void
get_settings (GstAvatarEngineClient *client, GstElement *element, gchar **model, gchar **device)
{
  GST_OBJECT_LOCK (element);
  g_free (*model);
  g_free (*device);
  *model = g_strdup (client->model ?: client->context_model);
  *device = g_strdup (client->context_device && g_str_equal (client->device, DEFAULT_DEVICE)
          ? client->context_device
          : client->device);
  GST_OBJECT_UNLOCK (element);
}

/* Returns the engine of a context, if it has the model and device of the settings. */
static GstAvatarEngine *
take_context_engine (GstAvatarEngineClient *client, GstElement *element, gchar **model,
    gchar **device)
{
  g_autoptr (GstAvatarEngine) shared = NULL;

  get_settings (client, element, model, device);
  GST_OBJECT_LOCK (element);
  if (client->context_engine)
    shared = gst_avatar_engine_ref (client->context_engine);
  GST_OBJECT_UNLOCK (element);
  return shared && gst_avatar_engine_is (shared, *model, *device) ? g_steal_pointer (&shared)
                                                                  : NULL;
}

/* Follows GStreamer's order for contexts: one that was set, downstream, upstream, the
 * application; at last the element opens an engine itself. */
static GstAvatarEngine *
find_engine (GstAvatarEngineClient *client, GstElement *element, GError **error)
{
  g_autofree gchar *model = NULL, *device = NULL;
  GstAvatarEngine *engine = take_context_engine (client, element, &model, &device);

  if (!engine) {
    gst_avatar_context_query (element, GST_PAD_SRC);
    engine = take_context_engine (client, element, &model, &device);
  }
  if (!engine) {
    gst_avatar_context_query (element, GST_PAD_SINK);
    engine = take_context_engine (client, element, &model, &device);
  }
  if (!engine) {
    gst_avatar_context_need (element);
    engine = take_context_engine (client, element, &model, &device);
  }
  return engine ? engine : open_engine (client, element, model, device, error);
}

static gboolean
use_engine (GstAvatarEngineClient *client, GstElement *element, GstAvatarEngine *engine,
    GError **error)
{
  gboolean ok;

  GST_OBJECT_LOCK (element);
  gst_avatar_processing_reset (&client->processing);
  ok = gst_avatar_engine_request_budget (engine, client, client->budget, error);
  if (ok)
    client->engine = engine;
  GST_OBJECT_UNLOCK (element);
  if (!ok)
    gst_avatar_engine_unref (engine);
  return ok;
}

gboolean
gst_avatar_engine_client_open (GstAvatarEngineClient *client, GstElement *element)
{
  g_autofree gchar *text = NULL;
  GstAvatarEngine *engine;
  GError *error = NULL;

  if (client->engine)
    return TRUE;
  gst_avatar_aliases_warn (&client->aliases, element);
  gst_avatar_report_progress (element, GST_PROGRESS_TYPE_START, "load-model", -1, "loading model");
  engine = find_engine (client, element, &error);
  if (!engine || !use_engine (client, element, engine, &error)) {
    gst_avatar_report_error (element, error);
    gst_avatar_report_progress (element, GST_PROGRESS_TYPE_ERROR, "load-model", -1, "no model");
    return FALSE;
  }
  text = g_strdup_printf ("model %s on %s", client->engine->info->name,
      avatar_device_get_description (client->engine->device));
  gst_avatar_report_progress (element, GST_PROGRESS_TYPE_COMPLETE, "load-model", 100, text);
  return TRUE;
}

void
gst_avatar_engine_client_close (GstAvatarEngineClient *client, GstElement *element)
{
  GstAvatarEngine *engine;

  GST_OBJECT_LOCK (element);
  engine = g_steal_pointer (&client->engine);
  if (engine)
    gst_avatar_engine_withdraw_budget (client);
  GST_OBJECT_UNLOCK (element);
  if (engine)
    gst_avatar_engine_unref (engine);
}

void
gst_avatar_engine_client_set_stats (GstAvatarEngineClient *client, GstElement *element,
    GstStructure *stats)
{
  GST_OBJECT_LOCK (element);
  gst_clear_structure (&client->stats);
  client->stats = stats;
  GST_OBJECT_UNLOCK (element);
}
