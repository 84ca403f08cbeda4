/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/own-elements.h"

/* Folder of the plugin relative to a program in the build folder. */
#define PLUGINS_OF_BUILD "../gst"

static gboolean
is_known (void)
{
  g_autoptr (GstElementFactory) factory = gst_element_factory_find ("avatarbin");

  return factory != NULL;
}

gboolean
own_elements_find (void)
{
  static const char *const folders[] = { PLUGINS_FROM_BIN, PLUGINS_OF_BUILD };
  g_autofree char *program = g_file_read_link ("/proc/self/exe", NULL);
  g_autofree char *folder = program ? g_path_get_dirname (program) : NULL;

  for (guint i = 0; folder && i < G_N_ELEMENTS (folders) && !is_known (); i++) {
    g_autofree char *plugins = g_build_filename (folder, folders[i], NULL);
    g_autofree char *plugin = g_build_filename (plugins, "libgstavatar.so", NULL);

    if (g_file_test (plugin, G_FILE_TEST_EXISTS))
      gst_registry_scan_path (gst_registry_get (), plugins);
  }
  return is_known ();
}
