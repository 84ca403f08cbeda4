/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a LoRA of a very small transformer. What is accepted is added up. */
#include "tests/fuzz/target.h"

#include "engine/model/lora.h"
#include "engine/model/config-released.h"

/* The released names at sizes for which a file has a few hundred bytes. */
static AvatarConfig *
small_config (void)
{
  AvatarConfig *config = avatar_config_released ();

  config->transformer.hidden = 4;
  config->transformer.mlp = 8;
  config->transformer.n_double = config->transformer.n_single = 2;
  config->transformer.n_adapters = 1;
  return config;
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static AvatarConfig *config = NULL;
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (GError) error = NULL;
  AvatarTensorFile *file = avatar_tensor_file_open_bytes (bytes, "fuzz", NULL);
  g_autoptr (GPtrArray) loras = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_lora_free);
  static const char *const tensors[]
      = { "double_blocks.0.img_attn_qkv.weight", "single_blocks.1.linear1.weight" };
  AvatarLora *lora;

  if (!file)
    return 0;
  if (!config)
    config = small_config ();
  lora = avatar_lora_new (file, config, 1, &error);
  g_assert (!lora == !!error);
  if (!lora)
    return 0;
  g_ptr_array_add (loras, lora);
  g_assert (avatar_lora_n_tensors (lora) > 0);
  g_assert (!avatar_lora_n_unknown (lora) == !avatar_lora_get_unknown (lora));
  for (guint i = 0; i < G_N_ELEMENTS (tensors); i++)
    g_free (avatar_lora_sum (loras, NULL, tensors[i], i, 12, 4));
  return 0;
}
