/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as an entry of the cache of encoded prompts. An accepted entry has the
 * checksum that it states; it is read a second time to verify this. */
#include "tests/fuzz/target.h"

#include "engine/text/prompt-cache.h"
#include "tests/fuzz/file.h"

#define STATES 6
#define POOLED 4

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  const AvatarPromptCache cache = { avatar_fuzz_folder (), 1 << 20 };
  float states[STATES], pooled[POOLED], again[STATES], pooled_again[POOLED];

  avatar_fuzz_folder_put ("0.safetensors", data, size);
  if (!avatar_prompt_cache_load (&cache, "0", states, STATES, pooled, POOLED))
    return 0;
  g_assert (avatar_prompt_cache_load (&cache, "0", again, STATES, pooled_again, POOLED));
  g_assert (memcmp (states, again, sizeof states) == 0);
  g_assert (memcmp (pooled, pooled_again, sizeof pooled) == 0);
  return 0;
}
