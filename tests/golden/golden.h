/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading golden tensors and comparing with them. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/formats/safetensors.h"
#include "engine/weights/weights.h"

#include <math.h>

G_BEGIN_DECLS

/* A file below tests/golden; aborts the test if it cannot be read. */
static inline AvatarSafetensors *
golden_open (const char *name)
{
  g_autofree char *path = g_build_filename (GOLDEN_DIR, name, NULL);
  g_autoptr (GError) error = NULL;
  AvatarSafetensors *file = avatar_safetensors_open (path, &error);

  g_assert_no_error (error);
  return file;
}

/* The tensor @name without its leading dimensions of 1, as float32; free the data. */
static inline AvatarTensor
golden_get (AvatarSafetensors *file, const char *name)
{
  g_autoptr (GError) error = NULL;
  AvatarTensorSource t;
  AvatarTensor out;
  guint skip = 0;

  if (!avatar_safetensors_get (file, name, &t))
    g_error ("golden tensor %s is missing", name);
  while (skip + 1 < t.rank && t.shape[skip] == 1)
    skip++;
  out = avatar_tensor_of_shape (AVATAR_F32, avatar_tensor_source_read_all (&t, &error),
      t.rank - skip, t.shape + skip);
  g_assert_no_error (error);
  return out;
}

/* ||a - b|| / ||b|| over @n values; NaN is infinitely wrong. */
static inline double
golden_error (const float *a, const float *b, gsize n)
{
  double difference = 0, norm = 0;

  for (gsize i = 0; i < n; i++) {
    if (!isfinite (a[i]))
      return INFINITY;
    difference += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
    norm += (double) b[i] * b[i];
  }
  return sqrt (difference / (norm > 0 ? norm : 1));
}

static inline void
golden_compare (AvatarSafetensors *file, const char *name, const float *ours, gsize n, double limit)
{
  AvatarTensor golden = golden_get (file, name);
  double error;

  g_assert_cmpint (avatar_tensor_n (golden), >=, n);
  error = golden_error (ours, golden.data, n);
  g_test_message ("%s: relative L2 error %.3g (limit %g)", name, error, limit);
  if (!(error <= limit))
    g_error ("%s: relative L2 error %.3g is above %g", name, error, limit);
  g_free (golden.data);
}

/* The weights of @list under @prefix of a golden file. */
static inline AvatarWeights *
golden_weights (AvatarSafetensors *file, const char *prefix, AvatarDevice *device,
    AvatarComponentKind component, const AvatarWeightList *list)
{
  g_autoptr (GHashTable) table = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autoptr (GError) error = NULL;
  AvatarWeights *weights;
  AvatarTensorSource t;

  for (guint i = 0; i < avatar_safetensors_n (file); i++) {
    const char *name = avatar_safetensors_nth (file, i, &t);

    if (g_str_has_prefix (name, prefix))
      g_hash_table_insert (table, g_strdup (name + strlen (prefix)), g_memdup2 (&t, sizeof t));
  }
  weights = avatar_weights_new_from_table (table, device, component, list, NULL,
      AVATAR_WEIGHTS_LOAD, &error);
  g_assert_no_error (error);
  return weights;
}

G_END_DECLS
