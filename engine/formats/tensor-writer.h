/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writers of safetensors and PyTorch files. A callback supplies the values in pieces, on all cores,
 * so that a file may be larger than memory. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/**
 * AvatarNamedTensor: tensor to write
 * @name: name in the file
 * @tensor: dtype and shape; the writers do not read its data
 */
typedef struct
{
  const char *name;
  AvatarTensor tensor;
} AvatarNamedTensor;

/* Supplies values @first .. @first + @n of @t. Called from several threads at the same time.
 * @first: a multiple of 4
 * @out: (out): [n] values of the tensor's dtype */
typedef void (
    *AvatarFillFunc) (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data);

/* Writes a safetensors file. An existing file at @path is replaced when the new one is complete.
 * @tensors: array of AvatarNamedTensor
 * @fill: (nullable): callback that is called with @data; %NULL writes a sparse file of zeros
 * Returns: FALSE with AVATAR_ERROR_READ if the file cannot be written */
gboolean avatar_write_safetensors (const char *path, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error);
/* Writes the file that torch.save() writes for a dict of tensors, or for {@key: dict}.
 * @key: (nullable): key of the dict */
gboolean avatar_write_torch (const char *path, const char *key, GArray *tensors,
    AvatarFillFunc fill, gpointer data, GError **error);

/* Writes the file that torch.jit.save() writes for a module without methods. Names are paths
 * through modules, such as "a.0.weight"; the tensors of a module must follow each other. */
gboolean avatar_write_torch_script (const char *path, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error);

/**
 * AvatarOutput: file that is being written
 * @path: final path
 * @temporary_path: path until the file is complete
 * @fd: file descriptor
 * @sync: flush the file to the disk before it is renamed
 */
typedef struct
{
  char *path, *temporary_path;
  int fd;
  gboolean sync;
} AvatarOutput;

typedef enum
{
  AVATAR_OUTPUT_DISCARD, /* remove the file */
  AVATAR_OUTPUT_KEEP,    /* rename the file to its final path */
} AvatarOutputEnd;

/* Creates the temporary file.
 * @self: (out caller-allocates): zeroed; closed by avatar_output_close() */
gboolean avatar_output_open (AvatarOutput *self, const char *path, GError **error);
/* Reserves @bytes on the disk. Succeeds also if the file system does not support reservations. */
gboolean avatar_output_reserve (AvatarOutput *self, guint64 bytes, GError **error);
/* Writes @bytes, [n], at position @at. Thread-safe. */
gboolean
avatar_output_put (AvatarOutput *self, guint64 at, const void *bytes, gsize n, GError **error);
/* Writes the values of all tensors.
 * @tensors: array of AvatarNamedTensor
 * @offsets: [tensors->len] position of each tensor in the file
 * @crcs: (out) (optional): [tensors->len] CRC-32 of each tensor
 * @fill: (nullable): see avatar_write_safetensors() */
gboolean avatar_output_fill (AvatarOutput *self, GArray *tensors, const guint64 *offsets,
    guint32 *crcs, AvatarFillFunc fill, gpointer data, GError **error);
/* Renames the file to its final path, or removes it.
 * Returns: TRUE if the file was renamed. FALSE without an error for AVATAR_OUTPUT_DISCARD. */
gboolean avatar_output_close (AvatarOutput *self, AvatarOutputEnd end, GError **error);

G_END_DECLS
