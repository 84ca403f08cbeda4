/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors of the released text encoders: LLaVA (LLaMA-3-8B with CLIP's vision tower) and CLIP-L's
 * text tower, with Hugging Face's names (docs/dev/spec/vae-text-face-formats.md 2.2, 3). */
#pragma once

#include "engine/model/config.h"

/* Sizes of random components. */
typedef enum
{
  RANDOM_SIZES_RELEASED,
  RANDOM_SIZES_SMALL, /* sizes that fit the transformer of a configuration */
} RandomSizes;

/* Sizes of LLaVA; @merges: number of merges of the tokenizer, as in RandomTokenizerSizes */
typedef struct
{
  gint64 hidden, layers, heads, kv_heads, mlp, vocab, merges;
  gint64 vision_hidden, vision_layers, vision_heads, vision_mlp, image, patch;
} LlavaSizes;

typedef struct
{
  gint64 hidden, layers, heads, mlp, vocab, merges, positions;
} ClipSizes;

/* Returns: the sizes of an encoder for the transformer of @config. */
LlavaSizes random_llava_sizes (const AvatarConfig *config, RandomSizes sizes);
ClipSizes random_clip_sizes (const AvatarConfig *config, RandomSizes sizes);
/* Returns: (transfer full): array of AvatarNamedTensor without data; @names owns the names. */
GArray *random_llava_list (const LlavaSizes *sizes, GStringChunk *names);
GArray *random_clip_list (const ClipSizes *sizes, GStringChunk *names);
/* Returns: (transfer full): text of the encoder's config.json. */
char *random_llava_config (const LlavaSizes *sizes);
char *random_clip_config (const ClipSizes *sizes);
