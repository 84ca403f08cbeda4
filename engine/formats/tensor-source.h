/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors in files: the position of their values, and the functions that read them. A source has no
 * address that could be dereferenced; the values of an AvatarTensor are in memory. Reading is
 * thread-safe. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/formats/gguf-dequant.h"

G_BEGIN_DECLS

/* Name of a tensor that has no name in its file. */
#define AVATAR_TENSOR_UNNAMED "tensor"

/**
 * AvatarTensorSource: tensor in a file
 * @name: (nullable): the tensor's name in the file, for messages
 * @file: (nullable): path of the file, for messages
 * @dtype: dtype of the values that avatar_tensor_source_read_stored() writes
 * @rank: number of dimensions; 0 = no tensor
 * @shape: sizes of the dimensions, outermost first; the values are contiguous
 * @bytes: (nullable): contents of the file, mapped or in memory; %NULL: only the shape is known
 * @offset: position of the stored tensor in @bytes
 * @first: index of the source's first value in the stored tensor
 * @block: (nullable): block format of quantised values, which are read as float32
 * @heads: number of attention heads whose rows llama.cpp has permuted; 0 = not permuted
 * @rows, @cols: sides of the permuted matrix; only if @heads is not 0
 *
 * Sources may be copied; they own nothing. The reader of the file must outlive all copies.
 */
typedef struct
{
  const char *name, *file;
  AvatarDType dtype;
  guint rank;
  gint64 shape[AVATAR_MAX_RANK];
  GBytes *bytes;
  guint64 offset, first;
  const AvatarGgufBlock *block;
  guint heads;
  guint64 rows, cols;
} AvatarTensorSource;

/* Returns: a source with dtype and shape, which cannot be read. */
AvatarTensorSource
avatar_tensor_source_of_shape (AvatarDType dtype, guint rank, const gint64 *shape);
/* @offset: position of the values in @bytes (bytes)
 * Returns: a source of values in @dtype, row-major. */
AvatarTensorSource avatar_tensor_source_in_bytes (GBytes *bytes, guint64 offset, AvatarDType dtype,
    guint rank, const gint64 *shape);

/* Returns: number of values; 0 if there is no tensor. */
guint64 avatar_tensor_source_n (const AvatarTensorSource *self);
/* Returns: size of all values in the source's dtype (bytes). */
guint64 avatar_tensor_source_size (const AvatarTensorSource *self);
/* Returns: size of the stored tensor in the file (bytes), which is smaller if it is quantised. */
guint64 avatar_tensor_source_stored_size (const AvatarTensorSource *self);
/* Returns: a tensor of the source's dtype and shape without data. */
AvatarTensor avatar_tensor_source_layout (const AvatarTensorSource *self);
/* Returns: (transfer full): description for messages, such as "[2, 3, 4] float32". */
char *avatar_tensor_source_describe (const AvatarTensorSource *self);

/* Returns: rows @start .. @start + @n of the first dimension. */
AvatarTensorSource
avatar_tensor_source_rows (const AvatarTensorSource *self, gint64 start, gint64 n);
/* Returns: the same values as a matrix. @rows * @cols must be the number of values. */
AvatarTensorSource
avatar_tensor_source_as_matrix (const AvatarTensorSource *self, gint64 rows, gint64 cols);

/* Reads values @first .. @first + @n as float32. All dtypes are converted, also integers.
 * @out: (out): [n]
 * Returns: FALSE with AVATAR_ERROR_READ if the file was truncated, its disk fails, or the source
 * has fewer values. */
gboolean avatar_tensor_source_read (const AvatarTensorSource *self, guint64 first, guint64 n,
    float *out, GError **error);
/* Reads values @first .. @first + @n in the source's dtype.
 * @out: (out): [n] */
gboolean avatar_tensor_source_read_stored (const AvatarTensorSource *self, guint64 first, guint64 n,
    void *out, GError **error);
/* Reads all values as float32.
 * Returns: (transfer full): the values, or %NULL with @error */
float *avatar_tensor_source_read_all (const AvatarTensorSource *self, GError **error);

/* Returns: FALSE if there is no tensor. */
static inline gboolean
avatar_tensor_source_is_set (const AvatarTensorSource *self)
{
  return self->rank != 0;
}

G_END_DECLS
