/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of GGUF files, as tables of named tensor sources. Tensors of LLaMA and of LLaVA's vision
 * tower in files of llama.cpp get the names and the order of rows of the released LLaVA. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

typedef struct _AvatarGguf AvatarGguf;

/* Returns: TRUE if @data begins with the magic number of GGUF. */
gboolean avatar_gguf_is (const guint8 *data, gsize size);
/* Sources of quantised tensors have dtype float32.
 * @name: name of the file for errors
 * Returns: (transfer full): the reader, or %NULL with AVATAR_ERROR_FORMAT */
AvatarGguf *avatar_gguf_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_gguf_free (AvatarGguf *self);
/* Returns: number of usable tensors. */
guint avatar_gguf_n (AvatarGguf *self);
/* @out: (out) (optional): source of tensor @i
 * Returns: (transfer none): name of tensor @i, in the order of the file. */
const char *avatar_gguf_nth (AvatarGguf *self, guint i, AvatarTensorSource *out);
/* Returns: (transfer none): table of name -> reason, with the tensors that cannot be used. */
GHashTable *avatar_gguf_get_unusable (AvatarGguf *self);
/* Returns: (transfer none): [length] all bytes of the file before the data of the tensors. */
const guint8 *avatar_gguf_get_header (AvatarGguf *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarGguf, avatar_gguf_free)

G_END_DECLS
