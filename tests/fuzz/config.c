/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a model's config.json. What is accepted must be safe to compute with. */
#include "tests/fuzz/target.h"

#include "engine/weights/config.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarConfig) config = avatar_config_parse ((const char *) data, size, "fuzz", &error);

  g_assert (!config == !!error);
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
