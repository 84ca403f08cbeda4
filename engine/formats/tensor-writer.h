/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Writing weight files, in both formats that are read. The values come from a function, piece by
 * piece and on all cores, so that a file may be larger than memory. */
#pragma once

#include "engine/base/tensor.h"

G_BEGIN_DECLS

/* @tensor: dtype and shape; its data are not looked at here. */
typedef struct
{
  const char *name;
  AvatarTensor tensor;
} AvatarNamedTensor;

/* Writes values @first .. @first + @n of @t to @out. Called from several threads at once; @first is
 * a multiple of 4. Where the writers are given none, values are zeros, and the file has holes in their place,
 * which take next to no room. */
typedef void (
    *AvatarFillFunc) (const AvatarNamedTensor *t, gsize first, gsize n, void *out, gpointer data);

/* @tensors: of AvatarNamedTensor. What was at @path is replaced when all is well. */
gboolean avatar_write_safetensors (const char *path, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error);
/* As torch.save (@key ? {@key: tensors} : tensors) does. */
gboolean avatar_write_torch (const char *path, const char *key, GArray *tensors,
    AvatarFillFunc fill, gpointer data, GError **error);

/* As torch.jit.save() of a module without methods: names are ways through modules, "a.0.weight"; those of
 * one module follow each other. */
gboolean avatar_write_torch_script (const char *path, GArray *tensors, AvatarFillFunc fill,
    gpointer data, GError **error);

/* For the writers. @offsets: where in the file each tensor begins; @crcs: (optional): of each. */
typedef struct
{
  char *path, *part; /* as it will be called, and is called until it is complete */
  int fd;
  gboolean sync; /* on the disk before it has its name */
} AvatarOutput;

typedef enum
{
  AVATAR_OUTPUT_DISCARD,
  AVATAR_OUTPUT_KEEP,
} AvatarOutputEnd;

gboolean avatar_output_open (AvatarOutput *self, const char *path, GError **error);
/* FALSE with @error if there is no room for @bytes, as far as the file system can tell ahead. */
gboolean avatar_output_reserve (AvatarOutput *self, guint64 bytes, GError **error);
gboolean
avatar_output_put (AvatarOutput *self, guint64 at, const void *bytes, gsize n, GError **error);
gboolean avatar_output_fill (AvatarOutput *self, GArray *tensors, const guint64 *offsets,
    guint32 *crcs, AvatarFillFunc fill, gpointer data, GError **error);
/* Renames the file to its final path, or removes it. Returns FALSE with @error if that fails, and
 * FALSE without for AVATAR_OUTPUT_DISCARD. */
gboolean avatar_output_close (AvatarOutput *self, AvatarOutputEnd end, GError **error);

G_END_DECLS
