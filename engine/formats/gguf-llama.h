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
  /* the same by converters from before 2025 (llama.cpp/examples/llava), for which ffn_down is the
   * first matrix of an MLP */
  AVATAR_GGUF_OLD_VISION,
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
/* Returns the release's name of @name in files of @kind; %NULL: it is not one of llama.cpp's names.
 * @order: (out): order of the tensor's rows. Free with g_free(). */
char *avatar_gguf_name (AvatarGgufKind kind, const char *name, AvatarGgufOrder *order);

G_END_DECLS
