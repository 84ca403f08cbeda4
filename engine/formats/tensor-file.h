/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A weight file of any format, recognised by its first bytes, as a table of named tensor
 * sources. */
#pragma once

#include "engine/formats/tensor-source.h"

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _AvatarWeightFile AvatarTensorFile;

/* @path: path of the file, or of an index of shards (model.safetensors.index.json) */
AvatarTensorFile *avatar_tensor_file_open (const char *path, GError **error);
AvatarTensorFile *avatar_tensor_file_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_tensor_file_free (AvatarTensorFile *self);
const char *avatar_tensor_file_get_name (AvatarTensorFile *self);
/* Number of files that contain the tensors. */
guint avatar_tensor_file_n_files (AvatarTensorFile *self);
guint avatar_tensor_file_n (AvatarTensorFile *self);
/* Returns the name of tensor @i, in the order of the file. @out is optional. */
const char *avatar_tensor_file_nth (AvatarTensorFile *self, guint i, AvatarTensorSource *out);
/* FALSE: there is no tensor @name. */
gboolean
avatar_tensor_file_find (AvatarTensorFile *self, const char *name, AvatarTensorSource *out);
/* Returns the reason why @name is in the file and cannot be used; %NULL if it is not in the
 * file. */
const char *avatar_tensor_file_unusable_reason (AvatarTensorFile *self, const char *name);
/* All tensors that cannot be used: name -> reason. An error only if they are needed. */
GHashTable *avatar_tensor_file_get_unread (AvatarTensorFile *self);
/* "__metadata__" of a safetensors file, whose members may have any type; %NULL if there is none. */
JsonObject *avatar_tensor_file_get_metadata (AvatarTensorFile *self);
/* Bytes that describe the tensors, for hashing. */
const guint8 *avatar_tensor_file_get_header (AvatarTensorFile *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTensorFile, avatar_tensor_file_free)

G_END_DECLS
