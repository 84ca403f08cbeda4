/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion of calls in a pickle, by which PyTorch would rebuild tensors, to tensor sources.
 * Used for all containers of PyTorch. */
#pragma once

#include "engine/formats/pickle.h"
#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

/* @size: (out): size of the storage (bytes)
 * Returns: (transfer none) (nullable): bytes of the storage @key; %NULL if there is none. */
typedef const guint8 *(*AvatarStorageFunc) (const char *key, gsize *size, gpointer data);

/**
 * AvatarTorchReader: state of the conversion
 * @bytes: (transfer none): contents of the file
 * @pickle: (transfer none): pickle that is being read
 * @find: function that finds a storage in @bytes, called with @data
 * @copies: array of GBytes: values of tensors that are float64 or not contiguous in the file
 * @copy_bytes_left: number of bytes that may still be copied
 * @read_bytes_left: number of bytes that may still be read for copies
 */
typedef struct
{
  GBytes *bytes;
  AvatarPickle *pickle;
  AvatarStorageFunc find;
  gpointer data;
  GPtrArray *copies;
  guint64 copy_bytes_left, read_bytes_left;
} AvatarTorchReader;

/* @bytes: contents of the file; must outlive the reader. It limits the total size of copies. */
void avatar_torch_reader_init (AvatarTorchReader *self, GBytes *bytes);
void avatar_torch_reader_clear (AvatarTorchReader *self);
/* Converts the call @node. float64 becomes float32.
 * @out: (out): source without a name
 * @reason: (out): reason why the tensor cannot be used, or %NULL
 * Returns: FALSE if @node is not a call that creates a tensor. */
gboolean avatar_torch_reader_get (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensorSource *out, const char **reason);
/* Converts a number to a source of one float32. Scale factors are plain numbers in some files.
 * Returns: FALSE if @node is not a number. */
gboolean avatar_torch_reader_get_number (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensorSource *out);
/* Parses ('storage', class, key, location, count[, view]), the persistent id of @stored.
 * @key: (out) (transfer full): key of the storage
 * @item: (out): size of an element (bytes)
 * @count: (out): number of elements
 * Returns: FALSE if @stored is not a storage of a known class. */
gboolean avatar_torch_parse_storage (AvatarPickle *pickle, const AvatarPickleNode *stored,
    char **key, gsize *item, guint64 *count);

G_END_DECLS
