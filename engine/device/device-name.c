/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/device/device-name.h"

#include <string.h>

#define ALL ":all"
/* Largest number of members: more GPUs than a machine has. */
#define MAX_MEMBERS 64

gboolean
avatar_device_name_is_group (const char *name)
{
  return strchr (name, '+') || g_str_has_suffix (name, ALL);
}

/* Returns the names of all devices of the back-end of @name, which ends in ALL. */
static char **
list_all (const char *name, AvatarBackendFindFunc find, GError **error)
{
  g_autofree char *prefix = g_strndup (name, strlen (name) - strlen (ALL));
  g_autofree char *first = g_strdup_printf ("%s:0", prefix);
  const AvatarBackend *backend = find (first, error);
  g_auto (GStrv) names = g_new0 (char *, MAX_MEMBERS + 1);
  guint n;

  if (!backend)
    return NULL;
  if (!backend->count) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
        "device \"%s\" is unknown; expected \"cuda:all\", all GPUs of the machine", name);
    return NULL;
  }
  n = backend->count (error);
  for (guint i = 0; i < MIN (n, MAX_MEMBERS); i++)
    names[i] = g_strdup_printf ("%s:%u", prefix, i);
  return n > 0 ? g_steal_pointer (&names) : NULL;
}

/* Completes @name, if it has digits only, by the prefix of @before, the name of another member. */
static void
complete (char **name, const char *before)
{
  const char *colon = strrchr (before, ':');
  char *whole;

  if (!colon || !**name || (*name)[strspn (*name, "0123456789")])
    return;
  whole = g_strdup_printf ("%.*s%s", (int) (colon + 1 - before), before, *name);
  g_free (*name);
  *name = whole;
}

char **
avatar_device_name_split (const char *name, AvatarBackendFindFunc find, GError **error)
{
  g_auto (GStrv) names = NULL;

  if (!strchr (name, '+'))
    return list_all (name, find, error);
  names = g_strsplit (name, "+", MAX_MEMBERS + 1);
  for (guint i = 0; names[i]; i++) {
    if (i > 0)
      complete (&names[i], names[i - 1]);
    if (!*names[i] || strcmp (names[i], "auto") == 0 || i == MAX_MEMBERS
        || avatar_device_name_is_group (names[i])) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_DEVICE,
          "the device group \"%s\" has the member \"%s\"; expected up to %d GPUs by their names, "
          "such as \"cuda:0+cuda:1\", or \"cuda:all\"",
          name, names[i], MAX_MEMBERS);
      return NULL;
    }
  }
  return g_steal_pointer (&names);
}
