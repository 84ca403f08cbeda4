/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a file of noise for a small video. */
#include "tests/fuzz/target.h"

#include "engine/denoise/noise-file.h"

#include <math.h>

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  static const gint64 shape[4] = { 2, 2, 2, 3 };
  g_autoptr (GBytes) bytes = g_bytes_new (data, size);
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarTensorFile) file = avatar_tensor_file_open_bytes (bytes, "fuzz", NULL);
  g_auto (AvatarNoiseFile) given = { 0 };
  float z[2 * 2 * 3];

  if (!file)
    return 0;
  g_assert (avatar_noise_file_read (&given, file, "noise", shape, &error) == !error);
  g_assert (!given.values == !!error);
  for (guint j = 0; j < given.frames; j++) {
    avatar_noise_file_copy (&given, j, z, 2, 1, 0, 6);
    for (guint i = 0; i < G_N_ELEMENTS (z); i++)
      g_assert (isfinite (z[i]));
  }
  return 0;
}
