/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Tensors: a typed, strided view of memory that somebody else owns. Shapes are outermost first. */
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
  AVATAR_F8_E5M2, /* of LoRAs alone */
} AvatarDType;

#define AVATAR_N_DTYPES (AVATAR_F8_E5M2 + 1)

/**
 * AvatarTensor: passed by value. rank 0 = no tensor (an optional operand that is not given).
 * @stride: in elements. @data is %NULL in a plan, which computes nothing.
 * @scale: of an 8-bit tensor, one factor for each of its rows [shape[0]], else %NULL
 * @one_scale: there is one factor for all rows
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

gsize avatar_dtype_size (AvatarDType dtype);
const char *avatar_dtype_name (AvatarDType dtype);
/* @n elements of @src in @dtype as float32. F32, F16, BF16, F8_E4M3 and F8_E5M2 only. */
void avatar_dtype_to_f32 (float *dst, const void *src, AvatarDType dtype, gsize n);
/* The other way, rounded to nearest even (F8_E4M3: saturating at 448). */
void avatar_dtype_from_f32 (void *dst, AvatarDType dtype, const float *src, gsize n);
/* Each of @values to the nearest that @dtype, of 16 bits, has. */
void avatar_dtype_round (float *values, gsize n, AvatarDType dtype);

/* Whether none of @n values is NaN or infinite. */
gboolean avatar_is_finite (const float *x, gsize n);

/* A contiguous view of @data; the shape follows as @rank gint64 arguments. */
AvatarTensor avatar_tensor (AvatarDType dtype, void *data, guint rank, ...);
AvatarTensor
avatar_tensor_of_shape (AvatarDType dtype, void *data, guint rank, const gint64 *shape);
gint64 avatar_tensor_n (AvatarTensor t);
gsize avatar_tensor_bytes (AvatarTensor t);
gboolean avatar_tensor_is_contiguous (AvatarTensor t);
/* @n entries of dimension @dim from @start. */
AvatarTensor avatar_tensor_slice (AvatarTensor t, guint dim, gint64 start, gint64 n);
#define avatar_tensor_rows(t, start, n) avatar_tensor_slice ((t), 0, (start), (n))
#define avatar_tensor_cols(t, start, n) avatar_tensor_slice ((t), (t).rank - 1, (start), (n))
/* The last dimension [.., a * b] as [.., a, b]. */
AvatarTensor avatar_tensor_split_last (AvatarTensor t, gint64 b);
/* The same contiguous elements in another shape. */
AvatarTensor avatar_tensor_reshape (AvatarTensor t, guint rank, ...);
/* "[2, 3, 4] float32"; free with g_free(). */
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
