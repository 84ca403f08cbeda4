/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of an untrusted safetensors file, as a table of named tensor sources. */
#pragma once

#include "engine/formats/tensor-source.h"

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _AvatarSafetensors AvatarSafetensors;

/* Maps @path and checks its table.
 * Returns: (transfer full): the reader, or %NULL with AVATAR_ERROR_NOT_FOUND, AVATAR_ERROR_READ or
 * AVATAR_ERROR_FORMAT */
AvatarSafetensors *avatar_safetensors_open (const char *path, GError **error);
/* @name: name of the file for errors */
AvatarSafetensors *avatar_safetensors_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_safetensors_free (AvatarSafetensors *self);
/* @out: (out): source of the tensor @name
 * Returns: FALSE if there is no usable tensor @name. */
gboolean
avatar_safetensors_get (AvatarSafetensors *self, const char *name, AvatarTensorSource *out);
/* Returns: number of usable tensors. */
guint avatar_safetensors_n (AvatarSafetensors *self);
/* Returns: number of tensors with data in the file, which come first. The others are tied to one of
 * these and were not written. */
guint avatar_safetensors_n_stored (AvatarSafetensors *self);
/* @out: (out) (optional): source of tensor @i
 * Returns: (transfer none): name of tensor @i, in the order of the data. */
const char *avatar_safetensors_nth (AvatarSafetensors *self, guint i, AvatarTensorSource *out);
/* Returns: (transfer none): table of name -> reason, with the tensors whose dtype or number of
 * dimensions is not supported. */
GHashTable *avatar_safetensors_get_unusable (AvatarSafetensors *self);
/* Returns: (transfer none) (nullable): value of "__metadata__", whose members may have any type. */
JsonObject *avatar_safetensors_get_metadata (AvatarSafetensors *self);
/* Returns: (transfer none): [length] bytes of the table, to be hashed. */
const guint8 *avatar_safetensors_get_header (AvatarSafetensors *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarSafetensors, avatar_safetensors_free)

G_END_DECLS
