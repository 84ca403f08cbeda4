/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a file for avatar-inspect. Each file gets a kind, and a reason if it is
 * unusable. */
#include "tests/fuzz/target.h"

#include "engine/inspect/inspect-file.h"
#include "engine/inspect/inspect-loose.h"
#include "engine/model/config-released.h"
#include "tests/fuzz/file.h"

#include <unistd.h>

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static AvatarConfig *config;
  g_autoptr (AvatarInspectedComponent) component = NULL;
  guint64 n = 0, bytes = 0;
  char path[64];
  int fd = avatar_fuzz_file (data, size, path);

  if (!config)
    config = avatar_config_released ();
  component = avatar_inspect_loose (path, config);
  close (fd);
  g_assert (component->name && component->format && component->n_files == 1
      && component->file_bytes == size);
  g_assert ((component->state == AVATAR_INSPECT_FINE) == !component->problem);
  for (guint i = 0; i < AVATAR_N_DTYPES; i++) {
    n += component->tallies[i].n;
    bytes += component->tallies[i].bytes;
  }
  g_assert (n == component->total.n && bytes == component->total.bytes);
  return 0;
}
