/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test material: safetensors files made in memory. */
#pragma once

#include "engine/formats/safetensors.h"

#include <math.h>
#include <string.h>

/* A file of @header and @n_data bytes 0, 1, 2 ... */
static inline GBytes *
table_new (const char *header, gsize n_data)
{
  GByteArray *file = g_byte_array_new ();
  guint64 length = GUINT64_TO_LE (strlen (header));

  g_byte_array_append (file, (const guint8 *) &length, 8);
  g_byte_array_append (file, (const guint8 *) header, strlen (header));
  for (gsize i = 0; i < n_data; i++) {
    guint8 byte = (guint8) i;

    g_byte_array_append (file, &byte, 1);
  }
  return g_byte_array_free_to_bytes (file);
}
