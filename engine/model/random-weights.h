/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random weights: any value of any tensor at once, from a seed, the tensor's name and the value's
 * index alone, so that neither threads nor the order of tensors matter. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* What the values of one tensor are drawn from: evenly from @centre - @width to @centre + @width. */
typedef struct
{
  guint64 stream;
  float centre, width;
} AvatarRandom;

/* For the tensor @name of the shape of @t: matrices such that what they give is about as large as
 * what they take, norms (and variances) about one, biases small. */
AvatarRandom avatar_random_for (const char *name, AvatarTensor t, guint64 seed);
/* Values @first .. @first + @n, of any float dtype; @first is a multiple of 4. */
void
avatar_random_fill (const AvatarRandom *self, gsize first, gsize n, AvatarDType dtype, void *out);

G_END_DECLS
