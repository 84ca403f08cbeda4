/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The released text encoders as lists of tensors: LLaVA (LLaMA-3-8B with CLIP's vision tower) and
 * CLIP-L's text tower, under Hugging Face's names
 * (docs/dev/spec/vae-text-face-formats.md 2.2, 3). */
#pragma once

#include "engine/model/config.h"

/* @merges: of the tokenizer, as in RandomTokenizerSizes */
typedef struct
{
  gint64 hidden, layers, heads, kv_heads, mlp, vocab, merges;
  gint64 vision_hidden, vision_layers, vision_heads, vision_mlp, image, patch;
} LlavaSizes;

typedef struct
{
  gint64 hidden, layers, heads, mlp, vocab, merges, positions;
} ClipSizes;

/* The released sizes, or with @small ones that fit the transformer of @config. */
LlavaSizes random_llava_sizes (const AvatarConfig *config, gboolean small);
ClipSizes random_clip_sizes (const AvatarConfig *config, gboolean small);
/* Arrays of AvatarNamedTensor without data; @names keeps the names. */
GArray *random_llava_list (const LlavaSizes *sizes, GStringChunk *names);
GArray *random_clip_list (const ClipSizes *sizes, GStringChunk *names);
/* What their config.json says. */
char *random_llava_config (const LlavaSizes *sizes);
char *random_clip_config (const ClipSizes *sizes);
