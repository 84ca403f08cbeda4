/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A weight file of any format that is read, recognised by its first bytes: one table of named
 * tensors over mapped memory. */
#pragma once

#include "engine/base/tensor.h"

#include <json-glib/json-glib.h>

G_BEGIN_DECLS

typedef struct _AvatarWeightFile AvatarWeightFile;

/* @path: also model.safetensors.index.json, which stands for all of its shards. */
AvatarWeightFile *avatar_weight_file_open (const char *path, GError **error);
AvatarWeightFile *avatar_weight_file_open_bytes (GBytes *bytes, const char *name, GError **error);
void avatar_weight_file_free (AvatarWeightFile *self);
const char *avatar_weight_file_get_name (AvatarWeightFile *self);
/* How many files the tensors lie in. */
guint avatar_weight_file_n_files (AvatarWeightFile *self);
guint avatar_weight_file_n (AvatarWeightFile *self);
const char *avatar_weight_file_nth (AvatarWeightFile *self, guint i, AvatarTensor *out);
/* Why @name, which is in the file, is not in the table; %NULL if it is not in the file at all. */
const char *avatar_weight_file_unusable_reason (AvatarWeightFile *self, const char *name);
/* All of these, name -> why: an error for who needs them. */
GHashTable *avatar_weight_file_get_unread (AvatarWeightFile *self);
/* The "__metadata__" of a safetensors file, whose values may be of any kind; %NULL: there is none. */
JsonObject *avatar_weight_file_get_metadata (AvatarWeightFile *self);
/* The bytes that describe the tensors, e.g. to hash them. */
const guint8 *avatar_weight_file_get_header (AvatarWeightFile *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarWeightFile, avatar_weight_file_free)

G_END_DECLS
