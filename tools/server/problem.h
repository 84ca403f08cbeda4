/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Error of avatar-server that a client can show: what was found, what was expected, what to do. */
#pragma once

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

/* @status is that of HTTP. @expected and @remedy may be NULL. */
typedef struct
{
  guint status;
  char *found, *expected, *remedy;
} AvatarProblem;

/* Sets *@problem, unless it is set or @problem is NULL. Returns FALSE. */
gboolean avatar_problem_set (AvatarProblem **problem, guint status, const char *expected,
    const char *remedy, const char *found_format, ...) G_GNUC_PRINTF (5, 6);
/* Makes a problem of the text of an engine's or an element's error, "FOUND, expected EXPECTED;
 * REMEDY". Parts that the text does not have are NULL. */
AvatarProblem *avatar_problem_from_text (guint status, const char *text);
/* Appends the members of an object: message, found, expected, remedy. */
void avatar_problem_build (const AvatarProblem *problem, JsonBuilder *builder);
/* Returns NULL if @object has no text "found". */
AvatarProblem *avatar_problem_from_json (JsonObject *object);
void avatar_problem_free (AvatarProblem *problem);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarProblem, avatar_problem_free)

/* Returns the text of member @name if it is a string, else NULL. */
const char *avatar_json_string (JsonObject *object, const char *name);
/* Returns the number of member @name if it is one, else @fallback. */
double avatar_json_number (JsonObject *object, const char *name, double fallback);
void avatar_json_add_string (JsonBuilder *builder, const char *name, const char *value);
void avatar_json_add_double (JsonBuilder *builder, const char *name, double value);
void avatar_json_add_int (JsonBuilder *builder, const char *name, gint64 value);
/* Free with g_free(). */
char *avatar_json_text (JsonBuilder *builder);

G_END_DECLS
