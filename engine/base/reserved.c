/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/base/reserved.h"

gboolean
avatar_check_reserved (const gpointer *fields, gsize n, const char *type, GError **error)
{
  for (gsize i = 0; i < n; i++)
    if (fields[i]) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "a reserved field of %s is not zero; set the structure to zero before its fields, or "
          "install the version of the library that the program was compiled for",
          type);
      return FALSE;
    }
  return TRUE;
}
