/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What PyTorch's archives have in common, for who writes one. */
#pragma once

#include "engine/formats/tensor-writer.h"

G_BEGIN_DECLS

/* A string, and the call that makes a tensor of the storage @key, as the pickle has them. */
void avatar_torch_put_string (GByteArray *pickle, const char *text);
void avatar_torch_put_tensor (GByteArray *pickle, AvatarTensor t, guint key);

/* An entry beside data.pkl; @name with a slash in front. */
typedef struct
{
  const char *name, *bytes;
  gsize size;
} AvatarTorchExtra;

/* The archive of @pickle, in which tensor i of @tensors is the storage i, and of @n_extras more. */
gboolean
avatar_write_torch_archive (const char *path, GByteArray *pickle, const AvatarTorchExtra *extras,
    guint n_extras, GArray *tensors, AvatarFillFunc fill, gpointer data, GError **error);

G_END_DECLS
