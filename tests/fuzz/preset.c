/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a preset. What is accepted can be applied, and its schedule is one. */
#include "tests/fuzz/target.h"

#include "engine/denoise/preset.h"

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarPreset) preset
      = avatar_preset_parse ((const char *) data, size, "folder/preset.json", &error);
  AvatarDenoiseSettings s = { .steps = 7 };

  g_assert ((preset != NULL) == (error == NULL));
  if (!preset)
    return 0;
  avatar_preset_apply (preset, &s);
  g_assert (s.steps >= 1 && s.steps <= 1000);
  g_assert (s.n_sigmas == 0 || (s.n_sigmas == s.steps && s.sigmas));
  g_assert (s.guidance_scale >= 0 && s.guidance_border <= 1);
  for (guint i = 0; i < s.n_loras; i++)
    g_assert (*s.loras[i].path);
  return 0;
}
