/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A state dict or a module that PyTorch has saved, as a table of named tensor sources. Nothing in
 * it is trusted, and no code is run. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

typedef struct _AvatarTorch AvatarTorch;

/* TRUE if @data begins like a zip archive or a PyTorch file from before version 1.6. */
gboolean avatar_torch_is (const guint8 *data, gsize size);
/* If the file holds a dict of dicts, uses "module", "state_dict" or "ema", the first that exists.
 * The names of a module's tensors are paths, such as "model.0.conv.weight". */
AvatarTorch *avatar_torch_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_torch_free (AvatarTorch *self);
guint avatar_torch_n (AvatarTorch *self);
/* Returns the name of tensor @i, in the order of the dict. @out is optional. */
const char *avatar_torch_nth (AvatarTorch *self, guint i, AvatarTensorSource *out);
/* Tensors that cannot be used: name -> reason. */
GHashTable *avatar_torch_get_reasons (AvatarTorch *self);
/* Bytes of the pickle, for hashing. */
const guint8 *avatar_torch_get_header (AvatarTorch *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTorch, avatar_torch_free)

G_END_DECLS
