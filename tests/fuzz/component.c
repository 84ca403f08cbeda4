/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as the weights of one component of a very small model, and as the file
 * of factors next to them. The first byte selects the component, the second byte the presence of
 * factors and the refusal of unknown tensors; four more are the length of the weights. Accepted
 * weights are converted to float32. */
#include "tests/fuzz/target.h"

#include "engine/model/component.h"
#include "engine/model/config-released.h"
#include "engine/weights/weights.h"
#include "tests/named-weights.h"
#include "tests/fuzz/file.h"

#include <unistd.h>

#define HEAD 6
#define SCALES 1
#define STRICT 2

static AvatarConfig *config;
static AvatarDevice *device;
static volatile float sum;

/* The released names at sizes for which a file has a few thousand bytes. */
int
LLVMFuzzerInitialize (int *argc, char ***argv)
{
  AvatarTransformerConfig *t;

  config = avatar_config_released ();
  device = avatar_device_open ("cpu", NULL);
  t = &config->transformer;
  t->in_channels = t->out_channels = t->patch[1] = t->patch[2] = 1;
  t->hidden = t->head_dim = t->text_dim = t->pooled_dim = t->frequency_dim = 4;
  t->mlp = t->adapter_dim = t->audio_intermediate = 4;
  t->n_double = t->n_single = t->n_adapters = t->refiner_depth = t->audio_tokens = 1;
  t->audio_steps = t->audio_states = t->audio_channels = 1;
  config->whisper = (AvatarWhisperConfig){ 2, 4, 1, 1, 8, 3 };
  config->text.max_states = 2;
  config->llava = (AvatarLlavaConfig){ .hidden = 4, .layers = 3, .heads = 1, .kv_heads = 1 };
  config->llava.head_dim = config->llava.mlp = config->llava.vocab = 4;
  config->llava.vision = (AvatarTowerConfig){ 4, 2, 1, 4, 1e-5 };
  config->llava.image = config->llava.patch = 1;
  config->clip = (AvatarClipConfig){ { 4, 1, 1, 8, 1e-5 }, 5, 3 };
  return 0;
}

/* Every tensor of the table in the memory of a stage. */
static void
load (const AvatarComponent *component, AvatarComponentKind kind)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarWeights) weights = NULL;
  g_auto (NamedWeights) names = { 0 };

  named_weights_init (&names, 0);
  named_weights_add_all (&names, component->tensors);
  weights = avatar_weights_new_from_table (component->tensors, device, kind, names.list, NULL,
      AVATAR_WEIGHTS_LOAD, &error);
  g_assert_no_error (error);
  for (guint k = 0; k < names.list->entries->len; k++) {
    AvatarTensor t = avatar_weight_tensor (*avatar_weight_list_nth (names.list, k)->handle);

    g_assert (t.dtype == AVATAR_F32 && t.data);
    for (gsize i = 0; i < avatar_tensor_bytes (t) / sizeof (float); i++)
      sum += ((float *) t.data)[i];
  }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  AvatarComponent component = { 0 };
  AvatarComponentKind kind;
  char path[64], scales_path[64];
  guint32 n;
  int fd, scales = -1;

  if (size < HEAD)
    return 0;
  kind = data[0] % AVATAR_N_COMPONENTS;
  memcpy (&n, data + 2, 4);
  n = MIN (GUINT32_FROM_LE (n), size - HEAD);
  fd = avatar_fuzz_file (data + HEAD, n, path);
  if (data[1] & SCALES)
    scales = avatar_fuzz_file (data + HEAD + n, size - HEAD - n, scales_path);
  if (avatar_component_open (&component, kind, path, scales >= 0 ? scales_path : NULL, config,
          data[1] & STRICT ? AVATAR_UNKNOWN_TENSORS_REFUSE : AVATAR_UNKNOWN_TENSORS_SKIP, &error))
    load (&component, kind);
  else
    g_assert (error);
  avatar_component_clear (&component);
  close (fd);
  if (scales >= 0)
    close (scales);
  return 0;
}
