/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Translates llama.cpp's names of tensors (tensor_mapping.py in gguf-py) to those of the released
 * LLaVA. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_GGUF_OTHER,  /* names are not translated */
  AVATAR_GGUF_LLAMA,  /* the language model */
  AVATAR_GGUF_VISION, /* CLIP's vision tower and a projector: a file called mmproj */
  /* the same by converters from before 2025 (llama.cpp/examples/llava), for which ffn_down is the
   * first matrix of an MLP */
  AVATAR_GGUF_OLD_VISION,
} AvatarGgufKind;

/* Order of the rows of a matrix in the file. */
typedef enum
{
  AVATAR_GGUF_IN_ORDER,
  AVATAR_GGUF_BY_HEAD,    /* q: permuted within each head */
  AVATAR_GGUF_BY_KV_HEAD, /* k: permuted within each key-value head */
} AvatarGgufOrder;

/* @architecture: value of general.architecture */
AvatarGgufKind avatar_gguf_kind (const char *architecture);
/* Returns the release's name of @name in files of @kind; %NULL: it is not one of llama.cpp's names.
 * @order: (out): order of the tensor's rows. Free with g_free(). */
char *avatar_gguf_name (AvatarGgufKind kind, const char *name, AvatarGgufOrder *order);

G_END_DECLS
