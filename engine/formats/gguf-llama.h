/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* llama.cpp's names of tensors (gguf-py's tensor_mapping.py), in those of the released LLaVA. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  AVATAR_GGUF_OTHER,  /* names stay as they are */
  AVATAR_GGUF_LLAMA,  /* the language model */
  AVATAR_GGUF_VISION, /* CLIP's vision tower and a projector: a file called mmproj */
} AvatarGgufKind;

/* What sort of rows are in another order there. */
typedef enum
{
  AVATAR_GGUF_IN_ORDER,
  AVATAR_GGUF_BY_HEAD,    /* of q */
  AVATAR_GGUF_BY_KV_HEAD, /* of k */
} AvatarGgufOrder;

/* Of what general.architecture says. */
AvatarGgufKind avatar_gguf_kind (const char *architecture);
/* The name of @name in files of @kind; %NULL: it is none of llama.cpp's. @swapped: the converter
 * of before 2025 (llama.cpp/examples/llava) made it, for which ffn_down was the first matrix of an
 * MLP. Free with g_free(). */
char *
avatar_gguf_name (AvatarGgufKind kind, const char *name, gboolean swapped, AvatarGgufOrder *order);

G_END_DECLS
