/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of the EXIF orientation, from a TIFF header and its first directory. */
#include "engine/image/exif.h"

#include <string.h>

#define ORIENTATION 0x0112
#define SHORT 3
#define LONG 4
#define ENTRY 12

typedef struct
{
  const guint8 *bytes;
  gsize n;
  gboolean big_endian;
} Tiff;

/* Returns 0 at the end of the data. */
static guint32
get (const Tiff *tiff, gsize at, guint n_bytes)
{
  guint32 value = 0;

  if (at > tiff->n || tiff->n - at < n_bytes)
    return 0;
  for (guint i = 0; i < n_bytes; i++)
    value = value << 8 | tiff->bytes[at + (tiff->big_endian ? i : n_bytes - 1 - i)];
  return value;
}

guint
avatar_exif_orientation (const guint8 *bytes, gsize n)
{
  Tiff tiff = { bytes, n, n >= 2 && memcmp (bytes, "MM", 2) == 0 };
  gsize directory = get (&tiff, 4, 4);
  guint entries = get (&tiff, directory, 2);

  if ((!tiff.big_endian && (n < 2 || memcmp (bytes, "II", 2) != 0)) || get (&tiff, 2, 2) != 42)
    return 1;
  for (guint i = 0; i < entries; i++) {
    gsize at = directory + 2 + (gsize) i * ENTRY;
    guint type = get (&tiff, at + 2, 2);

    if (get (&tiff, at, 2) == ORIENTATION && (type == SHORT || type == LONG)) {
      guint value = get (&tiff, at + 8, type == SHORT ? 2 : 4);

      return value >= 1 && value <= 8 ? value : 1;
    }
  }
  return 1;
}
