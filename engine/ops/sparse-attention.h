/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sparse attention: blocks of keys that matter to a block of queries are exact, the others are
 * represented by their means (docs/dev/sparse-attention.md). */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/* Returns %TRUE if the device computes sparse attention for heads of width @d. */
gboolean avatar_ops_supports_sparse_attention (AvatarOps *ops, gint64 d);
/* Returns the summaries of the keys k and the values v, both [Lk, heads, d], from the arena. */
AvatarKeyBlocks avatar_ops_key_blocks (AvatarOps *ops, AvatarTensor k, AvatarTensor v);
/* o = softmax (q k^T * scale) v for every head, where a key is replaced by the mean of its block,
 * and a value likewise, unless the block is exact for the block of queries. A block of keys j is
 * exact for a block of queries, whose mean is m, if
 *   s m . mean[j] > s m . center + tau sqrt (s^2 sum (m^2 variance) + AVATAR_SPARSE_EPS)
 * with s = scale log2 (e); if the queries are in it or in a neighbour of it; and if it holds keys
 * from @sink on. Blocks of queries start with the first one. */
void avatar_op_sparse_attention (AvatarOps *ops, const AvatarSparseAttention *attention);
/* Returns the expected share of the pairs of queries and keys that are computed. It assumes scores
 * of blocks in a normal distribution. */
double avatar_sparse_density (const AvatarSparseAttention *attention);

G_END_DECLS
