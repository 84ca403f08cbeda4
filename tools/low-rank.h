/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Approximation of a matrix by a product of two, for LoRA files. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/**
 * AvatarLowRank: up down, with up [rows, rank] and down [rank, cols]
 * @rank: 0 if the matrix is zero
 * @up, @down: (owned): values; the singular values are shared equally between them
 */
typedef struct
{
  gint64 rows, cols, rank;
  float *up, *down;
} AvatarLowRank;

/* Computes a singular value decomposition of rank up to @max_rank by subspace iteration with random
 * starts (Halko, Martinsson and Tropp 2011, algorithm 4.4).
 * @d: [rows, cols] finite values
 * @energy: fraction of the sum of squares that suffices; fewer than @max_rank values may do
 * @self: (out): cleared by avatar_low_rank_clear() */
void avatar_low_rank_init (AvatarLowRank *self, const float *d, gint64 rows, gint64 cols,
    gint64 max_rank, double energy);
/* d -= up down
 * @d: (inout): [rows, cols] */
void avatar_low_rank_subtract (const AvatarLowRank *self, float *d);
void avatar_low_rank_clear (AvatarLowRank *self);

/* Returns: sum of the squares of @x [n]. */
double avatar_sum_of_squares (const float *x, gsize n);

G_END_DECLS
