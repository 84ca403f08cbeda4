/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/model/lora-list.h"

#include <string.h>

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

static AvatarLoraSchedule *
copy_schedule (const AvatarLoraSchedule *schedule)
{
  AvatarLoraSchedule *copy = g_memdup2 (schedule, sizeof *schedule);

  if (copy)
    copy->strengths
        = g_memdup2 (schedule->strengths, schedule->n_strengths * sizeof *schedule->strengths);
  return copy;
}

static gboolean
has_same_schedule (const AvatarLoraSchedule *a, const AvatarLoraSchedule *b)
{
  if (!a || !b)
    return a == b;
  return a->n_strengths == b->n_strengths && a->sigma_from == b->sigma_from
      && a->sigma_to == b->sigma_to
      && (a->n_strengths == 0
          || memcmp (a->strengths, b->strengths, a->n_strengths * sizeof *a->strengths) == 0);
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
  self->constant = g_ptr_array_new ();
  self->scheduled = g_ptr_array_new ();
  self->n = n;
  for (guint i = 0; i < n; i++) {
    self->settings[i] = (AvatarLoraSetting){ .path = g_strdup (settings[i].path),
      .strength = settings[i].strength,
      .schedule = copy_schedule (settings[i].schedule) };
    g_ptr_array_add (settings[i].schedule ? self->scheduled : self->constant,
        self->files->pdata[i]);
  }
  return TRUE;
}

guint
avatar_lora_list_get_multipliers (const AvatarLoraList *self, guint i, guint steps, double sigma,
    double *multipliers)
{
  guint n = 0;

  for (guint k = 0; k < self->n; k++) {
    const AvatarLoraSchedule *schedule = self->settings[k].schedule;

    if (!schedule)
      continue;
    if (schedule->n_strengths > 0)
      multipliers[n++] = schedule->strengths[(guint64) i * schedule->n_strengths / steps];
    else
      multipliers[n++] = sigma <= schedule->sigma_from && sigma >= schedule->sigma_to ? 1 : 0;
  }
  return n;
}

gboolean
avatar_lora_list_equals (const AvatarLoraList *self, const AvatarLoraSetting *settings, guint n)
{
  if (n != self->n)
    return FALSE;
  for (guint i = 0; i < n; i++)
    if (g_strcmp0 (settings[i].path, self->settings[i].path) != 0
        || settings[i].strength != self->settings[i].strength
        || !has_same_schedule (settings[i].schedule, self->settings[i].schedule))
      return FALSE;
  return TRUE;
}

void
avatar_lora_list_clear (AvatarLoraList *self)
{
  for (guint i = 0; i < self->n; i++) {
    g_free ((char *) self->settings[i].path);
    if (self->settings[i].schedule)
      g_free ((double *) self->settings[i].schedule->strengths);
    g_free ((AvatarLoraSchedule *) self->settings[i].schedule);
  }
  g_clear_pointer (&self->settings, g_free);
  self->n = 0;
  g_clear_pointer (&self->constant, g_ptr_array_unref);
  g_clear_pointer (&self->scheduled, g_ptr_array_unref);
  g_clear_pointer (&self->files, g_ptr_array_unref);
  g_clear_pointer (&self->warnings, g_ptr_array_unref);
}
