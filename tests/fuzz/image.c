/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as a portrait file, through our own loader. Pictures are read to their
 * last pixel. */
#define _GNU_SOURCE
#include "tests/fuzz/target.h"

#include <avatar/image.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (AvatarImage) image = NULL;
  char path[64];
  int fd = memfd_create ("fuzz", MFD_CLOEXEC);
  volatile guint8 sum = 0;

  g_assert (fd >= 0 && write (fd, data, size) == (gssize) size);
  g_snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  image = avatar_image_load (path, &error);
  close (fd);
  g_assert (!image == !!error);
  if (image) {
    g_assert (image->channels == 3 || image->channels == 4);
    for (guint y = 0; y < image->height; y++)
      for (guint x = 0; x < image->width * image->channels; x++)
        sum += image->data[(gsize) y * image->stride + x];
  }
  return 0;
}
