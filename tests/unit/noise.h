/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pictures of tools/goldens/image.py, made again. */
#pragma once

#include <avatar/image.h>

/* Noise, all of it black or white if @seed is odd. Some have shapes that no portrait may have. */
static inline AvatarImage *
make_noise (guint width, guint height, guint32 seed)
{
  AvatarImage *image = g_new (AvatarImage, 1);
  gsize n = (gsize) width * height * 3;
  guint32 state = seed;

  *image = (AvatarImage){ width, height, 3 * width, 3, g_malloc (n), 1 };
  for (gsize i = 0; i < n; i++) {
    state = state * 1664525 + 1013904223;
    image->data[i] = seed % 2 ? (state >> 31) * 255 : state >> 24;
  }
  return image;
}
