/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parts of attention that its dense and its sparse form share. */
#pragma once

#include "engine/backends/cpu/cpu.h"

G_BEGIN_DECLS

/* Rows of scores and of outputs are padded to a multiple of this many floats. */
#define AVATAR_CPU_LANES 16

AVATAR_CHECKED_ONCE static inline gint64
avatar_cpu_padded (gint64 n)
{
  return (n + AVATAR_CPU_LANES - 1) / AVATAR_CPU_LANES * AVATAR_CPU_LANES;
}

/* One step of the online softmax: s [n] := exp ((s - max) scale), and *@sum and @acc [d], which
 * belong to the keys before, are rescaled to the new maximum. Returns that maximum. @s has space
 * for n rounded up to whole lanes; the values after n get a weight of 0. */
float avatar_cpu_softmax_row (float *s, gint64 n, float scale, float old_max, float *sum,
    float *acc, gint64 d);
/* o [d] = acc * factor. */
void avatar_cpu_scale_row (float *o, const float *acc, float factor, gint64 d);

G_END_DECLS
