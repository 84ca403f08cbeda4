/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/server/reply.h"

#include <string.h>

void
avatar_reply_json (SoupServerMessage *msg, guint status, JsonBuilder *builder)
{
  g_autofree char *text = avatar_json_text (builder);
  g_autofree char *line = g_strconcat (text, "\n", NULL);

  soup_server_message_set_status (msg, status, NULL);
  soup_server_message_set_response (msg, "application/json", SOUP_MEMORY_COPY, line, strlen (line));
}

void
avatar_reply_problem (SoupServerMessage *msg, AvatarProblem *problem)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();

  json_builder_begin_object (builder);
  json_builder_set_member_name (builder, "error");
  avatar_problem_build (problem, builder);
  json_builder_end_object (builder);
  avatar_reply_json (msg, problem->status, builder);
  avatar_problem_free (problem);
}

void
avatar_reply_bytes (SoupServerMessage *msg, const char *type, GBytes *bytes)
{
  soup_server_message_set_status (msg, SOUP_STATUS_OK, NULL);
  soup_message_headers_set_content_type (soup_server_message_get_response_headers (msg), type,
      NULL);
  soup_message_body_append_bytes (soup_server_message_get_response_body (msg), bytes);
}

void
avatar_reply_text (SoupServerMessage *msg, const char *text)
{
  soup_server_message_set_status (msg, SOUP_STATUS_OK, NULL);
  soup_server_message_set_response (msg, "text/plain", SOUP_MEMORY_COPY, text, strlen (text));
}
