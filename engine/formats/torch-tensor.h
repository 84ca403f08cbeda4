/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Makes tensor sources of the calls in a pickle by which PyTorch would rebuild tensors, for all
 * containers of PyTorch. */
#pragma once

#include "engine/formats/pickle.h"
#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

/* Returns the bytes of the storage @key; %NULL if there is no such storage. */
typedef const guint8 *(*AvatarStorageFunc) (const char *key, gsize *size, gpointer data);

/**
 * AvatarTorchReader:
 * @bytes: (transfer none): contents of the file
 * @pickle: (transfer none): the pickle that is being read
 * @find, @data: finds a storage in @bytes
 * @copies: contents, as GBytes, of tensors that are not contiguous in the file or are float64
 * @room: number of bytes that may still be copied
 * @reading: number of bytes that may still be read for copies
 */
typedef struct
{
  GBytes *bytes;
  AvatarPickle *pickle;
  AvatarStorageFunc find;
  gpointer data;
  GPtrArray *copies;
  guint64 room, reading;
} AvatarTorchReader;

/* Copies are never larger in all than @bytes. */
void avatar_torch_reader_init (AvatarTorchReader *self, GBytes *bytes);
void avatar_torch_reader_clear (AvatarTorchReader *self);
/* FALSE: @node makes no tensor. Otherwise *@why is %NULL, or the reason why the tensor cannot be
 * used. float64 becomes float32. *@out has no name. */
gboolean avatar_torch_reader_get (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensorSource *out, const char **why);
/* Makes a source of one float32 from a number: in some files scale factors are plain numbers.
 * FALSE: @node is not a number. */
gboolean avatar_torch_reader_get_number (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensorSource *out);
/* Parses ('storage', class, key, location, count[, view]), the persistent id of @stored.
 * @key: (out): free with g_free(); @item: (out): size of an element in bytes; @count: (out): number
 * of elements. FALSE: @stored is not a storage that is known. */
gboolean avatar_torch_parse_storage (AvatarPickle *pickle, const AvatarPickleNode *stored,
    char **key, gsize *item, guint64 *count);

G_END_DECLS
