/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parts that the writers of PyTorch's archives share. */
#pragma once

#include "engine/formats/tensor-writer.h"

G_BEGIN_DECLS

/* Append a string, and the call that makes a tensor of storage @key, to a pickle. */
void avatar_torch_put_string (GByteArray *pickle, const char *text);
void avatar_torch_put_tensor (GByteArray *pickle, AvatarTensor t, guint key);

/* A further entry of the archive. @name: name with a leading slash */
typedef struct
{
  const char *name, *bytes;
  gsize size;
} AvatarTorchExtra;

/* Writes an archive of @pickle, of @tensors as storages 0, 1, ..., and of @n_extras further
 * entries. */
gboolean
avatar_write_torch_archive (const char *path, GByteArray *pickle, const AvatarTorchExtra *extras,
    guint n_extras, GArray *tensors, AvatarFillFunc fill, gpointer data, GError **error);

G_END_DECLS
