/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes, split at zeros, as the configurations of a model in the released tree:
 * of the transformer, the VAE, Whisper, LLaVA and CLIP. A missing text is a missing file.
 * Accepted configurations give the list of tensors of each component. */
#include "tests/fuzz/target.h"

#include "engine/model/config-text-encoder.h"
#include "engine/model/layout.h"
#include "engine/model/manifest.h"
#include "tests/fuzz/file.h"

#define VIDEO "ckpts/hunyuan-video-t2v-720p/"

static const char *const configs[] = { VIDEO "transformers/" AVATAR_LAYOUT_CONFIG,
  VIDEO "vae/config.json", "ckpts/whisper-tiny/config.json", "ckpts/llava_llama_image/config.json",
  "ckpts/text_encoder_2/config.json" };

int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  static const char *const weights[] = { VIDEO "transformers/mp_rank_00_model_states.pt",
    VIDEO "vae/pytorch_model.pt", "ckpts/whisper-tiny/model.safetensors" };

  for (guint i = 0; i < G_N_ELEMENTS (weights); i++)
    avatar_fuzz_folder_put (weights[i], NULL, 0);
  for (guint i = 0; i < G_N_ELEMENTS (configs); i++) /* makes their folders */
    avatar_fuzz_folder_put (configs[i], NULL, 0);
  return 0;
}

static void
write_configs (const guint8 *data, gsize size)
{
  const guint8 *end = data + size;

  for (guint i = 0; i < G_N_ELEMENTS (configs); i++) {
    const guint8 *zero = data < end ? memchr (data, 0, end - data) : NULL;
    const guint8 *stop = zero ? zero : end;

    if (data < stop)
      avatar_fuzz_folder_put (configs[i], data, stop - data);
    else
      avatar_fuzz_folder_drop (configs[i]);
    data = zero ? zero + 1 : end;
  }
}

static void
check (const AvatarLayout *layout)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarConfig) config = avatar_config_parse (layout->config, -1, "fuzz", &error);

  g_assert (!config == !!error);
  if (!config || !avatar_config_read_llava (&config->llava, layout->llava_config, "fuzz", NULL)
      || !avatar_config_read_clip (&config->clip, layout->clip_config, "fuzz", NULL)
      || !avatar_config_check_text (config, "fuzz", "fuzz", NULL))
    return;
  for (AvatarComponentKind i = 0; i < AVATAR_N_COMPONENTS; i++) {
    g_autoptr (GArray) manifest = avatar_manifest_new (config, i);

    g_assert (manifest->len > 0);
    for (guint k = 0; k < manifest->len; k++) {
      const AvatarManifestEntry *entry = &g_array_index (manifest, AvatarManifestEntry, k);

      for (guint d = 0; d < entry->rank; d++)
        g_assert (entry->shape[d] > 0);
    }
  }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_auto (AvatarLayout) layout = { 0 }, survey = { 0 };
  gboolean found;

  write_configs (data, size);
  g_assert (avatar_layout_is_known (avatar_fuzz_folder ()));
  found = avatar_layout_find (&layout, avatar_fuzz_folder (), &error);
  g_assert (found == !error);
  g_assert (avatar_layout_survey (&survey, avatar_fuzz_folder (), NULL) == found);
  if (found)
    check (&layout);
  return 0;
}
