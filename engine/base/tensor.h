/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors: typed, strided views of memory. A tensor does not own its memory. Shapes are written
 * outermost dimension first. All functions of this header are thread-safe. */
#pragma once

#include <avatar/error.h>

G_BEGIN_DECLS

#define AVATAR_MAX_RANK 5

typedef enum
{
  AVATAR_F32,
  AVATAR_F16,
  AVATAR_BF16,
  AVATAR_F8_E4M3,
  AVATAR_I64,
  AVATAR_I32,
  AVATAR_I8,
  AVATAR_U8,
  AVATAR_F8_E5M2, /* in LoRA files only */
} AvatarDType;

#define AVATAR_N_DTYPES (AVATAR_F8_E5M2 + 1)

/**
 * AvatarTensor:
 * @dtype: the number format of the elements
 * @rank: the number of dimensions; 0 = no tensor (an optional operand that is absent)
 * @shape: the size of each dimension
 * @stride: the distance between neighbours in each dimension, in elements
 * @data: (nullable): the first element, in host or device memory; %NULL in a dry run
 * @scale: (nullable): the factors of an 8-bit tensor, float32 [shape[0]], or [1] if @one_scale;
 *   in the same memory as @data
 * @one_scale: %TRUE if all rows share one factor
 *
 * A view of memory that is owned elsewhere. It is passed by value and needs no release.
 */
typedef struct
{
  AvatarDType dtype;
  guint rank;
  gint64 shape[AVATAR_MAX_RANK];
  gint64 stride[AVATAR_MAX_RANK];
  void *data;
  float *scale;
  gboolean one_scale;
} AvatarTensor;

#define AVATAR_NO_TENSOR ((AvatarTensor){ 0 })

/* Returns the bytes of one element. */
gsize avatar_dtype_size (AvatarDType dtype);
/* Returns a static string, for example "bfloat16". */
const char *avatar_dtype_name (AvatarDType dtype);
/* Converts the @n elements at @src from @dtype (F32, F16, BF16, F8_E4M3 or F8_E5M2) to float32.
 * @src may have any alignment. */
void avatar_dtype_to_f32 (float *dst, const void *src, AvatarDType dtype, gsize n);
/* Converts @n float32 values to @dtype (F32, F16, BF16 or F8_E4M3), rounded to nearest even.
 * F8_E4M3 saturates at 448. */
void avatar_dtype_from_f32 (void *dst, AvatarDType dtype, const float *src, gsize n);
/* Rounds each of @n values, in place, to the nearest value of @dtype, a 16-bit format. */
void avatar_dtype_round (float *values, gsize n, AvatarDType dtype);

/* Returns %TRUE if none of the @n values is NaN or infinite. */
gboolean avatar_is_finite (const float *x, gsize n);

/* Returns a contiguous view of @data. The shape follows as @rank arguments of type gint64. */
AvatarTensor avatar_tensor (AvatarDType dtype, void *data, guint rank, ...);
/* Returns the same with the shape [@rank] in an array. */
AvatarTensor
avatar_tensor_of_shape (AvatarDType dtype, void *data, guint rank, const gint64 *shape);
/* Returns the number of elements; 0 if there is no tensor. */
gint64 avatar_tensor_n (AvatarTensor t);
/* Returns the bytes of all elements, as if they were contiguous. */
gsize avatar_tensor_bytes (AvatarTensor t);
gboolean avatar_tensor_is_contiguous (AvatarTensor t);
/* Returns a view of @n entries of dimension @dim, from entry @start on. */
AvatarTensor avatar_tensor_slice (AvatarTensor t, guint dim, gint64 start, gint64 n);
#define avatar_tensor_rows(t, start, n) avatar_tensor_slice ((t), 0, (start), (n))
#define avatar_tensor_cols(t, start, n) avatar_tensor_slice ((t), (t).rank - 1, (start), (n))
/* Splits the last dimension: [.., a * b] becomes [.., a, b]. */
AvatarTensor avatar_tensor_split_last (AvatarTensor t, gint64 b);
/* Returns a view of the same elements with another shape, which follows as @rank arguments of type
 * gint64. @t must be contiguous and have the same number of elements. */
AvatarTensor avatar_tensor_reshape (AvatarTensor t, guint rank, ...);
/* Returns the shape and the number format, for example "[2, 3, 4] float32"; free with g_free(). */
char *avatar_tensor_describe (AvatarTensor t);

static inline gboolean
avatar_tensor_is_set (AvatarTensor t)
{
  return t.rank != 0;
}

static inline float *
avatar_tensor_f32 (AvatarTensor t)
{
  return (float *) t.data;
}

G_END_DECLS
