/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/model/lora-list.h"

static GPtrArray *
collect_warnings (GPtrArray *files)
{
  GPtrArray *all = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < files->len; i++) {
    GPtrArray *warnings = avatar_lora_get_warnings (files->pdata[i]);

    for (guint j = 0; j < warnings->len; j++)
      g_ptr_array_add (all, g_strdup (warnings->pdata[j]));
  }
  g_ptr_array_add (all, NULL);
  return all;
}

gboolean
avatar_lora_list_open (AvatarLoraList *self, const AvatarLoraSetting *settings, guint n,
    const AvatarConfig *config, GError **error)
{
  *self = (AvatarLoraList){ .files = avatar_lora_open_all (settings, n, config, error) };
  if (!self->files)
    return FALSE;
  self->warnings = collect_warnings (self->files);
  self->settings = g_new0 (AvatarLoraSetting, n);
  self->n = n;
  for (guint i = 0; i < n; i++)
    self->settings[i]
        = (AvatarLoraSetting){ g_strdup (settings[i].path), settings[i].strength, { NULL } };
  return TRUE;
}

gboolean
avatar_lora_list_equals (const AvatarLoraList *self, const AvatarLoraSetting *settings, guint n)
{
  if (n != self->n)
    return FALSE;
  for (guint i = 0; i < n; i++)
    if (g_strcmp0 (settings[i].path, self->settings[i].path) != 0
        || settings[i].strength != self->settings[i].strength)
      return FALSE;
  return TRUE;
}

void
avatar_lora_list_clear (AvatarLoraList *self)
{
  for (guint i = 0; i < self->n; i++)
    g_free ((char *) self->settings[i].path);
  g_clear_pointer (&self->settings, g_free);
  self->n = 0;
  g_clear_pointer (&self->files, g_ptr_array_unref);
  g_clear_pointer (&self->warnings, g_ptr_array_unref);
}
