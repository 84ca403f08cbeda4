/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions that the writers of PyTorch's archives share. */
#pragma once

#include "engine/formats/tensor-writer.h"

G_BEGIN_DECLS

/* Appends a string to a pickle. */
void avatar_torch_put_string (GByteArray *pickle, const char *text);
/* Appends the call that creates a tensor of storage @key to a pickle. */
void avatar_torch_put_tensor (GByteArray *pickle, AvatarTensor t, guint key);

/**
 * AvatarTorchExtra: further entry of an archive
 * @name: name after the folder, with a leading slash
 * @bytes: [size] contents
 */
typedef struct
{
  const char *name, *bytes;
  gsize size;
} AvatarTorchExtra;

/* Writes an archive with @pickle, @tensors as storages 0, 1, ..., and @n_extras further entries.
 * See avatar_write_safetensors() for the other parameters. */
gboolean
avatar_write_torch_archive (const char *path, GByteArray *pickle, const AvatarTorchExtra *extras,
    guint n_extras, GArray *tensors, AvatarFillFunc fill, gpointer data, GError **error);

G_END_DECLS
