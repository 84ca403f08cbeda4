/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From what a pickle would have PyTorch rebuild to a tensor over the bytes of a file; the same for
 * every container in which PyTorch keeps them. */
#pragma once

#include "engine/formats/pickle.h"
#include "engine/formats/tensor-source.h"

G_BEGIN_DECLS

/* The bytes of the storage that the pickle calls @key; %NULL: there are none. */
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
/* Scales are plain numbers in some files: *@out is one float32. FALSE: @node is none. */
gboolean avatar_torch_reader_get_number (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensorSource *out);
/* The parts of ('storage', class, key, location, count[, view]) that @stored stands for: *@key is free
 * with g_free(), *@item the bytes of an element, *@count of elements. FALSE: it is no such thing. */
gboolean avatar_torch_parse_storage (AvatarPickle *pickle, const AvatarPickleNode *stored,
    char **key, gsize *item, guint64 *count);

G_END_DECLS
