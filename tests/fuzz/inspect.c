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
  g_autoptr (AvatarInspectedComponent) part = NULL;
  guint64 n = 0, bytes = 0;
  char path[64];
  int fd = avatar_fuzz_file (data, size, path);

  if (!config)
    config = avatar_config_released ();
  part = avatar_inspect_loose (path, config);
  close (fd);
  g_assert (part->name && part->format && part->n_files == 1 && part->file_bytes == size);
  g_assert ((part->state == AVATAR_INSPECT_FINE) == !part->problem);
  for (guint i = 0; i < AVATAR_N_DTYPES; i++) {
    n += part->tallies[i].n;
    bytes += part->tallies[i].bytes;
  }
  g_assert (n == part->total.n && bytes == part->total.bytes);
  return 0;
}
