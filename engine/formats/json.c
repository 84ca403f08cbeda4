/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Checks before json-glib parses a file. json-glib parses recursively, accepts more than JSON, and
 * needs quadratic time if a name is repeated, which can be minutes for a few MiB. The depth, the
 * text encoding, the type of the root and repeated names are therefore checked first. */
#include "engine/formats/json.h"

#include "engine/formats/json-cursor.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

/* Limit of the size of a configuration (bytes). */
#define MAX_CONFIG (1u << 20)
#define MAX_DEPTH 32
/* Number of bytes of a name that are shown in an error. */
#define MAX_SHOWN 200

typedef enum
{
  TEXT_VALID,
  TEXT_TOO_DEEP,
  TEXT_BAD_CHARACTER,
  TEXT_BAD_ESCAPE,
  TEXT_SECOND_VALUE,
} TextKind;

/* Checks the depth, the characters, and that there is one value. json-glib also accepts comments
 * and single quotes, which could hide brackets from the check of the depth. Only characters of JSON
 * are therefore allowed outside strings. Of several lists or objects json-glib 1.6 reads the first
 * one, and 1.10 aborts the process. */
static TextKind
check_text (const char *data, gsize length)
{
  static const char allowed[] = " \t\r\n{}[]:,+-.0123456789eEtrufalsn";
  gboolean in_string = FALSE;
  guint depth = 0, n_values = 0;

  for (gsize i = 0; i < length; i++) {
    char c = data[i];

    /* json-glib accepts a quote instead of a digit, and would find other strings */
    if (in_string && c == '\\') {
      gunichar escaped;
      const char *end = avatar_json_read_escape (data + i + 1, data + length, &escaped);

      if (!end)
        return TEXT_BAD_ESCAPE;
      i = end - data - 1;
    } else if (c == '"')
      in_string = !in_string;
    else if (in_string)
      continue;
    else if (c == '\0' || !strchr (allowed, c))
      return TEXT_BAD_CHARACTER;
    else if ((c == '{' || c == '[') && depth == 0 && ++n_values > 1)
      return TEXT_SECOND_VALUE;
    else if ((c == '{' || c == '[') && ++depth > MAX_DEPTH)
      return TEXT_TOO_DEEP;
    else if ((c == '}' || c == ']') && depth > 0)
      depth--;
  }
  return TEXT_VALID;
}

/* Appends the character of the escape at @p, after the backslash. Returns the end of the escape, or
 * NULL if it is not an escape of JSON or its character is not allowed in a name. */
static const char *
unescape (const char *p, const char *end, GString *out)
{
  gunichar c;

  p = avatar_json_read_escape (p, end, &c);
  if (!p || c == 0)
    return NULL;
  g_string_append_unichar (out, c);
  return p;
}

/* Returns the name between @p and @end with decoded escapes, or NULL if an escape is invalid. */
static char *
read_name (const char *p, const char *end)
{
  GString *name;

  if (!memchr (p, '\\', end - p))
    return g_strndup (p, end - p);
  name = g_string_new (NULL);
  while (p && p < end)
    if (*p == '\\')
      p = unescape (p + 1, end, name);
    else
      g_string_append_c (name, *p++);
  return g_string_free (name, p == NULL);
}

/* Returns the end of the string that begins at @i, or @length. */
static gsize
string_end (const char *data, gsize length, gsize i)
{
  while (i < length && data[i] != '"')
    i += data[i] == '\\' ? 2 : 1;
  return MIN (i, length);
}

/* Returns TRUE if the string that ends at @after is the name of a member. */
static gboolean
is_name (const char *data, gsize length, gsize after)
{
  while (after < length && g_ascii_isspace (data[after]))
    after++;
  return after < length && data[after] == ':';
}

/* Returns TRUE if a name is invalid or is repeated in an object. The depth must have been checked.
 * @found: (out): this name, as it is written */
static gboolean
find_bad_name (const char *data, gsize length, char **found)
{
  GHashTable *names[MAX_DEPTH + 1] = { NULL };
  guint depth = 0;

  *found = NULL;
  for (gsize i = 0; i < length && !*found; i++) {
    gsize start = i + 1;
    char *name;

    if (data[i] == '{' || data[i] == '[') {
      depth++;
    } else if ((data[i] == '}' || data[i] == ']') && depth > 0) {
      g_clear_pointer (&names[depth], g_hash_table_unref);
      depth--;
    }
    if (data[i] != '"')
      continue;
    i = string_end (data, length, start);
    if (!is_name (data, length, i + 1))
      continue;
    if (!names[depth])
      names[depth] = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
    name = read_name (data + start, data + i);
    if (!name || !g_hash_table_add (names[depth], name))
      *found = g_strndup (data + start, MIN (i - start, MAX_SHOWN));
  }
  for (guint i = 0; i <= MAX_DEPTH; i++)
    g_clear_pointer (&names[i], g_hash_table_unref);
  return *found != NULL;
}

JsonObject *
avatar_json_parse (const char *data, gsize length, const char *name, GError **error)
{
  g_autoptr (JsonParser) parser = NULL;
  g_autoptr (GError) parse_error = NULL;
  JsonNode *root;
  g_autofree char *bad = NULL;
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
  kind = check_text (data, length);
  if (kind != TEXT_VALID) {
    if (kind == TEXT_TOO_DEEP)
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: the JSON text is nested deeper than %d levels", name, MAX_DEPTH);
    else if (kind == TEXT_BAD_ESCAPE)
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: not valid JSON: a backslash in a string begins an invalid escape, or half of a "
          "surrogate pair",
          name);
    else if (kind == TEXT_SECOND_VALUE)
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: not valid JSON: found another value after the JSON object, expected the end", name);
    else
      g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
          "%s: not valid JSON: found a character outside of strings that is allowed only in strings; "
          "remove comments and single quotes",
          name);
    return NULL;
  }
  if (find_bad_name (data, length, &bad)) {
    g_autofree char *shown = g_utf8_make_valid (bad, -1);

    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: the name \"%s\" occurs twice in one JSON object, or is not a valid string", name,
        shown);
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

char *
avatar_json_read_config (const char *path, gsize *length, GError **error)
{
  return avatar_json_read (path, MAX_CONFIG, "a configuration", length, error);
}

char *
avatar_json_read (const char *path, gsize max_bytes, const char *kind, gsize *length,
    GError **error)
{
  g_autoptr (GError) read_error = NULL;
  char *text = NULL;
  GStatBuf st;

  /* Checked before opening: a pipe would block, and a device could fill the memory. */
  if (g_stat (path, &st) < 0) {
    gboolean missing = errno == ENOENT || errno == ENOTDIR;

    g_set_error (error, AVATAR_ERROR, missing ? AVATAR_ERROR_NOT_FOUND : AVATAR_ERROR_READ,
        "%s: %s", path, missing ? "there is no such file" : g_strerror (errno));
    return NULL;
  }
  if (!S_ISREG (st.st_mode)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ,
        "%s: this is not a regular file; expected %s", path, kind);
    return NULL;
  }
  if (st.st_size < 0 || (guint64) st.st_size > max_bytes) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_FORMAT,
        "%s: %" G_GINT64_FORMAT " bytes; %s has at most %" G_GSIZE_FORMAT, path,
        (gint64) st.st_size, kind, max_bytes);
    return NULL;
  }
  if (!g_file_get_contents (path, &text, length, &read_error))
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_READ, "%s: %s", path, read_error->message);
  return text;
}
