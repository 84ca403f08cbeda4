/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Fuzz target: any bytes as an index of shards, up to the first 0; what follows is the shards, each
 * after its length of 4 bytes. Every tensor of what is accepted is read from end to end. */
#include "tests/fuzz/target.h"

#include "engine/formats/safetensors-shards.h"

static volatile guint8 sum;

static GPtrArray *
open_shards (const AvatarShardIndex *index, const guint8 *data, gsize size)
{
  GPtrArray *shards = g_ptr_array_new_with_free_func ((GDestroyNotify) avatar_safetensors_free);

  for (guint i = 0; i < index->files->len && size >= 4; i++) {
    AvatarSafetensors *shard;
    g_autoptr (GBytes) bytes = NULL;
    guint32 n;

    memcpy (&n, data, 4);
    n = MIN (GUINT32_FROM_LE (n), size - 4);
    bytes = g_bytes_new (data + 4, n);
    data += 4 + n;
    size -= 4 + n;
    shard = avatar_safetensors_open_bytes (bytes, index->files->pdata[i], NULL);
    if (!shard)
      break;
    g_ptr_array_add (shards, shard);
  }
  if (shards->len == index->files->len)
    return shards;
  g_ptr_array_unref (shards);
  return NULL;
}

int
LLVMFuzzerTestOneInput (const guint8 *data, gsize size)
{
  const guint8 *end = memchr (data, 0, size);
  gsize length = end ? (gsize) (end - data) : size;
  g_autoptr (GError) error = NULL, index_error = NULL;
  AvatarShardIndex *index
      = avatar_shard_index_parse ((const char *) data, length, "fuzz", &index_error);
  g_autoptr (AvatarShards) shards = NULL;
  GPtrArray *files;

  g_assert (!index == !!index_error);
  if (!index)
    return 0;
  for (guint i = 0; i < index->files->len; i++)
    g_assert (!strchr (index->files->pdata[i], '/'));
  files = end ? open_shards (index, end + 1, size - length - 1) : NULL;
  if (!files) {
    avatar_shard_index_free (index);
    return 0;
  }
  shards = avatar_shards_new (index, files, "fuzz", &error);
  g_assert (!shards == !!error);
  for (guint i = 0; shards && i < avatar_shards_n (shards); i++) {
    g_autofree guint8 *values = NULL;
    AvatarTensorSource tensor;

    g_assert (avatar_shards_nth (shards, i, &tensor));
    values = g_malloc (MAX (avatar_tensor_source_size (&tensor), 1));
    g_assert (avatar_tensor_source_read_stored (&tensor, 0, avatar_tensor_source_n (&tensor),
        values, NULL));
    for (gsize k = 0; k < avatar_tensor_source_size (&tensor); k++)
      sum += values[k];
  }
  return 0;
}
