/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors in files: where the values are, and the only functions that read them. A source has no
 * address that could be dereferenced; an AvatarTensor is in memory. */
#pragma once

#include "engine/base/tensor.h"
#include "engine/formats/gguf-dequant.h"

G_BEGIN_DECLS

/* Name of a tensor whose file does not name it. */
#define AVATAR_TENSOR_UNNAMED "tensor"

/**
 * AvatarTensorSource: passed by pointer, copied freely; owns nothing. The reader of the file must
 * outlive all copies.
 * @name: (nullable): the tensor's name in the file, for messages
 * @file: (nullable): path of the file, for messages
 * @dtype: dtype of the values that avatar_tensor_source_read_stored() writes
 * @rank: number of dimensions; 0 = no tensor
 * @shape: outermost dimension first; the values are contiguous
 * @bytes: (nullable): contents of the file, mapped or in memory; %NULL: only the shape is known
 * @offset: position of the stored tensor in @bytes
 * @first: index of the source's first value in the stored tensor
 * @block: (nullable): block format of quantised values, which are read as float32
 * @heads: number of attention heads whose rows llama.cpp has permuted; 0 = not permuted
 * @rows, @cols: sides of the permuted matrix; only if @heads is not 0
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

/* A source of which only dtype and shape are known. */
AvatarTensorSource
avatar_tensor_source_of_shape (AvatarDType dtype, guint rank, const gint64 *shape);
/* The values at @offset of @bytes, row-major in @dtype. */
AvatarTensorSource avatar_tensor_source_in_bytes (GBytes *bytes, guint64 offset, AvatarDType dtype,
    guint rank, const gint64 *shape);

guint64 avatar_tensor_source_n (const AvatarTensorSource *self);
/* Size of all values in the source's dtype, in bytes. */
guint64 avatar_tensor_source_size (const AvatarTensorSource *self);
/* Size of the stored tensor in the file, in bytes; differs from the former if it is quantised. */
guint64 avatar_tensor_source_stored_size (const AvatarTensorSource *self);
/* A tensor of the source's dtype and shape without data. */
AvatarTensor avatar_tensor_source_layout (const AvatarTensorSource *self);
/* "[2, 3, 4] float32"; free with g_free(). */
char *avatar_tensor_source_describe (const AvatarTensorSource *self);

/* Rows @start .. @start + @n of the first dimension. */
AvatarTensorSource
avatar_tensor_source_rows (const AvatarTensorSource *self, gint64 start, gint64 n);
/* The same values as a matrix. @rows * @cols must be their number. */
AvatarTensorSource
avatar_tensor_source_as_matrix (const AvatarTensorSource *self, gint64 rows, gint64 cols);

/* Reads values @first .. @first + @n as float32, whatever the dtype is. Integers are converted.
 * Fails with AVATAR_ERROR_READ if the file has been cut short, its disk fails, or the source has
 * fewer values. Any thread. */
gboolean avatar_tensor_source_read (const AvatarTensorSource *self, guint64 first, guint64 n,
    float *out, GError **error);
/* Reads the same values in the source's dtype. */
gboolean avatar_tensor_source_read_stored (const AvatarTensorSource *self, guint64 first, guint64 n,
    void *out, GError **error);
/* Reads all values as float32 into new memory; free with g_free(). */
float *avatar_tensor_source_read_all (const AvatarTensorSource *self, GError **error);

static inline gboolean
avatar_tensor_source_is_set (const AvatarTensorSource *self)
{
  return self->rank != 0;
}

G_END_DECLS
