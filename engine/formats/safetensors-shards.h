/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reader of shards: several safetensors files of one folder, into which Hugging Face divides
 * large models, as one table of named tensor sources. An index, model.safetensors.index.json,
 * maps tensors to files. Neither the index nor the shards are trusted. */
#pragma once

#include "engine/formats/safetensors.h"

G_BEGIN_DECLS

/**
 * AvatarShardIndex: index of shards
 * @files: array of char *: names of the shards in the folder of the index, in the order of their
 *   first occurrence
 * @places: table of name of a tensor -> index in @files + 1
 */
typedef struct
{
  GPtrArray *files;
  GHashTable *places;
} AvatarShardIndex;

/* @text: [length] contents of the index
 * @name: path of the index for errors
 * Returns: (transfer full): the index, or %NULL with AVATAR_ERROR_FORMAT */
AvatarShardIndex *
avatar_shard_index_parse (const char *text, gsize length, const char *name, GError **error);
void avatar_shard_index_free (AvatarShardIndex *self);

typedef struct _AvatarShards AvatarShards;

/* @path: path of the index
 * Returns: (transfer full): the reader, or %NULL with an error */
AvatarShards *avatar_shards_open (const char *path, GError **error);
/* Combines an index and its shards, which must agree on every tensor.
 * @index: (transfer full): taken also on failure
 * @shards: (transfer full): array of AvatarSafetensors in the order of @index->files; taken also on
 *   failure
 * Returns: (transfer full): the reader, or %NULL with AVATAR_ERROR_MISMATCH or
 * AVATAR_ERROR_NOT_FOUND */
AvatarShards *
avatar_shards_new (AvatarShardIndex *index, GPtrArray *shards, const char *name, GError **error);
void avatar_shards_free (AvatarShards *self);
/* Returns: number of shards. */
guint avatar_shards_n_files (AvatarShards *self);
/* Returns: number of usable tensors. */
guint avatar_shards_n (AvatarShards *self);
/* @out: (out) (optional): source of tensor @i
 * Returns: (transfer none): name of tensor @i, in the order of the shards and of their data. */
const char *avatar_shards_nth (AvatarShards *self, guint i, AvatarTensorSource *out);
/* Returns: (transfer none): table of name -> reason, with the unusable tensors of all shards. */
GHashTable *avatar_shards_get_unusable (AvatarShards *self);
/* Returns: (transfer none): [length] digests of the tables of all shards, to be hashed. */
const guint8 *avatar_shards_get_header (AvatarShards *self, gsize *length);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarShardIndex, avatar_shard_index_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC (AvatarShards, avatar_shards_free)

G_END_DECLS
