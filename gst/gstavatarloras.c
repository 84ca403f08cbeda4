/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of the property lora: see the header. */
#include "gst/gstavatarloras.h"

#include <math.h>
#include <string.h>

static void
lora_clear (gpointer data)
{
  g_free ((gchar *) ((AvatarLoraSetting *) data)->path);
}

/* Returns the first entry of @text, unescaped, and moves @text to the next entry; %NULL at the
 * end. */
static gchar *
next_entry (const gchar **text)
{
  GString *entry = g_string_new (NULL);
  const gchar *p = *text;

  for (; *p && *p != ','; p++) {
    if (p[0] == '\\' && p[1] == ',')
      p++;
    g_string_append_c (entry, *p);
  }
  *text = *p ? p + 1 : NULL;
  return g_string_free (entry, FALSE);
}

/* Returns the number after the last colon of @entry, and removes both. Other text after a colon
 * belongs to the path. */
static gdouble
take_strength (gchar *entry)
{
  gchar *colon = strrchr (entry, ':'), *end;
  gdouble strength;

  if (!colon || colon[1] == '\0')
    return 1.0;
  strength = g_ascii_strtod (colon + 1, &end);
  if (*end)
    return 1.0;
  *colon = '\0';
  return strength;
}

GArray *
gst_avatar_loras_parse (const gchar *text, GError **error)
{
  g_autoptr (GArray) loras = g_array_new (FALSE, FALSE, sizeof (AvatarLoraSetting));
  const gchar *rest = text && *text ? text : NULL;

  g_array_set_clear_func (loras, lora_clear);
  while (rest) {
    gchar *path = next_entry (&rest);
    AvatarLoraSetting lora = { .path = path, .strength = take_strength (path) };

    g_array_append_val (loras, lora);
    if (*path && isfinite (lora.strength))
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "lora is \"%s\", whose entry %u has no %s; expected PATH[:STRENGTH], separated by commas, "
        "as in style.safetensors:0.8,motion.pt",
        text, loras->len, *path ? "finite strength" : "path");
    return NULL;
  }
  return g_steal_pointer (&loras);
}
