/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* LLaMA-3's layers (docs/dev/spec/vae-text-face-formats.md 2.6): a sequence whose last row may
 * stand for all rows of padding. */
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

/* A layer in parts of about one size, as its weights come to the device: at the released widths of 42
 * and three times 59 million values, less than the parts of the transformer's blocks. */
typedef enum
{
  AVATAR_LLAMA_ATTENTION,
  AVATAR_LLAMA_GATE,
  AVATAR_LLAMA_UP,
  AVATAR_LLAMA_DOWN,
  AVATAR_LLAMA_STEPS,
} AvatarLlamaStep;

/**
 * AvatarSequence: rows of one prompt
 * @x: [rows, hidden] float32
 * @h, @gate: [rows, hidden], [rows, mlp]: what a step leaves for the next one
 * @valid: how many of them are not padding: all, or all but the last
 * @cos, @sin: [rows, head_dim / 2] float32
 */
typedef struct
{
  AvatarTensor x, h, gate, cos, sin;
  gint64 valid;
} AvatarSequence;

/* Precision of the frequencies of positions. */
typedef enum
{
  AVATAR_ROPE_HALF, /* rounded to float16, as the model was run upstream */
  AVATAR_ROPE_EXACT,
} AvatarRopePrecision;

/* Allocates a sequence of @rows, and makes the tables of its positions. */
void avatar_llama_begin (const AvatarLlama *self, AvatarSequence *sequence, gint64 rows,
    gint64 valid, AvatarRopePrecision precision);
/* Step @step of layer @i, in place. */
void avatar_llama_step (const AvatarLlama *self, guint i, AvatarLlamaStep step,
    const AvatarSequence *sequence);
/* Adds the names of layer @i to @list: its steps are AVATAR_LLAMA_STEPS weight groups from
 * @first_group on. */
void avatar_llama_add_layer (AvatarWeightList *list, AvatarLlamaLayer *layer, guint first_group,
    guint i);

G_END_DECLS
