/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Problems, and small helpers for JSON. */
#include "tools/server/problem.h"

#include <math.h>
#include <string.h>

gboolean
avatar_problem_set (AvatarProblem **problem, guint status, const char *expected, const char *remedy,
    const char *found_format, ...)
{
  g_autofree char *found = NULL;
  va_list list;

  if (!problem || *problem)
    return FALSE;
  *problem = g_new0 (AvatarProblem, 1);
  (*problem)->status = status;
  (*problem)->expected = g_strdup (expected);
  (*problem)->remedy = g_strdup (remedy);
  va_start (list, found_format);
  found = g_strdup_vprintf (found_format, list);
  va_end (list);
  /* A precision such as "%.40s" may have cut a character. */
  (*problem)->found = g_utf8_make_valid (found, -1);
  return FALSE;
}

AvatarProblem *
avatar_problem_from_text (guint status, const char *text)
{
  static const char expecting[] = "expected ";
  AvatarProblem *problem = g_new0 (AvatarProblem, 1);
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  char *remedy = strstr (valid, "; "), *expected = strstr (valid, expecting);

  problem->status = status;
  /* "FOUND; expected EXPECTED; REMEDY" has two semicolons. */
  if (remedy && expected == remedy + 2)
    remedy = strstr (expected, "; ");
  if (remedy && (!expected || expected < remedy)) {
    *remedy = 0;
    problem->remedy = g_strdup (remedy + 2);
  } else {
    remedy = NULL;
  }
  if (expected && expected > valid + 2 && (expected[-2] == ',' || expected[-2] == ';')) {
    problem->expected = g_strdup (expected + strlen (expecting));
    expected[-2] = 0;
  }
  problem->found = g_strdup (valid);
  return problem;
}

void
avatar_problem_build (const AvatarProblem *problem, JsonBuilder *builder)
{
  g_autoptr (GString) message = g_string_new (problem->found);

  if (problem->expected)
    g_string_append_printf (message, "; expected %s", problem->expected);
  if (problem->remedy)
    g_string_append_printf (message, "; %s", problem->remedy);
  json_builder_begin_object (builder);
  avatar_json_add_string (builder, "message", message->str);
  avatar_json_add_string (builder, "found", problem->found);
  avatar_json_add_string (builder, "expected", problem->expected);
  avatar_json_add_string (builder, "remedy", problem->remedy);
  json_builder_end_object (builder);
}

AvatarProblem *
avatar_problem_from_json (JsonObject *object)
{
  AvatarProblem *problem;

  if (!object || !avatar_json_string (object, "found"))
    return NULL;
  problem = g_new0 (AvatarProblem, 1);
  problem->found = g_strdup (avatar_json_string (object, "found"));
  problem->expected = g_strdup (avatar_json_string (object, "expected"));
  problem->remedy = g_strdup (avatar_json_string (object, "remedy"));
  return problem;
}

void
avatar_problem_free (AvatarProblem *problem)
{
  if (!problem)
    return;
  g_free (problem->found);
  g_free (problem->expected);
  g_free (problem->remedy);
  g_free (problem);
}

const char *
avatar_json_string (JsonObject *object, const char *name)
{
  JsonNode *node = json_object_get_member (object, name);

  return node && JSON_NODE_HOLDS_VALUE (node) && json_node_get_value_type (node) == G_TYPE_STRING
      ? json_node_get_string (node)
      : NULL;
}

double
avatar_json_number (JsonObject *object, const char *name, double fallback)
{
  JsonNode *node = json_object_get_member (object, name);
  GType type = node && JSON_NODE_HOLDS_VALUE (node) ? json_node_get_value_type (node) : 0;
  double value
      = type == G_TYPE_INT64 || type == G_TYPE_DOUBLE ? json_node_get_double (node) : fallback;

  return isfinite (value) ? value : fallback;
}

void
avatar_json_add_string (JsonBuilder *builder, const char *name, const char *value)
{
  json_builder_set_member_name (builder, name);
  if (value)
    json_builder_add_string_value (builder, value);
  else
    json_builder_add_null_value (builder);
}

void
avatar_json_add_double (JsonBuilder *builder, const char *name, double value)
{
  json_builder_set_member_name (builder, name);
  if (isfinite (value))
    json_builder_add_double_value (builder, round (value * 1000) / 1000);
  else
    json_builder_add_null_value (builder);
}

void
avatar_json_add_int (JsonBuilder *builder, const char *name, gint64 value)
{
  json_builder_set_member_name (builder, name);
  json_builder_add_int_value (builder, value);
}

char *
avatar_json_text (JsonBuilder *builder)
{
  g_autoptr (JsonNode) root = json_builder_get_root (builder);

  return json_to_string (root, FALSE);
}
