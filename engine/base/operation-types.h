/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Enumerations and operands that operations and back-ends share. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* Activation functions, applied to each element. */
typedef enum
{
  AVATAR_ACT_NONE,
  AVATAR_ACT_SILU,
  AVATAR_ACT_RELU,
  AVATAR_ACT_GELU,       /* exact, by erf */
  AVATAR_ACT_GELU_TANH,  /* approximated by tanh */
  AVATAR_ACT_QUICK_GELU, /* x sigmoid (1.702 x) */
} AvatarAct;

#define AVATAR_N_ACTS (AVATAR_ACT_QUICK_GELU + 1)

/* The factor of a normalised value. */
typedef enum
{
  AVATAR_NORM_SCALE,          /* scale */
  AVATAR_NORM_ONE_PLUS_SCALE, /* 1 + scale (adaptive modulation) */
} AvatarNormScale;

/* The direction of patchify. */
typedef enum
{
  AVATAR_PATCHIFY,   /* from a video to rows */
  AVATAR_UNPATCHIFY, /* from rows to a video */
} AvatarPatchDirection;

/**
 * AvatarAttention:
 * @o: the output [Lq, heads, d]
 * @q: the queries [Lq, heads, d]
 * @k: the keys [Lk, heads, d]
 * @v: the values [Lk, heads, d]
 * @scale: the factor of the scores
 * @causal_block: the block size of a block-causal mask, in keys; 0 = no such mask
 * @q_start: the position of the first query, in keys
 * @valid: optional uint8 [Lk], the mask of valid rows
 *
 * The operands of attention; see avatar_op_attention().
 */
typedef struct
{
  AvatarTensor o, q, k, v;
  double scale;
  gint64 causal_block, q_start;
  AvatarTensor valid;
} AvatarAttention;

/* Tokens of a block in sparse attention. */
#define AVATAR_SPARSE_BLOCK 64
/* Added to the variance of the scores, so that blocks of equal means are not all exact. */
#define AVATAR_SPARSE_EPS 1e-6f

/**
 * AvatarKeyBlocks:
 * @mean: the mean of the keys of each block, float32 [heads, blocks, d]
 * @keys: the same in the dtype of activations; @mean itself if that is float32
 * @values: the mean of the values of each block, likewise
 * @center: the mean of @mean over all blocks, float32 [heads, d]
 * @variance: its variance over all blocks, likewise
 *
 * Summaries of keys and values in blocks of AVATAR_SPARSE_BLOCK tokens, made by
 * avatar_ops_key_blocks(). The number of blocks is rounded up to a multiple of 64, with zeros.
 */
typedef struct
{
  AvatarTensor mean, keys, values, center, variance;
} AvatarKeyBlocks;

/**
 * AvatarSparseAttention:
 * @o: the output [Lq, heads, d]
 * @q: the queries [Lq, heads, d]
 * @k: the keys [Lk, heads, d]
 * @v: the values [Lk, heads, d]
 * @blocks: the summaries of @k and @v
 * @scale: the factor of the scores, above 0
 * @tau: the standard deviations above its mean from which the score of a block makes it exact
 * @q_start: the position of the first query, in keys
 * @sink: the first of the keys at the end that are always exact; Lk = none
 *
 * The operands of sparse attention; see avatar_op_sparse_attention().
 */
typedef struct
{
  AvatarTensor o, q, k, v;
  AvatarKeyBlocks blocks;
  double scale, tau;
  gint64 q_start, sink;
} AvatarSparseAttention;

G_END_DECLS
