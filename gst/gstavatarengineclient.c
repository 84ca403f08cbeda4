/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The element's side of the shared engine: see the header. */
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
          "Folder of the model, as released or a plain one; unset = environment variable "
          "AVATAR_MODEL, else the installed demo model",
          NULL, flags));
  g_object_class_install_property (klass, GST_AVATAR_PROP_DEVICE,
      g_param_spec_string ("device", "Device",
          "Device that computes: auto (the best there is), cpu, cuda (the first GPU) or cuda:N (the "
          "N-th GPU, from 0)",
          DEFAULT_DEVICE, flags));
  g_object_class_install_property (klass, GST_AVATAR_PROP_BUDGET,
      g_param_spec_string ("vram-budget", "VRAM budget",
          "Ceiling for the memory taken of the device: MiB as a number, N% of what the device has, "
          "or auto (what is free there less a reserve; on the CPU no ceiling). Elements on one "
          "device share it: the lowest value holds, auto yields. May be changed while playing",
          DEFAULT_BUDGET, G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_PLAYING));
  g_object_class_install_property (klass, GST_AVATAR_PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "Newest avatar-chunk statistics: stage, index, frames, timestamp, duration and "
          "compute-time (in ns), speed (media time / compute time), computed-on (device), "
          "bad-samples; of this moment: memory-now, memory-peak and budget of the device (in "
          "bytes, budget 0 = none); of weights on a GPU: resident-units, streamed-units, "
          "given-up-units, taken-back-units, uploaded-bytes",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

void
gst_avatar_engine_user_init (GstAvatarEngineUser *user)
{
  user->device = g_strdup (DEFAULT_DEVICE);
  user->budget = g_strdup (DEFAULT_BUDGET);
}

void
gst_avatar_engine_user_clear (GstAvatarEngineUser *user, GstElement *element)
{
  gst_avatar_engine_user_close (user, element);
  g_clear_pointer (&user->model, g_free);
  g_clear_pointer (&user->device, g_free);
  g_clear_pointer (&user->budget, g_free);
  g_clear_pointer (&user->offered, gst_avatar_engine_unref);
  g_clear_pointer (&user->offered_model, g_free);
  g_clear_pointer (&user->offered_device, g_free);
  gst_clear_structure (&user->stats);
}

/* Locked. */
static gboolean
replace (gchar **text, const gchar *by)
{
  gboolean same = g_strcmp0 (*text, by) == 0;
  gchar *before = *text;

  *text = g_strdup (by);
  g_free (before);
  return !same;
}

/* Locked. While the engine is open a budget that cannot be holds nothing up: it is not taken. */
static void
set_budget (GstAvatarEngineUser *user, const gchar *text, GError **error)
{
  if (user->engine && !gst_avatar_engine_claim_budget (user->engine, user, text, error))
    return;
  g_free (user->budget);
  user->budget = g_strdup (text ?: DEFAULT_BUDGET);
}

gboolean
gst_avatar_engine_user_set_property (GstAvatarEngineUser *user, GstElement *element, guint id,
    const GValue *value)
{
  gboolean ours = TRUE, late = FALSE;
  GError *error = NULL;

  GST_OBJECT_LOCK (element);
  switch (id) {
    case GST_AVATAR_PROP_MODEL:
      late = replace (&user->model, g_value_get_string (value)) && user->engine;
      break;
    case GST_AVATAR_PROP_DEVICE:
      late = replace (&user->device, g_value_get_string (value) ?: DEFAULT_DEVICE) && user->engine;
      break;
    case GST_AVATAR_PROP_BUDGET:
      set_budget (user, g_value_get_string (value), &error);
      break;
    default:
      ours = FALSE;
      break;
  }
  GST_OBJECT_UNLOCK (element);
  if (late)
    gst_avatar_report_late (element, id == GST_AVATAR_PROP_MODEL ? "model" : "device");
  if (error)
    gst_avatar_report_warning (element, error);
  return ours;
}

/* Locked: the newest statistics, and the memory as it is now; %NULL: there are none. */
static GstStructure *
stats_now (GstAvatarEngineUser *user)
{
  GstStructure *stats = user->stats ? gst_structure_copy (user->stats) : NULL;

  if (user->engine && !stats)
    stats = gst_structure_new_empty ("avatar-chunk");
  if (user->engine)
    gst_avatar_report_memory (stats, user->engine->device);
  return stats;
}

gboolean
gst_avatar_engine_user_get_property (GstAvatarEngineUser *user, GstElement *element, guint id,
    GValue *value)
{
  gboolean ours = TRUE;

  GST_OBJECT_LOCK (element);
  switch (id) {
    case GST_AVATAR_PROP_MODEL:
      g_value_set_string (value, user->model);
      break;
    case GST_AVATAR_PROP_DEVICE:
      g_value_set_string (value, user->device);
      break;
    case GST_AVATAR_PROP_BUDGET:
      g_value_set_string (value, user->budget);
      break;
    case GST_AVATAR_PROP_STATS:
      g_value_take_boxed (value, stats_now (user));
      break;
    default:
      ours = FALSE;
      break;
  }
  GST_OBJECT_UNLOCK (element);
  return ours;
}

void
gst_avatar_engine_user_set_context (GstAvatarEngineUser *user, GstElement *element,
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
    GstAvatarEngine *before = user->offered;
    user->offered = engine;
    engine = before;
  }
  if (model) {
    g_free (user->offered_model);
    user->offered_model = g_strdup (model);
  }
  if (device) {
    g_free (user->offered_device);
    user->offered_device = g_strdup (device);
  }
  GST_OBJECT_UNLOCK (element);
  if (engine)
    gst_avatar_engine_unref (engine);
}

gboolean
gst_avatar_engine_user_query (GstAvatarEngineUser *user, GstElement *element, GstQuery *query)
{
  g_autoptr (GstContext) context = NULL;

  if (!gst_avatar_context_is_query (query))
    return FALSE;
  GST_OBJECT_LOCK (element);
  if (user->engine)
    context = gst_avatar_context_new (user->engine, user->offered_model, user->offered_device);
  GST_OBJECT_UNLOCK (element);
  if (context)
    gst_query_set_context (query, context);
  return context != NULL;
}

/* Opens an engine of our own and tells everybody. */
static GstAvatarEngine *
open_engine (GstAvatarEngineUser *user, GstElement *element, const gchar *model,
    const gchar *device, GError **error)
{
  GstAvatarEngine *engine = gst_avatar_engine_open (model, device, error);
  g_autoptr (GstContext) context = NULL;

  if (!engine)
    return NULL;
  GST_OBJECT_LOCK (element);
  context = gst_avatar_context_new (engine, user->offered_model, user->offered_device);
  GST_OBJECT_UNLOCK (element);
  gst_avatar_context_have (element, context);
  return engine;
}

/* The model and device that the element is to use: its own properties, else the application's. */
static void
get_settings (GstAvatarEngineUser *user, GstElement *element, gchar **model, gchar **device)
{
  GST_OBJECT_LOCK (element);
  g_free (*model);
  g_free (*device);
  *model = g_strdup (user->model ?: user->offered_model);
  *device = g_strdup (user->offered_device && g_str_equal (user->device, DEFAULT_DEVICE)
          ? user->offered_device
          : user->device);
  GST_OBJECT_UNLOCK (element);
}

/* The engine of a context, if it is the one that the settings mean. */
static GstAvatarEngine *
take_offered (GstAvatarEngineUser *user, GstElement *element, gchar **model, gchar **device)
{
  g_autoptr (GstAvatarEngine) offered = NULL;

  get_settings (user, element, model, device);
  GST_OBJECT_LOCK (element);
  if (user->offered)
    offered = gst_avatar_engine_ref (user->offered);
  GST_OBJECT_UNLOCK (element);
  return offered && gst_avatar_engine_is (offered, *model, *device) ? g_steal_pointer (&offered)
                                                                    : NULL;
}

/* As all elements with contexts do: what was given, what the neighbours have, what the application
 * says; then one of our own, of which we tell. */
static GstAvatarEngine *
find_engine (GstAvatarEngineUser *user, GstElement *element, GError **error)
{
  g_autofree gchar *model = NULL, *device = NULL;
  GstAvatarEngine *engine = take_offered (user, element, &model, &device);

  if (!engine) {
    gst_avatar_context_query (element, GST_PAD_SRC);
    engine = take_offered (user, element, &model, &device);
  }
  if (!engine) {
    gst_avatar_context_query (element, GST_PAD_SINK);
    engine = take_offered (user, element, &model, &device);
  }
  if (!engine) {
    gst_avatar_context_need (element);
    engine = take_offered (user, element, &model, &device);
  }
  return engine ? engine : open_engine (user, element, model, device, error);
}

static gboolean
use_engine (GstAvatarEngineUser *user, GstElement *element, GstAvatarEngine *engine, GError **error)
{
  gboolean ok;

  GST_OBJECT_LOCK (element);
  ok = gst_avatar_engine_claim_budget (engine, user, user->budget, error);
  if (ok)
    user->engine = engine;
  GST_OBJECT_UNLOCK (element);
  if (!ok)
    gst_avatar_engine_unref (engine);
  return ok;
}

gboolean
gst_avatar_engine_user_open (GstAvatarEngineUser *user, GstElement *element)
{
  g_autofree gchar *text = NULL;
  GstAvatarEngine *engine;
  GError *error = NULL;

  if (user->engine)
    return TRUE;
  gst_avatar_report_progress (element, GST_PROGRESS_TYPE_START, "load-model", -1, "loading model");
  engine = find_engine (user, element, &error);
  if (!engine || !use_engine (user, element, engine, &error)) {
    gst_avatar_report_error (element, error);
    gst_avatar_report_progress (element, GST_PROGRESS_TYPE_ERROR, "load-model", -1, "no model");
    return FALSE;
  }
  text = g_strdup_printf ("model %s on %s", user->engine->info->name,
      avatar_device_get_description (user->engine->device));
  gst_avatar_report_progress (element, GST_PROGRESS_TYPE_COMPLETE, "load-model", 100, text);
  return TRUE;
}

void
gst_avatar_engine_user_close (GstAvatarEngineUser *user, GstElement *element)
{
  GstAvatarEngine *engine;

  GST_OBJECT_LOCK (element);
  engine = g_steal_pointer (&user->engine);
  if (engine)
    gst_avatar_engine_drop_budget (user);
  GST_OBJECT_UNLOCK (element);
  if (engine)
    gst_avatar_engine_unref (engine);
}

void
gst_avatar_engine_user_set_stats (GstAvatarEngineUser *user, GstElement *element,
    GstStructure *stats)
{
  GST_OBJECT_LOCK (element);
  gst_clear_structure (&user->stats);
  user->stats = stats;
  GST_OBJECT_UNLOCK (element);
}
