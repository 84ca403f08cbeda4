/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GGUF files as a table of named tensor sources. Tensors of files that llama.cpp has converted from
 * LLaMA or LLaVA's vision tower get the names and the order of rows of the released LLaVA. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

typedef struct _AvatarGguf AvatarGguf;

/* TRUE if @data begins with the magic number of GGUF. */
gboolean avatar_gguf_is (const guint8 *data, gsize size);
/* Quantised tensors are read as float32. @name is for messages. */
AvatarGguf *avatar_gguf_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_gguf_free (AvatarGguf *self);
guint avatar_gguf_n (AvatarGguf *self);
/* Returns the name of tensor @i, in the order of the file. @out is optional. */
const char *avatar_gguf_nth (AvatarGguf *self, guint i, AvatarTensorSource *out);
/* Tensors that cannot be used: name -> reason. */
GHashTable *avatar_gguf_get_reasons (AvatarGguf *self);
/* All bytes of the file before the data of the tensors. */
const guint8 *avatar_gguf_get_header (AvatarGguf *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarGguf, avatar_gguf_free)

G_END_DECLS
