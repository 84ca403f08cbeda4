/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The values of a GGUF tensor that is not used as it lies in the file. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/formats/gguf-dequant.h"

G_BEGIN_DECLS

/**
 * AvatarGgufValues:
 * @stored: where they begin in the mapped file
 * @block: (nullable): what they are quantised in; %NULL: they are of @dtype
 * @rows, @cols: of the matrix; @heads: that its rows belong to, if llama.cpp's order is to be undone,
 *   else 0
 */
typedef struct
{
  const guint8 *stored;
  const AvatarGgufBlock *block;
  AvatarDType dtype;
  guint64 rows, cols;
  guint heads;
} AvatarGgufValues;

/* Values [@first, @first + @n), float32 if they are quantised; FALSE where the file was cut short. */
gboolean
avatar_gguf_values_read (const AvatarGgufValues *self, guint64 first, guint64 n, void *out);

G_END_DECLS
