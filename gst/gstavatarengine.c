/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One model and one device for all elements of the process that name the same: weights are mapped
 * once, and the device's ledger counts all stages together. */
#include "gst/gstavatarengine.h"

#include "gst/gstavatarreport.h"

#define DEFAULT_DEVICE "auto"

typedef struct
{
  GstAvatarEngine engine; /* first: users hold a pointer to it */
  gchar *key;
  guint users;
} Shared;

G_LOCK_DEFINE_STATIC (engines);
static GHashTable *engines; /* key -> Shared, while in use */

static Shared *
shared_open (const gchar *path, const gchar *device, gchar *key, GError **error)
{
  Shared *shared = g_new0 (Shared, 1);

  shared->engine.model = avatar_model_open (path, error);
  if (shared->engine.model)
    shared->engine.device = avatar_device_open (device, error);
  if (!shared->engine.device) {
    g_clear_pointer (&shared->engine.model, avatar_model_unref);
    g_free (shared);
    return NULL;
  }
  shared->engine.info = avatar_model_get_info (shared->engine.model);
  shared->key = g_strdup (key);
  return shared;
}

static GstAvatarEngine *
engine_acquire (const gchar *model, const gchar *device, GError **error)
{
  g_autofree gchar *path = model ? g_strdup (model) : avatar_model_default_path ();
  g_autofree gchar *key = g_strdup_printf ("%s\n%s", device, path ? path : "");
  Shared *shared;

  G_LOCK (engines);
  if (!engines)
    engines = g_hash_table_new (g_str_hash, g_str_equal);
  shared = g_hash_table_lookup (engines, key);
  if (!shared) {
    shared = shared_open (path, device, key, error);
    if (shared)
      g_hash_table_insert (engines, shared->key, shared);
  }
  if (shared)
    shared->users++;
  G_UNLOCK (engines);
  return shared ? &shared->engine : NULL;
}

static void
engine_release (GstAvatarEngine *engine)
{
  Shared *shared = (Shared *) engine;

  G_LOCK (engines);
  if (--shared->users == 0) {
    g_hash_table_remove (engines, shared->key);
    avatar_model_unref (engine->model);
    avatar_device_unref (engine->device);
    g_free (shared->key);
    g_free (shared);
  }
  G_UNLOCK (engines);
}

void
gst_avatar_engine_install_properties (GObjectClass *klass)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | GST_PARAM_MUTABLE_READY;

  g_object_class_install_property (klass, GST_AVATAR_PROP_MODEL,
      g_param_spec_string ("model", "Model",
          "Folder of the model (config.json and *.safetensors); unset = environment variable "
          "AVATAR_MODEL, else the installed demo model",
          NULL, flags));
  g_object_class_install_property (klass, GST_AVATAR_PROP_DEVICE,
      g_param_spec_string ("device", "Device",
          "Device that computes: auto (the best there is) or cpu", DEFAULT_DEVICE, flags));
  g_object_class_install_property (klass, GST_AVATAR_PROP_STATS,
      g_param_spec_boxed ("stats", "Statistics",
          "Newest avatar-chunk statistics: stage, index, frames, timestamp, duration and "
          "compute-time (in ns), speed (media time / compute time), memory-now and memory-peak "
          "(in bytes), bad-samples",
          GST_TYPE_STRUCTURE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
}

void
gst_avatar_engine_user_init (GstAvatarEngineUser *user)
{
  user->device = g_strdup (DEFAULT_DEVICE);
}

void
gst_avatar_engine_user_clear (GstAvatarEngineUser *user)
{
  gst_avatar_engine_user_close (user);
  g_clear_pointer (&user->model, g_free);
  g_clear_pointer (&user->device, g_free);
  gst_clear_structure (&user->stats);
}

gboolean
gst_avatar_engine_user_set_property (GstAvatarEngineUser *user, GstElement *element, guint id,
    const GValue *value)
{
  gboolean ours = TRUE;

  GST_OBJECT_LOCK (element);
  switch (id) {
    case GST_AVATAR_PROP_MODEL:
      g_free (user->model);
      user->model = g_value_dup_string (value);
      break;
    case GST_AVATAR_PROP_DEVICE:
      g_free (user->device);
      user->device = g_strdup (g_value_get_string (value) ?: DEFAULT_DEVICE);
      break;
    default:
      ours = FALSE;
      break;
  }
  GST_OBJECT_UNLOCK (element);
  return ours;
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
    case GST_AVATAR_PROP_STATS:
      gst_value_set_structure (value, user->stats);
      break;
    default:
      ours = FALSE;
      break;
  }
  GST_OBJECT_UNLOCK (element);
  return ours;
}

gboolean
gst_avatar_engine_user_open (GstAvatarEngineUser *user, GstElement *element)
{
  g_autofree gchar *model = NULL, *device = NULL, *text = NULL;
  GError *error = NULL;

  if (user->engine)
    return TRUE;
  GST_OBJECT_LOCK (element);
  model = g_strdup (user->model);
  device = g_strdup (user->device);
  GST_OBJECT_UNLOCK (element);

  gst_avatar_report_progress (element, GST_PROGRESS_TYPE_START, "load-model", -1, "loading model");
  user->engine = engine_acquire (model, device, &error);
  if (!user->engine) {
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
gst_avatar_engine_user_close (GstAvatarEngineUser *user)
{
  g_clear_pointer (&user->engine, engine_release);
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
