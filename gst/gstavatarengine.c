/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The engines of the process and the budgets of its devices: see the header. */
#include "gst/gstavatarengine.h"

typedef struct
{
  GstAvatarEngine engine; /* first, because elements hold a pointer to it */
  gchar *key;
  guint refs;
} Shared;

G_LOCK_DEFINE_STATIC (engines);
static GHashTable *engines; /* key -> Shared, for engines in use */

typedef struct
{
  AvatarDevice *device; /* device of the engine that the client holds */
  guint64 *bytes;       /* one for each member of the device; 0: automatic */
} BudgetRequest;

/* A lock of its own, because the one above is held while a device opens. */
G_LOCK_DEFINE_STATIC (budget_requests);
static GHashTable *budget_requests; /* client -> BudgetRequest */

/* Used by logs and by gst-launch-1.0, which print contexts. */
static void
engine_to_string (const GValue *value, GValue *text)
{
  const GstAvatarEngine *engine = g_value_get_boxed (value);

  if (engine)
    g_value_take_string (text,
        g_strdup_printf ("%s on %s", engine->info->name, avatar_device_get_name (engine->device)));
}

static GType
register_engine (void)
{
  GType type = g_boxed_type_register_static ("GstAvatarEngine",
      (GBoxedCopyFunc) gst_avatar_engine_ref, (GBoxedFreeFunc) gst_avatar_engine_unref);

  g_value_register_transform_func (type, G_TYPE_STRING, engine_to_string);
  return type;
}

GType
gst_avatar_engine_get_type (void)
{
  static gsize type;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type, register_engine ());
  return type;
}

static gchar *
path_of (const gchar *model)
{
  g_autofree gchar *path = model ? g_strdup (model) : avatar_model_default_path ();

  return g_steal_pointer (&path) ?: g_strdup ("");
}

/* Contains the device's own name, because "auto" and "cuda" may be the same device. */
static gchar *
key_new (AvatarDevice *device, const gchar *path)
{
  return g_strdup_printf ("%s\n%s", avatar_device_get_name (device), path);
}

static Shared *
shared_new (AvatarModel *model, AvatarDevice *device, const gchar *key)
{
  Shared *shared = g_new0 (Shared, 1);

  shared->engine.model = model;
  shared->engine.device = avatar_device_ref (device);
  shared->engine.info = avatar_model_get_info (model);
  shared->key = g_strdup (key);
  return shared;
}

/* Called with the lock of the engines held. */
static Shared *
find_or_open (const gchar *path, const gchar *device_name, GError **error)
{
  g_autoptr (AvatarDevice) device = avatar_device_open (device_name, error);
  g_autofree gchar *key = device ? key_new (device, path) : NULL;
  AvatarModel *model;
  Shared *shared;

  if (!device)
    return NULL;
  if (!engines)
    engines = g_hash_table_new (g_str_hash, g_str_equal);
  shared = g_hash_table_lookup (engines, key);
  if (shared)
    return shared;
  model = avatar_model_open (*path ? path : NULL, error);
  if (!model)
    return NULL;
  shared = shared_new (model, device, key);
  g_hash_table_insert (engines, shared->key, shared);
  return shared;
}

GstAvatarEngine *
gst_avatar_engine_open (const gchar *model, const gchar *device, GError **error)
{
  g_autofree gchar *path = path_of (model);
  Shared *shared;

  G_LOCK (engines);
  shared = find_or_open (path, device, error);
  if (shared)
    shared->refs++;
  G_UNLOCK (engines);
  return shared ? &shared->engine : NULL;
}

GstAvatarEngine *
gst_avatar_engine_ref (GstAvatarEngine *engine)
{
  G_LOCK (engines);
  ((Shared *) engine)->refs++;
  G_UNLOCK (engines);
  return engine;
}

void
gst_avatar_engine_unref (GstAvatarEngine *engine)
{
  Shared *shared = (Shared *) engine;

  G_LOCK (engines);
  if (--shared->refs == 0) {
    g_hash_table_remove (engines, shared->key);
    avatar_model_unref (engine->model);
    avatar_device_unref (engine->device);
    g_free (shared->key);
    g_free (shared);
  }
  G_UNLOCK (engines);
}

gboolean
gst_avatar_engine_is (GstAvatarEngine *engine, const gchar *model, const gchar *device)
{
  g_autofree gchar *path = path_of (model);
  g_autoptr (AvatarDevice) named = avatar_device_open (device, NULL);
  g_autofree gchar *key = named ? key_new (named, path) : NULL;

  return g_strcmp0 (((Shared *) engine)->key, key) == 0;
}

static void
budget_request_free (gpointer data)
{
  BudgetRequest *request = data;

  g_free (request->bytes);
  g_free (request);
}

/* Returns the budget that @request has for @device, a member of its device; %NULL: none. */
static const guint64 *
requested_for (const BudgetRequest *request, AvatarDevice *device)
{
  for (guint i = 0; i < avatar_device_get_n_members (request->device); i++)
    if (avatar_device_get_member (request->device, i) == device)
      return &request->bytes[i];
  return NULL;
}

/* Called with the lock of the requests held. Without requests the last budget stays in force.
 * @device: not a group */
static void
apply_to_member (AvatarDevice *device)
{
  guint64 lowest = 0, automatic = 0;
  gboolean any = FALSE;
  GHashTableIter iter;
  BudgetRequest *request;

  g_hash_table_iter_init (&iter, budget_requests);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &request)) {
    const guint64 *bytes = requested_for (request, device);

    if (!bytes)
      continue;
    any = TRUE;
    if (*bytes > 0)
      lowest = lowest ? MIN (lowest, *bytes) : *bytes;
  }
  if (any && lowest == 0 && avatar_device_parse_budget (device, "auto", &automatic, NULL))
    lowest = automatic;
  if (any)
    avatar_device_set_budget (device, lowest);
}

static void
apply_requests (AvatarDevice *device)
{
  for (guint i = 0; i < avatar_device_get_n_members (device); i++)
    apply_to_member (avatar_device_get_member (device, i));
}

/* Sets the budgets of members to 0 for which @text is "auto". */
static void
mark_automatic (const gchar *text, guint64 *bytes, guint n)
{
  g_auto (GStrv) parts = g_strsplit (text && *text ? text : "auto", ",", -1);
  guint n_parts = g_strv_length (parts);

  for (guint i = 0; i < n; i++)
    if (g_str_equal (parts[n_parts == 1 ? 0 : i], "auto"))
      bytes[i] = 0;
}

gboolean
gst_avatar_engine_request_budget (GstAvatarEngine *engine, gconstpointer client, const gchar *text,
    GError **error)
{
  guint n = avatar_device_get_n_members (engine->device);
  BudgetRequest request = { engine->device, g_new0 (guint64, n) };

  if (!avatar_device_parse_budgets (engine->device, text, request.bytes, error)) {
    g_free (request.bytes);
    return FALSE;
  }
  mark_automatic (text, request.bytes, n);
  G_LOCK (budget_requests);
  if (!budget_requests)
    budget_requests = g_hash_table_new_full (NULL, NULL, NULL, budget_request_free);
  g_hash_table_insert (budget_requests, (gpointer) client, g_memdup2 (&request, sizeof request));
  apply_requests (engine->device);
  G_UNLOCK (budget_requests);
  return TRUE;
}

void
gst_avatar_engine_withdraw_budget (gconstpointer client)
{
  BudgetRequest *request;
  AvatarDevice *device;

  G_LOCK (budget_requests);
  request = budget_requests ? g_hash_table_lookup (budget_requests, client) : NULL;
  if (request) {
    device = request->device;
    g_hash_table_remove (budget_requests, client);
    apply_requests (device);
  }
  G_UNLOCK (budget_requests);
}
