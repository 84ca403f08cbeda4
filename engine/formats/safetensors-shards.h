/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights in several safetensors files of one folder, into which Hugging Face divides large models:
 * model.safetensors.index.json maps tensors to files. One table of named tensor sources. Neither
 * the index nor the shards are trusted. */
#pragma once

#include "engine/formats/safetensors.h"

G_BEGIN_DECLS

/* @files: names of the shards, in the folder of the index, in the order in which they first occur
 * @places: name of a tensor -> position in @files + 1 */
typedef struct
{
  GPtrArray *files;
  GHashTable *places;
} AvatarShardIndex;

/* @name: path of the index, for messages */
AvatarShardIndex *
avatar_shard_index_parse (const char *text, gsize length, const char *name, GError **error);
void avatar_shard_index_free (AvatarShardIndex *self);

typedef struct _AvatarShards AvatarShards;

/* @path: path of the index */
AvatarShards *avatar_shards_open (const char *path, GError **error);
/* @shards: of AvatarSafetensors, in the order of index->files. Takes @index and @shards, also on
 * failure. Index and shards must agree on every tensor. */
AvatarShards *
avatar_shards_new (AvatarShardIndex *index, GPtrArray *shards, const char *name, GError **error);
void avatar_shards_free (AvatarShards *self);
guint avatar_shards_n_files (AvatarShards *self);
guint avatar_shards_n (AvatarShards *self);
/* Returns the name of tensor @i, shard by shard in the order of the data. @out is optional. */
const char *avatar_shards_nth (AvatarShards *self, guint i, AvatarTensorSource *out);
/* Tensors of all shards that are not read; see avatar_safetensors_nth_unread(). */
guint avatar_shards_n_unread (AvatarShards *self);
const char *avatar_shards_nth_unread (AvatarShards *self, guint i, const char **why);
/* Digests of the tables of all shards, for hashing. */
const guint8 *avatar_shards_get_header (AvatarShards *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarShardIndex, avatar_shard_index_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarShards, avatar_shards_free)

G_END_DECLS
