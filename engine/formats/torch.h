/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of an untrusted state dict or module that PyTorch saved, as a table of named tensor
 * sources. No code is run. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

typedef struct _AvatarTorch AvatarTorch;

/* Returns: TRUE if @data begins like a zip archive or a PyTorch file from before version 1.6. */
gboolean avatar_torch_is (const guint8 *data, gsize size);
/* Opens a file. Of a dict of dicts, it reads "module", "state_dict" or "ema", the first that
 * exists. The names of the tensors of a module are paths, such as "model.0.conv.weight".
 * @name: name of the file for errors
 * Returns: (transfer full): the reader, or %NULL with AVATAR_ERROR_FORMAT */
AvatarTorch *avatar_torch_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_torch_free (AvatarTorch *self);
/* Returns: number of usable tensors. */
guint avatar_torch_n (AvatarTorch *self);
/* @out: (out) (optional): source of tensor @i
 * Returns: (transfer none): name of tensor @i, in the order of the dict. */
const char *avatar_torch_nth (AvatarTorch *self, guint i, AvatarTensorSource *out);
/* Returns: (transfer none): table of name -> reason, with the tensors that cannot be used. */
GHashTable *avatar_torch_get_unusable (AvatarTorch *self);
/* Returns: (transfer none): [length] bytes of the pickle, to be hashed. */
const guint8 *avatar_torch_get_header (AvatarTorch *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTorch, avatar_torch_free)

G_END_DECLS
