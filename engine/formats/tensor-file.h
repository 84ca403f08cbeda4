/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* File of weights of any format, as a table of named tensor sources. The format is recognised by
 * the first bytes. Functions that do not open or free a file may be called by several threads. */
#pragma once

#include "engine/formats/tensor-source.h"

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _AvatarTensorFile AvatarTensorFile;

/* @path: path of the file, or of an index of shards (*.index.json)
 * Returns: (transfer full): the file, or %NULL with AVATAR_ERROR_NOT_FOUND, AVATAR_ERROR_READ or
 * AVATAR_ERROR_FORMAT */
AvatarTensorFile *avatar_tensor_file_open (const char *path, GError **error);
/* @bytes: contents of the file
 * @name: name of the file for errors
 * Returns: (transfer full): the file, or %NULL with AVATAR_ERROR_FORMAT */
AvatarTensorFile *avatar_tensor_file_open_bytes (GBytes *bytes, const char *name, GError **error);
/* Sources of the file must not be read afterwards. */
void avatar_tensor_file_free (AvatarTensorFile *self);
/* Returns: (transfer none): path of the file, or the name that it was opened with. */
const char *avatar_tensor_file_get_name (AvatarTensorFile *self);
/* Returns: number of files that contain the tensors: the number of shards, or 1. */
guint avatar_tensor_file_n_files (AvatarTensorFile *self);
/* Returns: number of usable tensors. */
guint avatar_tensor_file_n (AvatarTensorFile *self);
/* @out: (out) (optional): source of tensor @i
 * Returns: (transfer none): name of tensor @i, in the order of the file. */
const char *avatar_tensor_file_nth (AvatarTensorFile *self, guint i, AvatarTensorSource *out);
/* Finds a tensor by a linear search.
 * Returns: FALSE if there is no usable tensor @name. */
gboolean
avatar_tensor_file_find (AvatarTensorFile *self, const char *name, AvatarTensorSource *out);
/* Returns: (transfer none) (nullable): reason why the tensor @name cannot be used; %NULL if it is
 * usable or not in the file. */
const char *avatar_tensor_file_unusable_reason (AvatarTensorFile *self, const char *name);
/* Returns: (transfer none): table of name -> reason, with all tensors that cannot be used. They are
 * an error only if they are needed. */
GHashTable *avatar_tensor_file_get_unusable (AvatarTensorFile *self);
/* Returns: (transfer none) (nullable): value of "__metadata__" in a safetensors file, whose members
 * may have any type. */
JsonObject *avatar_tensor_file_get_metadata (AvatarTensorFile *self);
/* Returns: (transfer none): [length] bytes that describe the tensors, to be hashed. */
const guint8 *avatar_tensor_file_get_header (AvatarTensorFile *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTensorFile, avatar_tensor_file_free)

G_END_DECLS
