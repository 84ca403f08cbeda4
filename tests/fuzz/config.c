/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a model's config.json, or as a text encoder's. What is accepted must be
 * safe to compute with. */
#include "tests/fuzz/target.h"

#include "engine/model/config-text-encoder.h"

static void
try_encoders (const char *json)
{
  AvatarLlavaConfig l;
  AvatarClipConfig c;

  if (avatar_config_read_llava (&l, json, "fuzz", NULL)) {
    g_assert (l.hidden == l.heads * l.head_dim && l.head_dim % 2 == 0);
    g_assert (l.kv_heads > 0 && l.heads % l.kv_heads == 0 && l.layers >= 3 && l.mlp > 0);
    g_assert (l.vision.hidden % l.vision.heads == 0 && l.vision.layers >= 2);
    g_assert (l.image / l.patch >= 1 && l.image % l.patch == 0 && l.vocab > 0);
  }
  if (avatar_config_read_clip (&c, json, "fuzz", NULL))
    g_assert (c.tower.hidden % c.tower.heads == 0 && c.tower.layers > 0 && c.positions >= 3);
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *text = g_strndup ((const char *) data, size);
  g_autoptr (AvatarConfig) config = avatar_config_parse ((const char *) data, size, "fuzz", &error);

  g_assert (!config == !!error);
  try_encoders (text);
  if (config) {
    const AvatarTransformerConfig *t = &config->transformer;

    g_assert (t->heads > 0 && t->hidden == t->heads * t->head_dim);
    g_assert (t->rope_dim[0] + t->rope_dim[1] + t->rope_dim[2] == t->head_dim);
    g_assert (t->n_adapters <= AVATAR_MAX_BLOCKS);
    g_assert (config->vae.n_stages <= AVATAR_MAX_STAGES && config->vae.groups > 0);
    g_assert (config->fps > 0 && config->sample_rate > 0 && config->size > 0);
  }
  return 0;
}
