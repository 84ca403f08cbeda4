/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The layers of LLaMA-3 (docs/dev/spec/vae-text-face-formats.md 2.6). The last row of a sequence
 * may represent all rows of padding. */
#pragma once

#include "engine/ops/ops.h"
#include "engine/model/config.h"
#include "engine/weights/weight-list.h"

G_BEGIN_DECLS

typedef struct
{
  AvatarModuleWeights input_norm, q, k, v, o, post_norm, gate, up, down;
} AvatarLlamaLayer;

typedef struct
{
  AvatarOps *ops;
  const AvatarLlavaConfig *config;
  const AvatarLlamaLayer *layers;
} AvatarLlama;

/* Steps of a layer, each with a weight group. The groups have similar sizes: 42 million values and
 * three times 59 million in the release, less than the groups of the transformer. */
typedef enum
{
  AVATAR_LLAMA_ATTENTION,
  AVATAR_LLAMA_GATE,
  AVATAR_LLAMA_UP,
  AVATAR_LLAMA_DOWN,
  AVATAR_LLAMA_STEPS,
} AvatarLlamaStep;

/**
 * AvatarSequence:
 * @x: [rows, hidden] float32, the residual stream
 * @h: [rows, hidden], passed from one step to the next
 * @gate: [rows, mlp], likewise
 * @cos, @sin: [rows, head_dim / 2] float32, the rotary tables
 * @valid: number of rows that are not padding: all, or all but the last
 *
 * The rows of one prompt.
 */
typedef struct
{
  AvatarTensor x, h, gate, cos, sin;
  gint64 valid;
} AvatarSequence;

/* Precision of the frequencies of the rotary embedding. */
typedef enum
{
  AVATAR_ROPE_HALF, /* rounded to float16, as in upstream */
  AVATAR_ROPE_EXACT,
} AvatarRopePrecision;

/* Allocates a sequence of @rows from the arena and computes its rotary tables. */
void avatar_llama_begin (const AvatarLlama *self, AvatarSequence *sequence, gint64 rows,
    gint64 valid, AvatarRopePrecision precision);
/* Runs step @step of layer @i on @sequence in place. */
void avatar_llama_step (const AvatarLlama *self, guint i, AvatarLlamaStep step,
    const AvatarSequence *sequence);
/* Adds the weights of layer @i to @list, as AVATAR_LLAMA_STEPS weight groups from @first_group
 * on. */
void avatar_llama_add_layer (AvatarWeightList *list, AvatarLlamaLayer *layer, guint first_group,
    guint i);

G_END_DECLS
