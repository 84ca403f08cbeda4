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

G_END_DECLS
