/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hashes all data that an encoded prompt depends on by SHA-256. VERSION must be raised when the
 * computation changes: entries of another version are not found, and are removed as the oldest. */
#include "engine/text/prompt-cache-key.h"

#include "engine/formats/tensor-source.h"
#include "engine/model/model.h"

#include <string.h>

#define VERSION "gst-avatar text 1"
/* Number of bytes that are sampled from the middle of every tensor. */
#define SAMPLE 256

static void
add_text (GChecksum *sum, const char *text)
{
  g_checksum_update (sum, (const guchar *) text, strlen (text) + 1);
}

static void
add_number (GChecksum *sum, double value)
{
  char text[G_ASCII_DTOSTR_BUF_SIZE];

  add_text (sum, g_ascii_dtostr (text, sizeof text, value));
}

static gboolean
add_weights (GChecksum *sum, AvatarModel *model, AvatarComponentKind component)
{
  GHashTable *tensors = avatar_model_get_component (model, component, NULL);
  g_autoptr (GList) names = tensors ? g_hash_table_get_keys (tensors) : NULL;
  guint8 sample[SAMPLE];

  names = g_list_sort (names, (GCompareFunc) strcmp);
  for (GList *l = names; l; l = l->next) {
    const AvatarTensorSource *t = g_hash_table_lookup (tensors, l->data);
    g_autofree char *text = avatar_tensor_source_describe (t);
    gsize size = avatar_dtype_size (t->dtype);
    guint64 all = avatar_tensor_source_n (t), n = MIN (all, SAMPLE / size);

    add_text (sum, l->data);
    add_text (sum, text);
    if (!avatar_tensor_source_read_stored (t, (all - n) / 2, n, sample, NULL))
      return FALSE;
    g_checksum_update (sum, sample, n * size);
  }
  return names != NULL;
}

static void
add_tower (GChecksum *sum, const AvatarTowerConfig *c)
{
  const double numbers[] = { c->hidden, c->layers, c->heads, c->mlp, c->eps };

  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    add_number (sum, numbers[i]);
}

/* Adds the settings that do not follow from the shapes of tensors. */
static void
add_config (GChecksum *sum, const AvatarConfig *config)
{
  const AvatarLlavaConfig *c = &config->llava;
  const double numbers[] = { c->hidden, c->layers, c->heads, c->kv_heads, c->mlp, c->eps,
    c->rope_theta, c->image, c->patch };

  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    add_number (sum, numbers[i]);
  add_tower (sum, &c->vision);
  add_tower (sum, &config->clip.tower);
}

static void
add_ids (GChecksum *sum, const AvatarEncoding *prompt)
{
  const guint numbers[]
      = { prompt->llava.n, prompt->llava.length, prompt->llava.crop, prompt->n, prompt->clip.eos };

  for (guint i = 0; i < G_N_ELEMENTS (numbers); i++)
    add_number (sum, numbers[i]);
  for (guint i = 0; i < prompt->llava.n; i++)
    add_number (sum, prompt->llava.ids[i]);
  for (guint i = 0; i <= prompt->clip.eos; i++)
    add_number (sum, prompt->clip.ids[i]);
}

char *
avatar_prompt_cache_key (AvatarModel *model, const AvatarEncoding *prompt,
    const AvatarImage *square, const char *options)
{
  g_autoptr (GChecksum) sum = g_checksum_new (G_CHECKSUM_SHA256);

  add_text (sum, VERSION);
  add_text (sum, options);
  add_config (sum, avatar_model_get_config (model));
  if (!add_weights (sum, model, AVATAR_COMPONENT_LLAVA)
      || !add_weights (sum, model, AVATAR_COMPONENT_CLIP))
    return NULL;
  add_ids (sum, prompt);
  for (guint y = 0; y < square->height; y++)
    g_checksum_update (sum, square->data + (gsize) y * square->stride, 3 * square->width);
  return g_strdup (g_checksum_get_string (sum));
}
