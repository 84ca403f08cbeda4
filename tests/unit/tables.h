/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Test material: safetensors files made in memory, golden files, and distances between tensors. */
#pragma once

#include "engine/weights/safetensors.h"

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

/* A file below tests/golden. */
static inline AvatarSafetensors *
golden_open (const char *name)
{
  g_autofree char *path = g_build_filename (AVATAR_GOLDEN_DIR, name, NULL);
  GError *error = NULL;
  AvatarSafetensors *file = avatar_safetensors_open (path, &error);

  g_assert_no_error (error);
  return file;
}

/* The float32 tensor @name, copied to where it is aligned. Free its data with g_free(). */
static inline AvatarTensor
golden_get (AvatarSafetensors *file, const char *name)
{
  AvatarTensor t;

  if (!avatar_safetensors_get (file, name, &t))
    g_error ("%s has no tensor %s", avatar_safetensors_get_name (file), name);
  g_assert_cmpint (t.dtype, ==, AVATAR_F32);
  t.data = g_memdup2 (t.data, avatar_tensor_bytes (t));
  return t;
}

/* |a - b| / |b| */
static inline double
relative_distance (const float *a, const float *b, gsize n)
{
  double difference = 0, norm = 0;

  for (gsize i = 0; i < n; i++) {
    difference += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
    norm += (double) b[i] * b[i];
  }
  return sqrt (difference / MAX (norm, 1e-30));
}
