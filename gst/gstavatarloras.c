/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parsing of the property lora: see the header. */
#include "gst/gstavatarloras.h"

#include <math.h>
#include <string.h>

static void
lora_clear (gpointer data)
{
  AvatarLoraSetting *lora = data;

  g_free ((gchar *) lora->path);
  if (lora->schedule)
    g_free ((gdouble *) lora->schedule->strengths);
  g_free ((AvatarLoraSchedule *) lora->schedule);
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

/* Reads a number at @text, which @end must follow. Returns what follows that, or %NULL. */
static const gchar *
read_number (const gchar *text, gchar end, gdouble *number)
{
  gchar *rest;

  *number = g_ascii_strtod (text, &rest);
  if (rest == text || *rest != end)
    return NULL;
  return end ? rest + 1 : rest;
}

/* Reads STRENGTH/STRENGTH... Returns an array of gdouble, or %NULL if @text is something else. */
static GArray *
read_strengths (const gchar *text)
{
  g_autoptr (GArray) strengths = g_array_new (FALSE, FALSE, sizeof (gdouble));
  g_auto (GStrv) parts = g_strsplit (text, "/", -1);

  for (guint i = 0; parts[i]; i++) {
    gdouble strength;

    if (!read_number (parts[i], '\0', &strength))
      return NULL;
    g_array_append_val (strengths, strength);
  }
  return strengths->len > 0 ? g_steal_pointer (&strengths) : NULL;
}

/* Reads STRENGTH@SIGMA-SIGMA. Returns %FALSE if @text is something else. */
static gboolean
read_range (const gchar *text, AvatarLoraSetting *lora)
{
  AvatarLoraSchedule range = { 0 };
  gdouble strength;

  text = read_number (text, '@', &strength);
  text = text ? read_number (text, '-', &range.sigma_from) : NULL;
  if (!text || !read_number (text, '\0', &range.sigma_to))
    return FALSE;
  lora->strength = strength;
  lora->schedule = g_memdup2 (&range, sizeof range);
  return TRUE;
}

/* Sets the strength of @lora from the text after the last colon of @entry, and removes both. Other
 * text after a colon belongs to the path. */
static void
take_strength (gchar *entry, AvatarLoraSetting *lora)
{
  gchar *colon = strrchr (entry, ':');
  g_autoptr (GArray) strengths = colon ? read_strengths (colon + 1) : NULL;

  lora->strength = 1.0;
  if (strengths && strengths->len == 1) {
    lora->strength = g_array_index (strengths, gdouble, 0);
  } else if (strengths) {
    AvatarLoraSchedule list = { .n_strengths = strengths->len };

    list.strengths = (gdouble *) g_array_free (g_steal_pointer (&strengths), FALSE);
    lora->schedule = g_memdup2 (&list, sizeof list);
  } else if (!colon || !read_range (colon + 1, lora)) {
    return;
  }
  *colon = '\0';
}

static gboolean
has_finite_strength (const AvatarLoraSetting *lora)
{
  const AvatarLoraSchedule *schedule = lora->schedule;

  for (guint i = 0; schedule && i < schedule->n_strengths; i++)
    if (!isfinite (schedule->strengths[i]))
      return FALSE;
  return isfinite (lora->strength);
}

GArray *
gst_avatar_loras_parse (const gchar *text, GError **error)
{
  g_autoptr (GArray) loras = g_array_new (FALSE, FALSE, sizeof (AvatarLoraSetting));
  const gchar *rest = text && *text ? text : NULL;

  g_array_set_clear_func (loras, lora_clear);
  while (rest) {
    gchar *path = next_entry (&rest);
    AvatarLoraSetting lora = { .path = path };

    take_strength (path, &lora);
    g_array_append_val (loras, lora);
    if (*path && has_finite_strength (&lora))
      continue;
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "lora is \"%s\", whose entry %u has no %s; expected PATH[:STRENGTH], separated by commas, "
        "as in style.safetensors:0.8,motion.pt,fast.pt:0/1/1/1,late.pt:1@0.98-0",
        text, loras->len, *path ? "finite strength" : "path");
    return NULL;
  }
  return g_steal_pointer (&loras);
}
