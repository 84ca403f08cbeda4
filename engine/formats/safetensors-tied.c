/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Two writers record tied tensors. save_model() of safetensors writes {tied: kept} into the
 * metadata; mmgp writes {kept: [tied, ...]} as JSON in base64
 * (docs/dev/spec/vae-text-face-formats.md 5.4). */
#include "engine/formats/safetensors-tied.h"

#include "engine/formats/json.h"

#include <string.h>

static void
add_list (GHashTable *names, const char *kept, JsonNode *node)
{
  JsonArray *list = JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;

  for (guint i = 0; list && i < json_array_get_length (list); i++) {
    JsonNode *item = json_array_get_element (list, i);
    const char *tied = JSON_NODE_HOLDS_VALUE (item) ? json_node_get_string (item) : NULL;

    if (tied)
      g_hash_table_insert (names, g_strdup (tied), g_strdup (kept));
  }
}

/* Ignores an invalid map: tensors that are needed are then reported as missing. */
static void
add_map (GHashTable *names, const char *base64)
{
  gsize length;
  g_autofree guchar *text = g_base64_decode (base64, &length);
  g_autoptr (JsonObject) map
      = avatar_json_parse ((const char *) text, length, "tied_weights_map_base64", NULL);
  g_autoptr (GList) kept = map ? json_object_get_members (map) : NULL;

  for (GList *l = kept; l; l = l->next)
    add_list (names, l->data, json_object_get_member (map, l->data));
}

GHashTable *
avatar_tied_names (JsonObject *metadata)
{
  GHashTable *names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (GList) keys = json_object_get_members (metadata);

  for (GList *l = keys; l; l = l->next) {
    JsonNode *node = json_object_get_member (metadata, l->data);
    const char *value = JSON_NODE_HOLDS_VALUE (node) ? json_node_get_string (node) : NULL;

    if (value && strcmp (l->data, "tied_weights_map_base64") == 0)
      add_map (names, value);
    else if (value)
      g_hash_table_insert (names, g_strdup (l->data), g_strdup (value));
  }
  return names;
}
