/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random weights. Each value depends only on the seed, the name of the tensor and the index of the
 * value, so neither the number of threads nor the order of tensors matters. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/**
 * AvatarRandom: uniform distribution of the values of one tensor
 * @stream: start of the generator, derived from seed and name
 * @centre, @width: values are between @centre - @width and @centre + @width
 */
typedef struct
{
  guint64 stream;
  float centre, width;
} AvatarRandom;

/* Returns: distribution for the tensor @name with the shape of @t. Matrices keep the magnitude
 * of their input, norms and variances are about 1, biases are small. */
AvatarRandom avatar_random_for (const char *name, AvatarTensor t, guint64 seed);
/* Computes values @first .. @first + @n.
 * @first: a multiple of 4
 * @dtype: any float dtype
 * @out: (out): [n] values of @dtype */
void
avatar_random_fill (const AvatarRandom *self, gsize first, gsize n, AvatarDType dtype, void *out);

G_END_DECLS
