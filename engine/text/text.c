/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text conditioning of the demo model: tables of byte embeddings replace the two text encoders.
 * states [i] = byte_embed [b_i] + pos_embed [i]; pooled = sum of byte_embed_2 [b_i] / sqrt (n). */
#include "engine/text/text.h"

#include "engine/text/embedding-rows.h"
#include "engine/model/model.h"

#include <math.h>
#include <string.h>

gboolean
avatar_text_encode (AvatarModel *model, const char *prompt, float **states, guint *n,
    float **pooled, GError **error)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  GHashTable *tables = avatar_model_get_component (model, AVATAR_COMPONENT_TEXT, NULL);
  guint dim = c->transformer.text_dim, pooled_dim = c->transformer.pooled_dim;
  const char *end;

  if (!avatar_model_has_weights (model)) {
    *n = c->text.max_states;
    *states = *pooled = NULL;
    return TRUE;
  }
  if (!tables) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: the configuration has text.kind \"bytes\", but text_stub.safetensors, which encodes "
        "prompts, is missing; set text_states, or set text.kind to \"llava+clip\" and download the "
        "text encoders",
        avatar_model_get_path (model));
    return FALSE;
  }
  prompt = prompt ? prompt : "";
  if (!g_utf8_validate (prompt, -1, &end)) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_SETTINGS,
        "the prompt is not valid UTF-8 at byte %" G_GSIZE_FORMAT "; convert the text to UTF-8",
        (gsize) (end - prompt));
    return FALSE;
  }
  *n = (guint) MIN (strlen (prompt) + 1, c->text.max_states);
  *states = g_new0 (float, (gsize) *n *dim);
  *pooled = g_new0 (float, pooled_dim);
  for (guint i = 0; i < *n; i++) {
    guint byte = i ? (guint8) prompt[i - 1] : c->text.bos_byte;

    if (!avatar_embedding_add_row (*states + (gsize) i * dim, tables, "byte_embed", byte, error)
        || !avatar_embedding_add_row (*states + (gsize) i * dim, tables, "pos_embed", i, error)
        || !avatar_embedding_add_row (*pooled, tables, "byte_embed_2", byte, error)) {
      g_clear_pointer (states, g_free);
      g_clear_pointer (pooled, g_free);
      return FALSE;
    }
  }
  for (guint i = 0; i < pooled_dim; i++)
    (*pooled)[i] /= sqrtf (*n);
  return TRUE;
}
