/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GGUF files as a table of named tensor sources. Those that llama.cpp has made of LLaMA
 * or of LLaVA's vision tower have the names of the released LLaVA, and its order of rows. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

typedef struct _AvatarGguf AvatarGguf;

/* Whether @data begins as such a file. */
gboolean avatar_gguf_is (const guint8 *data, gsize size);
/* Quantised tensors are read as float32. @name is for messages. */
AvatarGguf *avatar_gguf_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_gguf_free (AvatarGguf *self);
guint avatar_gguf_n (AvatarGguf *self);
/* In the order of the file. */
const char *avatar_gguf_nth (AvatarGguf *self, guint i, AvatarTensorSource *out);
/* Tensors that are in the file and not in the table: name -> why. */
GHashTable *avatar_gguf_get_reasons (AvatarGguf *self);
/* All of the file before the tensors' bytes. */
const guint8 *avatar_gguf_get_header (AvatarGguf *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarGguf, avatar_gguf_free)

G_END_DECLS
