/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writers of safetensors and PyTorch files. A function supplies the values in pieces, on all cores,
 * so that a file may be larger than memory. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* @tensor: dtype and shape; the writers do not read its data */
typedef struct
{
  const char *name;
  AvatarTensor tensor;
} AvatarNamedTensor;

/* Writes values @first .. @first + @n of @t to @out. Called from several threads at once; @first is
 * a multiple of 4. Without a function the file is sparse, and all values are zeros. */
typedef void (
    *AvatarFillFunc) (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data);

/* @tensors: of AvatarNamedTensor. A file at @path is replaced after the new one is complete. */
gboolean avatar_write_safetensors (const char *path, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error);
/* Writes what torch.save (@key ? {@key: tensors} : tensors) writes. */
gboolean avatar_write_torch (const char *path, const char *key, GArray *tensors,
    AvatarFillFunc fill, gpointer data, GError **error);

/* Writes what torch.jit.save() writes of a module without methods. Names are paths through modules,
 * such as "a.0.weight"; the tensors of a module must follow each other. */
gboolean avatar_write_torch_script (const char *path, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error);

/**
 * AvatarOutput: a file that is being written.
 * @path: final path
 * @part: temporary path, until the file is complete
 * @fd: file descriptor
 * @sync: flush to the disk before renaming
 */
typedef struct
{
  char *path, *part;
  int fd;
  gboolean sync;
} AvatarOutput;

typedef enum
{
  AVATAR_OUTPUT_DISCARD,
  AVATAR_OUTPUT_KEEP,
} AvatarOutputEnd;

gboolean avatar_output_open (AvatarOutput *self, const char *path, GError **error);
/* Reserves @bytes on the disk. Succeeds if the file system does not support reservations. */
gboolean avatar_output_reserve (AvatarOutput *self, guint64 bytes, GError **error);
gboolean
avatar_output_put (AvatarOutput *self, guint64 at, const void *bytes, gsize n, GError **error);
/* Writes the values of all tensors. @offsets: position of each tensor in the file; @crcs: (out)
 * (optional): CRC-32 of each tensor */
gboolean avatar_output_fill (AvatarOutput *self, GArray *tensors, const guint64 *offsets,
    guint32 *crcs, AvatarFillFunc fill, gpointer data, GError **error);
/* Renames the file to its final path, or removes it. Returns FALSE with @error if that fails, and
 * FALSE without for AVATAR_OUTPUT_DISCARD. */
gboolean avatar_output_close (AvatarOutput *self, AvatarOutputEnd end, GError **error);

G_END_DECLS
