/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Translates llama.cpp's names of tensors (tensor_mapping.py in gguf-py) to those of the released
 * LLaVA. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_GGUF_OTHER,  /* another model; names are not translated */
  AVATAR_GGUF_LLAMA,  /* language model */
  AVATAR_GGUF_VISION, /* CLIP's vision tower and a projector, in files called mmproj */
  /* The same, from converters before 2025 (llama.cpp/examples/llava), in which ffn_down is the
   * first matrix of an MLP. */
  AVATAR_GGUF_OLD_VISION,
} AvatarGgufKind;

/* Order of the rows of a matrix in the file. */
typedef enum
{
  AVATAR_GGUF_IN_ORDER,
  AVATAR_GGUF_BY_HEAD,    /* q: permuted within each head */
  AVATAR_GGUF_BY_KV_HEAD, /* k: permuted within each key-value head */
} AvatarGgufOrder;

/* @architecture: (nullable): value of "general.architecture" in the file
 * Returns: kind of the file; never AVATAR_GGUF_OLD_VISION, which only the shapes reveal. */
AvatarGgufKind avatar_gguf_kind (const char *architecture);
/* @name: name of a tensor in a file of @kind
 * @order: (out): order of the tensor's rows
 * Returns: (transfer full) (nullable): name in the release; %NULL if @name is not one of
 * llama.cpp's names. */
char *avatar_gguf_name (AvatarGgufKind kind, const char *name, AvatarGgufOrder *order);

G_END_DECLS
