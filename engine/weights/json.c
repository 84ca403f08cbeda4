/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* JSON from files that nobody has checked: json-glib parses recursively and takes more than JSON,
 * so depth, text encoding and the kind of the root are looked at first. */
#include "engine/weights/json.h"

#include <string.h>

#define MAX_DEPTH 32

typedef enum
{
  TEXT_FINE,
  TEXT_DEEP,
  TEXT_FOREIGN,
} TextKind;

/* json-glib also takes comments and single quotes. What hides brackets that way would hide their
 * depth from us, so nothing but JSON's own characters may stand outside of strings. */
static TextKind
judge (const char *data, gsize length)
{
  static const char allowed[] = " \t\r\n{}[]:,+-.0123456789eEtrufalsn";
  gboolean in_string = FALSE;
  guint depth = 0;

  for (gsize i = 0; i < length; i++) {
    char c = data[i];

    if (in_string && c == '\\')
      i++;
    else if (c == '"')
      in_string = !in_string;
    else if (in_string)
      continue;
    else if (c == '\0' || !strchr (allowed, c))
      return TEXT_FOREIGN;
    else if ((c == '{' || c == '[') && ++depth > MAX_DEPTH)
      return TEXT_DEEP;
    else if ((c == '}' || c == ']') && depth > 0)
      depth--;
  }
  return TEXT_FINE;
}

JsonObject *
avatar_json_parse (const char *data, gsize length, const char *name, GError **error)
{
  g_autoptr (JsonParser) parser = NULL;
  g_autoptr (GError) parse_error = NULL;
  JsonNode *root;
  TextKind kind;
  gsize start = 0;

  while (start < length && g_ascii_isspace (data[start]))
    start++;
  if (start == length || data[start] != '{') {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: expected a JSON object, which begins with \"{\"; found %s", name,
        start == length ? "nothing" : "something else");
    return NULL;
  }
  if (!g_utf8_validate_len (data, length, NULL)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: the JSON text is not valid UTF-8",
        name);
    return NULL;
  }
  kind = judge (data, length);
  if (kind != TEXT_FINE) {
    if (kind == TEXT_DEEP)
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: the JSON text is nested deeper than %d levels", name, MAX_DEPTH);
    else
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: not valid JSON: characters that only strings may have stand outside of one "
          "(comments and single quotes are not JSON)",
          name);
    return NULL;
  }
  parser = json_parser_new_immutable ();
  if (length > G_MAXSSIZE || !json_parser_load_from_data (parser, data, length, &parse_error)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: not valid JSON: %s", name,
        parse_error ? parse_error->message : "too long");
    return NULL;
  }
  root = json_parser_get_root (parser);
  if (!root || !JSON_NODE_HOLDS_OBJECT (root)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT, "%s: expected a JSON object", name);
    return NULL;
  }
  return json_object_ref (json_node_get_object (root));
}
