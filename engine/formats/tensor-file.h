/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A weight file of any format that is read, recognised by its first bytes: one table of named
 * tensor sources. */
#pragma once

#include "engine/formats/tensor-source.h"

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _AvatarWeightFile AvatarTensorFile;

/* @path: also model.safetensors.index.json, which stands for all of its shards. */
AvatarTensorFile *avatar_tensor_file_open (const char *path, GError **error);
AvatarTensorFile *avatar_tensor_file_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_tensor_file_free (AvatarTensorFile *self);
const char *avatar_tensor_file_get_name (AvatarTensorFile *self);
/* How many files the tensors lie in. */
guint avatar_tensor_file_n_files (AvatarTensorFile *self);
guint avatar_tensor_file_n (AvatarTensorFile *self);
/* Returns the name of tensor @i, in the order of the file. @out is optional. */
const char *avatar_tensor_file_nth (AvatarTensorFile *self, guint i, AvatarTensorSource *out);
/* FALSE: there is no tensor @name. */
gboolean
avatar_tensor_file_find (AvatarTensorFile *self, const char *name, AvatarTensorSource *out);
/* Why @name, which is in the file, is not in the table; %NULL if it is not in the file at all. */
const char *avatar_tensor_file_unusable_reason (AvatarTensorFile *self, const char *name);
/* All of these, name -> why: an error for who needs them. */
GHashTable *avatar_tensor_file_get_unread (AvatarTensorFile *self);
/* The "__metadata__" of a safetensors file, whose values may be of any kind; %NULL: there is none. */
JsonObject *avatar_tensor_file_get_metadata (AvatarTensorFile *self);
/* The bytes that describe the tensors, e.g. to hash them. */
const guint8 *avatar_tensor_file_get_header (AvatarTensorFile *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarTensorFile, avatar_tensor_file_free)

G_END_DECLS
