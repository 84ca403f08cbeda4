/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/server-config.h"

#include <string.h>

void
avatar_server_model_free (AvatarServerModel *model)
{
  g_free (model->name);
  g_free (model->path);
  g_free (model);
}

const AvatarServerModel *
avatar_server_config_find (const AvatarServerConfig *self, const char *name,
    AvatarProblem **problem)
{
  g_autoptr (GString) all = g_string_new (NULL);

  for (guint i = 0; i < self->models->len; i++) {
    const AvatarServerModel *model = self->models->pdata[i];

    if (!name || strcmp (name, model->name) == 0)
      return model;
    g_string_append_printf (all, "%s%s", i ? ", " : "", model->name);
  }
  avatar_problem_set (problem, 400, all->str, NULL, "no model \"%.40s\"", name);
  return NULL;
}

gboolean
avatar_server_config_apply (const AvatarServerConfig *self, const AvatarJobSettings *settings,
    GstElement *avatar, AvatarProblem **problem)
{
  const AvatarServerModel *model = avatar_server_config_find (self, settings->model, problem);

  if (!model)
    return FALSE;
  gst_util_set_object_arg (G_OBJECT (avatar), "profile",
      settings->profile ? settings->profile : "live");
  g_object_set (avatar, "model", model->path, "device", self->device ? self->device : "auto", NULL);
  if (settings->budget)
    g_object_set (avatar, "vram-budget", settings->budget, NULL);
  if (settings->prompt)
    g_object_set (avatar, "prompt", settings->prompt, NULL);
  if (settings->seed >= 0)
    g_object_set (avatar, "seed", settings->seed, NULL);
  if (settings->steps > 0)
    g_object_set (avatar, "steps", (int) settings->steps, NULL);
  return TRUE;
}

AvatarProblem *
avatar_server_problem_from_text (guint status, const char *text)
{
  g_autoptr (GRegex) regex
      = g_regex_new ("(/[^\\s'\"]*)?/(jobs|uploads|portraits)/[0-9a-f]{32}/?", 0, 0, NULL);
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  g_autofree char *bare = g_regex_replace_literal (regex, valid, -1, 0, "", 0, NULL);

  return avatar_problem_from_text (status, bare);
}

AvatarProblem *
avatar_server_problem_from_message (GstMessage *message)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *debug = NULL, *text = NULL;
  const char *reason;

  gst_message_parse_error (message, &error, &debug);
  reason = debug ? strstr (debug, "reason ") : NULL;
  if (strstr (error->message, "Internal data stream error") && reason)
    text = g_strdup_printf ("%s stopped, %s", GST_MESSAGE_SRC_NAME (message), reason);
  return avatar_server_problem_from_text (500, text ? text : error->message);
}
