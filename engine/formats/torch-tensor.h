/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From what a pickle would have PyTorch rebuild to a tensor over the bytes of a file; the same for
 * every container in which PyTorch keeps them. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/formats/pickle.h"

G_BEGIN_DECLS

/* The bytes of the storage that the pickle calls @key; %NULL: there are none. */
typedef const guint8 *(*AvatarStorageFunc) (const char *key, gsize *size, gpointer data);

/**
 * AvatarTorchReader:
 * @find, @data: where storages are
 * @copies: of tensors that could not be used as they lie in the file; they live as long as this
 * @room: bytes of copies that may still be made; @reading: that may be looked at for them
 */
typedef struct
{
  AvatarPickle *pickle;
  AvatarStorageFunc find;
  gpointer data;
  GPtrArray *copies;
  guint64 room, reading;
} AvatarTorchReader;

/* @file_size: copies are never larger than the file that they are made of. */
void avatar_torch_reader_init (AvatarTorchReader *self, gsize file_size);
void avatar_torch_reader_clear (AvatarTorchReader *self);
/* FALSE: @node makes no tensor. Else *@why: %NULL, or why *@out cannot be had. float64 becomes float32,
 * and what is not contiguous in its storage is copied. */
gboolean avatar_torch_reader_get (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensor *out, const char **why);
/* Scales are plain numbers in some files: *@out is one float32. FALSE: @node is none. */
gboolean avatar_torch_reader_get_number (AvatarTorchReader *self, const AvatarPickleNode *node,
    AvatarTensor *out);
/* The parts of ('storage', class, key, location, count[, view]) that @stored stands for: *@key is free
 * with g_free(), *@item the bytes of an element, *@count of elements. FALSE: it is no such thing. */
gboolean avatar_torch_parse_storage (AvatarPickle *pickle, const AvatarPickleNode *stored,
    char **key, gsize *item, guint64 *count);

G_END_DECLS
