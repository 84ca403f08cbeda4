/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a portrait file, through our own loader. Pictures are read to their
 * last pixel, and scaled. */
#include "tests/fuzz/target.h"

#include "engine/image/resample.h"
#include "tests/fuzz/file.h"

#include <unistd.h>

static volatile guint8 sum; /* keeps the reads */

static void
scale (const AvatarImage *image)
{
  const float w = image->width, h = image->height;
  const AvatarRegion regions[] = { { 0, 0, w, h }, { w / 3, h / 7, w / 2, h } };

  for (guint i = 0; i < G_N_ELEMENTS (regions); i++) {
    g_autoptr (AvatarImage) scaled
        = avatar_resample (image, regions[i], AVATAR_FILTER_LANCZOS, 33, 16, NULL);

    g_assert (scaled && scaled->width == 33 && scaled->height == 16);
  }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) image = NULL;
  char path[64];
  int fd = avatar_fuzz_file (data, size, path);

  image = avatar_image_load (path, &error);
  close (fd);
  g_assert (!image == !!error);
  if (image) {
    g_assert (image->channels == 3 || image->channels == 4);
    for (guint y = 0; y < image->height; y++)
      for (guint x = 0; x < image->width * image->channels; x++)
        sum += image->data[(gsize) y * image->stride + x];
    if (image->channels == 3)
      scale (image);
  }
  return 0;
}
