/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/job-settings.h"

#include <avatar/avatar.h>

#include <string.h>

#define LONGEST_PROMPT 4000
#define LONGEST_NAME 200
#define MOST_STEPS 1000
#define LARGEST_SIDE 4096

static const char *const names[]
    = { "model", "prompt", "budget", "profile", "seed", "steps", "size", NULL };
static const char *const profiles[] = { "live", "realtime", "quality", NULL };

void
avatar_job_settings_init (AvatarJobSettings *self)
{
  *self = (AvatarJobSettings){ .seed = -1 };
}

void
avatar_job_settings_clear (AvatarJobSettings *self)
{
  g_free (self->model);
  g_free (self->prompt);
  g_free (self->budget);
  g_free (self->profile);
  avatar_job_settings_init (self);
}

static gboolean
parse_count (const char *name, const char *text, gint64 max, gint64 *value, AvatarProblem **problem)
{
  g_autofree char *range = g_strdup_printf ("a whole number from 0 to %" G_GINT64_FORMAT, max);

  if (g_ascii_string_to_signed (text, 10, 0, max, value, NULL))
    return TRUE;
  return avatar_problem_set (problem, 400, range, NULL, "%s is \"%s\"", name, text);
}

static gboolean
parse_size (AvatarJobSettings *self, const char *text, AvatarProblem **problem)
{
  g_auto (GStrv) sides = g_strsplit (text, "x", 3);
  guint64 w = 0, h = 0;

  if (g_strv_length (sides) == 2
      && g_ascii_string_to_unsigned (sides[0], 10, 1, LARGEST_SIDE, &w, NULL)
      && g_ascii_string_to_unsigned (sides[1], 10, 1, LARGEST_SIDE, &h, NULL)) {
    self->width = w;
    self->height = h;
    return TRUE;
  }
  return avatar_problem_set (problem, 400,
      "WIDTHxHEIGHT in pixels of at most 4096, such as 128x128", NULL, "size is \"%s\"", text);
}

/* Takes a copy of @text, which is valid UTF-8 of limited length without control characters other
 * than line breaks and tabs. */
static gboolean
parse_text (const char *name, const char *text, gsize longest, char **value,
    AvatarProblem **problem)
{
  if (strlen (text) > longest)
    return avatar_problem_set (problem, 400, NULL, "shorten it",
        "%s has %zu bytes, at most %zu fit", name, strlen (text), longest);
  for (const char *c = text; *c; c++)
    if (g_ascii_iscntrl (*c) && !strchr ("\n\r\t", *c))
      return avatar_problem_set (problem, 400, "text", NULL, "%s has the control character 0x%02x",
          name, (guint) *c);
  g_free (*value);
  *value = g_strdup (text);
  return TRUE;
}

static gboolean
parse_budget (AvatarJobSettings *self, const char *text, AvatarProblem **problem)
{
  g_autoptr (GError) error = NULL;
  guint64 bytes;

  if (!parse_text ("budget", text, LONGEST_NAME, &self->budget, problem))
    return FALSE;
  if (avatar_device_parse_budget (NULL, text, &bytes, &error))
    return TRUE;
  return avatar_problem_set (problem, 400, "MiB as a number, a share such as 80%, or auto", NULL,
      "budget is \"%s\"", text);
}

gboolean
avatar_job_settings_set (AvatarJobSettings *self, const char *name, const char *value,
    AvatarProblem **problem)
{
  gint64 number;

  if (!g_utf8_validate (value, -1, NULL))
    return avatar_problem_set (problem, 400, "text in UTF-8", NULL, "%s is not valid UTF-8",
        g_strv_contains (names, name) ? name : "a field");
  if (!g_strv_contains (names, name)) {
    g_autofree char *all = g_strjoinv (", ", (char **) names);
    return avatar_problem_set (problem, 400, all, "leave the field out", "unknown field \"%.40s\"",
        name);
  }
  if (!*value)
    return TRUE;
  if (strcmp (name, "prompt") == 0)
    return parse_text (name, value, LONGEST_PROMPT, &self->prompt, problem);
  if (strcmp (name, "model") == 0)
    return parse_text (name, value, LONGEST_NAME, &self->model, problem);
  if (strcmp (name, "budget") == 0)
    return parse_budget (self, value, problem);
  if (strcmp (name, "size") == 0)
    return parse_size (self, value, problem);
  if (strcmp (name, "profile") == 0) {
    if (!g_strv_contains (profiles, value))
      return avatar_problem_set (problem, 400, "live, realtime or quality", NULL,
          "profile is \"%.40s\"", value);
    return parse_text (name, value, LONGEST_NAME, &self->profile, problem);
  }
  if (!parse_count (name, value, strcmp (name, "seed") == 0 ? G_MAXINT64 : MOST_STEPS, &number,
          problem))
    return FALSE;
  if (strcmp (name, "seed") == 0)
    self->seed = number;
  else
    self->steps = number;
  return TRUE;
}

gboolean
avatar_job_settings_set_json (AvatarJobSettings *self, JsonObject *object, AvatarProblem **problem)
{
  for (guint i = 0; names[i]; i++) {
    JsonNode *node = json_object_get_member (object, names[i]);
    g_autofree char *text = NULL;
    GType type;

    if (!node || JSON_NODE_HOLDS_NULL (node))
      continue;
    type = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : G_TYPE_NONE;
    if (type == G_TYPE_STRING)
      text = g_strdup (json_node_get_string (node));
    else if (type == G_TYPE_INT64)
      text = g_strdup_printf ("%" G_GINT64_FORMAT, json_node_get_int (node));
    else
      return avatar_problem_set (problem, 400, "a string or a whole number", NULL,
          "%s is neither a string nor a whole number", names[i]);
    if (!avatar_job_settings_set (self, names[i], text, problem))
      return FALSE;
  }
  return TRUE;
}

void
avatar_job_settings_build (const AvatarJobSettings *self, JsonBuilder *builder)
{
  g_autofree char *size = self->width ? g_strdup_printf ("%ux%u", self->width, self->height) : NULL;

  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "model", self->model);
  avatar_json_add_string (builder, "prompt", self->prompt);
  avatar_json_add_string (builder, "budget", self->budget);
  avatar_json_add_string (builder, "profile", self->profile);
  avatar_json_add_string (builder, "size", size);
  if (self->seed >= 0)
    avatar_json_add_int (builder, "seed", self->seed);
  if (self->steps > 0)
    avatar_json_add_int (builder, "steps", self->steps);
  json_builder_end_object (builder);
}
