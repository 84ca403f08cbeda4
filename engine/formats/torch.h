/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A state dict or a module that PyTorch has saved: a table of named tensor sources. Nothing in it is trusted, and nothing is run. */
#pragma once

#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

typedef struct _AvatarTorch AvatarTorch;

/* Whether @data begins as such a file; what it is will only show when it is opened. */
gboolean avatar_torch_is (const guint8 *data, gsize size);
/* Of a dict of dicts the one called "module", "state_dict" or "ema" is taken, in this order. The names
 * of a module's tensors are the ways to them, as "model.0.conv.weight". */
AvatarTorch *avatar_torch_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_torch_free (AvatarTorch *self);
guint avatar_torch_n (AvatarTorch *self);
/* In the order of the dict. */
const char *avatar_torch_nth (AvatarTorch *self, guint i, AvatarTensorSource *out);
/* Tensors that are in the file and not in the table: name -> why. */
GHashTable *avatar_torch_get_reasons (AvatarTorch *self);
/* The bytes of the pickle, e.g. to hash them. */
const guint8 *avatar_torch_get_header (AvatarTorch *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTorch, avatar_torch_free)

G_END_DECLS
