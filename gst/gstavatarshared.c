/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights are mapped once, and the device's ledger counts all stages together: see the header. */
#include "gst/gstavatarshared.h"

#include <string.h>

typedef struct
{
  GstAvatarEngine engine; /* first: users hold a pointer to it */
  gchar *key;
  guint refs;
} Shared;

G_LOCK_DEFINE_STATIC (engines);
static GHashTable *engines; /* key -> Shared, while in use */

typedef struct
{
  AvatarDevice *device; /* of the engine that the user holds */
  guint64 bytes;        /* 0: whatever the others want */
} Claim;

/* Not the lock above, which is held while a device opens. */
G_LOCK_DEFINE_STATIC (claims);
static GHashTable *claims; /* user -> Claim */

GType
gst_avatar_engine_get_type (void)
{
  static gsize type;

  if (g_once_init_enter (&type))
    g_once_init_leave (&type,
        g_boxed_type_register_static ("GstAvatarEngine", (GBoxedCopyFunc) gst_avatar_engine_ref,
            (GBoxedFreeFunc) gst_avatar_engine_unref));
  return type;
}

static gchar *
key_new (const gchar *model, const gchar *device)
{
  g_autofree gchar *path = model ? g_strdup (model) : avatar_model_default_path ();

  return g_strdup_printf ("%s\n%s", device, path ? path : "");
}

static Shared *
shared_open (const gchar *key, GError **error)
{
  const gchar *path = strchr (key, '\n') + 1;
  g_autofree gchar *device = g_strndup (key, path - key - 1);
  Shared *shared = g_new0 (Shared, 1);

  shared->engine.model = avatar_model_open (*path ? path : NULL, error);
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

GstAvatarEngine *
gst_avatar_engine_open (const gchar *model, const gchar *device, GError **error)
{
  g_autofree gchar *key = key_new (model, device);
  Shared *shared;

  G_LOCK (engines);
  if (!engines)
    engines = g_hash_table_new (g_str_hash, g_str_equal);
  shared = g_hash_table_lookup (engines, key);
  if (!shared) {
    shared = shared_open (key, error);
    if (shared)
      g_hash_table_insert (engines, shared->key, shared);
  }
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
  g_autofree gchar *key = key_new (model, device);

  return g_str_equal (((Shared *) engine)->key, key);
}

/* Locked. Nobody left: the ceiling stays until somebody comes. */
static void
apply_claims (AvatarDevice *device)
{
  guint64 lowest = 0, automatic = 0;
  gboolean any = FALSE;
  GHashTableIter iter;
  Claim *claim;

  g_hash_table_iter_init (&iter, claims);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *) &claim)) {
    if (claim->device != device)
      continue;
    any = TRUE;
    if (claim->bytes > 0)
      lowest = lowest ? MIN (lowest, claim->bytes) : claim->bytes;
  }
  if (any && lowest == 0 && avatar_device_parse_budget (device, "auto", &automatic, NULL))
    lowest = automatic;
  if (any)
    avatar_device_set_budget (device, lowest);
}

gboolean
gst_avatar_engine_claim_budget (GstAvatarEngine *engine, gconstpointer user, const gchar *text,
    GError **error)
{
  Claim claim = { engine->device, 0 };

  if (!avatar_device_parse_budget (engine->device, text, &claim.bytes, error))
    return FALSE;
  if (!text || !*text || g_str_equal (text, "auto"))
    claim.bytes = 0;
  G_LOCK (claims);
  if (!claims)
    claims = g_hash_table_new_full (NULL, NULL, NULL, g_free);
  g_hash_table_insert (claims, (gpointer) user, g_memdup2 (&claim, sizeof claim));
  apply_claims (engine->device);
  G_UNLOCK (claims);
  return TRUE;
}

void
gst_avatar_engine_drop_budget (gconstpointer user)
{
  Claim *claim;
  AvatarDevice *device;

  G_LOCK (claims);
  claim = claims ? g_hash_table_lookup (claims, user) : NULL;
  if (claim) {
    device = claim->device;
    g_hash_table_remove (claims, user);
    apply_claims (device);
  }
  G_UNLOCK (claims);
}
