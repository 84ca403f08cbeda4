/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as the __metadata__ that lists tied tensors, and as the map that mmgp
 * stores there in base64. */
#include "tests/fuzz/target.h"

#include "engine/formats/json.h"
#include "engine/formats/safetensors-tied.h"

static void
check (JsonObject *metadata)
{
  g_autoptr (GHashTable) names = avatar_tied_names (metadata);
  GHashTableIter iter;
  gpointer left_out, kept;

  g_hash_table_iter_init (&iter, names);
  while (g_hash_table_iter_next (&iter, &left_out, &kept))
    g_assert (g_utf8_validate (left_out, -1, NULL) && g_utf8_validate (kept, -1, NULL));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (JsonObject) metadata = avatar_json_parse ((const char *) data, size, "fuzz", NULL);
  g_autoptr (JsonObject) wrapped = json_object_new ();
  g_autofree char *base64 = g_base64_encode (data, size);

  if (metadata)
    check (metadata);
  json_object_set_string_member (wrapped, "tied_weights_map_base64", base64);
  check (wrapped);
  return 0;
}
