/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A state dict or a module that PyTorch has saved: a table of named tensors over mapped memory, as of
 * a safetensors file. Nothing in it is trusted, and nothing is run. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

typedef struct _AvatarTorch AvatarTorch;

/* What a tensor is called that was saved alone. */
#define AVATAR_TORCH_ALONE "tensor"

/* Whether @data begins as such a file; what it is will only show when it is opened. */
gboolean avatar_torch_is (const guint8 *data, gsize size);
/* Of a dict of dicts the one called "module", "state_dict" or "ema" is taken, in this order. The names
 * of a module's tensors are the ways to them, as "model.0.conv.weight". */
AvatarTorch *avatar_torch_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_torch_free (AvatarTorch *self);
guint avatar_torch_n (AvatarTorch *self);
/* In the order of the dict. The data may lie at any address. */
const char *avatar_torch_nth (AvatarTorch *self, guint i, AvatarTensor *out);
/* Tensors that are in the file and not in the table: name -> why. */
GHashTable *avatar_torch_get_reasons (AvatarTorch *self);
/* The bytes of the pickle, e.g. to hash them. */
const guint8 *avatar_torch_get_header (AvatarTorch *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTorch, avatar_torch_free)

G_END_DECLS
