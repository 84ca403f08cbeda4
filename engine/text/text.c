/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Text conditioning of the demo model: tables of bytes stand in for the two text encoders.
 * states [i] = byte_embed [b_i] + pos_embed [i]; pooled = sum of byte_embed_2 [b_i] / sqrt (n). */
#include "engine/text/text.h"

#include "engine/weights/mapped.h"
#include "engine/weights/model.h"

#include <math.h>
#include <string.h>

/* dst [n] += row @row of @table [rows, n] */
static gboolean
add_row (float *dst, const AvatarTensor *table, guint row)
{
  gint64 n = table->shape[1];
  gsize size = avatar_dtype_size (table->dtype);
  g_autofree float *values = g_new (float, n);
  g_autofree guint8 *raw = g_malloc (n * size);

  if (!avatar_mapped_read (raw, (const guint8 *) table->data + row * n * size, n * size))
    return FALSE;
  avatar_dtype_to_f32 (values, raw, table->dtype, n);
  for (gint64 i = 0; i < n; i++)
    dst[i] += values[i];
  return TRUE;
}

gboolean
avatar_text_encode (AvatarModel *model, const char *prompt, float **states, guint *n,
    float **pooled, GError **error)
{
  const AvatarConfig *c = avatar_model_get_config (model);
  const char *file = NULL;
  GHashTable *tables = avatar_model_get_part (model, "text", &file);
  const AvatarTensor *embed, *embed_2, *position;
  guint dim = c->transformer.text_dim, pooled_dim = c->transformer.pooled_dim;
  const char *end;

  if (!avatar_model_has_weights (model)) {
    *n = c->text.max_states;
    *states = *pooled = NULL;
    return TRUE;
  }
  if (!tables) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_NOT_FOUND,
        "%s: its text encoders (llava_llama_image, text_encoder_2) are not read yet, so that no "
        "prompt can be encoded; to run, give text_states, or use a model that has "
        "text_stub.safetensors",
        avatar_model_get_path (model));
    return FALSE;
  }
  embed = g_hash_table_lookup (tables, "byte_embed");
  embed_2 = g_hash_table_lookup (tables, "byte_embed_2");
  position = g_hash_table_lookup (tables, "pos_embed");
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

    if (!add_row (*states + (gsize) i * dim, embed, byte)
        || !add_row (*states + (gsize) i * dim, position, i) || !add_row (*pooled, embed_2, byte)) {
      avatar_mapped_set_error (error, file, "byte_embed");
      g_clear_pointer (states, g_free);
      g_clear_pointer (pooled, g_free);
      return FALSE;
    }
  }
  for (guint i = 0; i < pooled_dim; i++)
    (*pooled)[i] /= sqrtf (*n);
  return TRUE;
}
