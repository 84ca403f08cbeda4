/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as JSON of objects, lists, strings and counts, which is what the cursor
 * reads. What it takes json-glib takes, too, and the values are the same; passing over a value
 * ends where reading it does. */
#include "tests/fuzz/target.h"

#include "engine/formats/json-cursor.h"
#include "engine/formats/json.h"

#define MAX_DEPTH 32

static JsonNode *read_value (AvatarJsonCursor *cursor, guint depth);

/* Free with g_free(). */
static char *
copy (AvatarJsonText s)
{
  char *text = g_strndup (s.text, s.n);

  g_assert (strlen (text) == s.n && g_utf8_validate (text, -1, NULL));
  return text;
}

/* NULL: it is no list of what the cursor reads. */
static JsonNode *
read_list (AvatarJsonCursor *cursor, gboolean object, guint depth)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autoptr (GString) scratch = g_string_new (NULL);
  AvatarJsonText name;

  avatar_json_cursor_enter (cursor, object ? '{' : '[');
  object ? json_builder_begin_object (builder) : json_builder_begin_array (builder);
  while (avatar_json_cursor_next (cursor, object ? '}' : ']')) {
    g_autofree char *member = NULL;
    JsonNode *value;

    if (object && !avatar_json_cursor_name (cursor, scratch, &name))
      return NULL;
    member = object ? copy (name) : NULL;
    value = read_value (cursor, depth + 1);
    if (!value)
      return NULL;
    if (member)
      json_builder_set_member_name (builder, member);
    json_builder_add_value (builder, value);
  }
  object ? json_builder_end_object (builder) : json_builder_end_array (builder);
  return cursor->expected ? NULL : json_builder_get_root (builder);
}

static JsonNode *
read_scalar (AvatarJsonCursor *cursor)
{
  g_autoptr (GString) scratch = g_string_new (NULL);
  g_autofree char *string = NULL;
  AvatarJsonText text;
  gint32 count;

  if (!avatar_json_cursor_is_at (cursor, '"'))
    return avatar_json_cursor_count (cursor, &count)
        ? json_node_init_int (json_node_alloc (), count)
        : NULL;
  if (!avatar_json_cursor_string (cursor, scratch, &text))
    return NULL;
  string = copy (text);
  return json_node_init_string (json_node_alloc (), string);
}

static JsonNode *
read_value (AvatarJsonCursor *cursor, guint depth)
{
  AvatarJsonCursor passing = *cursor;
  gboolean object = avatar_json_cursor_is_at (cursor, '{');
  JsonNode *value;

  if (depth > MAX_DEPTH)
    return NULL;
  value = object || avatar_json_cursor_is_at (cursor, '[') ? read_list (cursor, object, depth)
                                                           : read_scalar (cursor);
  if (value && depth > 1) {
    gboolean more = avatar_json_cursor_is_at (cursor, ',') || avatar_json_cursor_is_at (cursor, '}')
        || avatar_json_cursor_is_at (cursor, ']');

    g_assert (avatar_json_cursor_skip (&passing) == more || !more);
    g_assert (!more || passing.at == cursor->at);
  }
  return value;
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  AvatarJsonCursor cursor = avatar_json_cursor ((const char *) data, size);
  g_autoptr (JsonNode) found = read_value (&cursor, 1), root = json_node_new (JSON_NODE_OBJECT);
  g_autoptr (GError) error = NULL;
  g_autoptr (JsonObject) object = NULL;

  if (!found || !avatar_json_cursor_finish (&cursor) || !JSON_NODE_HOLDS_OBJECT (found))
    return 0;
  object = avatar_json_parse ((const char *) data, size, "fuzz", &error);
  if (error && strstr (error->message, "occurs twice"))
    return 0;
  g_assert_no_error (error);
  json_node_set_object (root, object);
  g_assert (json_node_equal (found, root));
  return 0;
}
