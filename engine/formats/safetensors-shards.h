/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Weights that lie in several safetensors files of one folder, as Hugging Face cuts large models:
 * model.safetensors.index.json says which tensor is in which file. One table of named tensor
 * sources. Nothing in the index or in the shards is trusted. */
#pragma once

#include "engine/formats/safetensors.h"

G_BEGIN_DECLS

/* @files: names of the shards, which are in the index's own folder, in the order of their first
 * mention; @places: name of a tensor -> position in @files + 1 */
typedef struct
{
  GPtrArray *files;
  GHashTable *places;
} AvatarShardIndex;

/* @name is for messages. */
AvatarShardIndex *
avatar_shard_index_parse (const char *text, gsize length, const char *name, GError **error);
void avatar_shard_index_free (AvatarShardIndex *self);

typedef struct _AvatarShards AvatarShards;

/* @path: of the index. */
AvatarShards *avatar_shards_open (const char *path, GError **error);
/* @shards: of AvatarSafetensors, as index->files; takes them and @index, also when it fails. Index
 * and shards must agree on every tensor. */
AvatarShards *
avatar_shards_new (AvatarShardIndex *index, GPtrArray *shards, const char *name, GError **error);
void avatar_shards_free (AvatarShards *self);
guint avatar_shards_n_files (AvatarShards *self);
guint avatar_shards_n (AvatarShards *self);
/* Shard by shard, in the order of their data. */
const char *avatar_shards_nth (AvatarShards *self, guint i, AvatarTensorSource *out);
/* As avatar_safetensors_nth_unread(), of all shards. */
guint avatar_shards_n_unread (AvatarShards *self);
const char *avatar_shards_nth_unread (AvatarShards *self, guint i, const char **why);
/* Stands for the tables of all shards, e.g. to hash them. */
const guint8 *avatar_shards_get_header (AvatarShards *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarShardIndex, avatar_shard_index_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarShards, avatar_shards_free)

G_END_DECLS
