/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of the property sigmas: see the header. */
#include "gst/gstavatarsigmas.h"

#include <math.h>

GArray *
gst_avatar_sigmas_parse (const gchar *text, GError **error)
{
  g_autoptr (GArray) sigmas = g_array_new (FALSE, FALSE, sizeof (gdouble));
  g_auto (GStrv) entries = g_strsplit (text ? text : "", ",", -1);

  if (!text || *g_strstrip (entries[0]) == '\0')
    g_clear_pointer (&entries, g_strfreev);
  for (guint i = 0; entries && entries[i]; i++) {
    const gchar *entry = g_strstrip (entries[i]);
    gchar *end;
    gdouble sigma = g_ascii_strtod (entry, &end);

    if (*entry == '\0' || *end || !isfinite (sigma)) {
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
          "sigmas is \"%s\", whose entry %u is no number; expected one for each step, separated by "
          "commas, as in 1,0.96,0.9,0.75",
          text, i + 1);
      return NULL;
    }
    g_array_append_val (sigmas, sigma);
  }
  return g_steal_pointer (&sigmas);
}
