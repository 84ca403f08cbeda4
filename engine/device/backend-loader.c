/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Search and loading of back-end modules. */
#include "engine/device/backend-loader.h"

#include "engine/base/installed-path.h"

#include <gmodule.h>

static GModule *
find_module (const char *name, GError **error)
{
  g_autofree char *installed = avatar_installed_path (AVATAR_LIBDIR "/gst-avatar");
  const char *folders[] = { g_getenv ("AVATAR_MODULE_DIR"), installed };
  g_autofree char *file = g_strdup_printf ("libavatar-%s.so", name);
  g_autoptr (GString) tried = g_string_new (NULL);

  for (guint i = 0; i < G_N_ELEMENTS (folders); i++) {
    g_autofree char *path = folders[i] ? g_build_filename (folders[i], file, NULL) : NULL;
    GModule *module;

    if (!path)
      continue;
    if (!g_file_test (path, G_FILE_TEST_EXISTS)) {
      g_string_append_printf (tried, "%s%s", tried->len ? ", " : "", folders[i]);
      continue;
    }
    module = g_module_open (path, G_MODULE_BIND_LAZY | G_MODULE_BIND_LOCAL);
    if (!module)
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
          "the \"%s\" back-end cannot be loaded: %s; install the libraries that are missing, or "
          "use device=cpu",
          name, g_module_error ());
    return module;
  }
  g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
      "this build has no \"%s\" back-end (%s is not in %s); build with -D%s=enabled, set "
      "AVATAR_MODULE_DIR to its folder, or use device=cpu",
      name, file, tried->str, name);
  return NULL;
}

const AvatarBackend *
avatar_backend_load (const char *name, GError **error)
{
  static GMutex lock;
  static GHashTable *loaded;
  g_autoptr (GMutexLocker) locker = g_mutex_locker_new (&lock);
  const AvatarBackend *backend = loaded ? g_hash_table_lookup (loaded, name) : NULL;
  AvatarBackendModuleFunc get = NULL;
  GModule *module;

  if (backend)
    return backend;
  module = find_module (name, error);
  if (!module)
    return NULL;
  if (g_module_symbol (module, "avatar_backend_module", (gpointer *) &get))
    backend = get (AVATAR_BACKEND_ABI);
  if (!backend) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "%s has another version than this program; build or install both together",
        g_module_name (module));
    g_module_close (module);
    return NULL;
  }
  g_module_make_resident (module);
  if (!loaded)
    loaded = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_hash_table_insert (loaded, g_strdup (name), (gpointer) backend);
  return backend;
}
