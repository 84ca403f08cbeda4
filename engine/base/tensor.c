/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Views of memory: shapes, slices and number formats. */
#include "engine/base/tensor.h"

#include <stdarg.h>
#include <string.h>

/* clang-format off */
G_DEFINE_QUARK (avatar-error, avatar_error)
/* clang-format on */

gsize
avatar_dtype_size (AvatarDType dtype)
{
  switch (dtype) {
    case AVATAR_I64:
      return 8;
    case AVATAR_F32:
    case AVATAR_I32:
      return 4;
    case AVATAR_F16:
    case AVATAR_BF16:
      return 2;
    case AVATAR_F8_E4M3:
    case AVATAR_I8:
    case AVATAR_U8:
      return 1;
  }
  g_return_val_if_reached (1);
}

const char *
avatar_dtype_name (AvatarDType dtype)
{
  static const char *const names[]
      = { "float32", "float16", "bfloat16", "float8_e4m3", "int64", "int32", "int8", "uint8" };

  return dtype < G_N_ELEMENTS (names) ? names[dtype] : "unknown";
}

static inline float
bits_to_float (guint32 bits)
{
  float f;

  memcpy (&f, &bits, sizeof f);
  return f;
}

static float
f16_to_f32 (guint16 h)
{
  guint32 sign = (guint32) (h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 1023;

  if (exponent == 31)
    return bits_to_float (sign | 0x7f800000 | mantissa << 13);
  if (exponent)
    return bits_to_float (sign | (exponent + 112) << 23 | mantissa << 13);
  /* subnormal: mantissa * 2^-24 is exact in float32 */
  return (sign ? -1.f : 1.f) * (float) mantissa * 0x1p-24f;
}

static float
e4m3_to_f32 (guint8 v)
{
  guint32 exponent = (v >> 3) & 15, mantissa = v & 7;
  float sign = v & 0x80 ? -1.f : 1.f;

  if ((v & 0x7f) == 0x7f)
    return bits_to_float (0x7fc00000);
  if (exponent == 0)
    return sign * (float) mantissa * 0x1p-9f;
  return sign * bits_to_float ((exponent + 120) << 23 | mantissa << 20);
}

void
avatar_dtype_to_f32 (float *dst, const void *src, AvatarDType dtype, gsize n)
{
  /* mapped tensors may lie at odd addresses, hence memcpy */
  const guint8 *p = src;

  switch (dtype) {
    case AVATAR_F32:
      memcpy (dst, src, n * 4);
      return;
    case AVATAR_F16:
    case AVATAR_BF16:
      for (gsize i = 0; i < n; i++) {
        guint16 h;

        memcpy (&h, p + 2 * i, 2);
        dst[i] = dtype == AVATAR_F16 ? f16_to_f32 (h) : bits_to_float ((guint32) h << 16);
      }
      return;
    case AVATAR_F8_E4M3:
      for (gsize i = 0; i < n; i++)
        dst[i] = e4m3_to_f32 (p[i]);
      return;
    default:
      g_return_if_reached ();
  }
}

AvatarTensor
avatar_tensor_of_shape (AvatarDType dtype, void *data, guint rank, const gint64 *shape)
{
  AvatarTensor t = { .dtype = dtype, .rank = rank, .data = data };
  gint64 stride = 1;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  for (guint i = rank; i-- > 0;) {
    t.shape[i] = shape[i];
    t.stride[i] = stride;
    stride *= shape[i];
  }
  return t;
}

AvatarTensor
avatar_tensor (AvatarDType dtype, void *data, guint rank, ...)
{
  gint64 shape[AVATAR_MAX_RANK];
  va_list args;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  va_start (args, rank);
  for (guint i = 0; i < rank; i++)
    shape[i] = va_arg (args, gint64);
  va_end (args);
  return avatar_tensor_of_shape (dtype, data, rank, shape);
}

gint64
avatar_tensor_n (AvatarTensor t)
{
  gint64 n = t.rank ? 1 : 0;

  for (guint i = 0; i < t.rank; i++)
    n *= t.shape[i];
  return n;
}

gsize
avatar_tensor_bytes (AvatarTensor t)
{
  return avatar_tensor_n (t) * avatar_dtype_size (t.dtype);
}

gboolean
avatar_tensor_is_contiguous (AvatarTensor t)
{
  gint64 stride = 1;

  for (guint i = t.rank; i-- > 0;) {
    if (t.shape[i] != 1 && t.stride[i] != stride)
      return FALSE;
    stride *= t.shape[i];
  }
  return TRUE;
}

AvatarTensor
avatar_tensor_slice (AvatarTensor t, guint dim, gint64 start, gint64 n)
{
  g_assert (dim < t.rank && start >= 0 && n >= 0 && start + n <= t.shape[dim]);
  t.shape[dim] = n;
  if (t.data)
    t.data = (guint8 *) t.data + start * t.stride[dim] * (gint64) avatar_dtype_size (t.dtype);
  return t;
}

AvatarTensor
avatar_tensor_split_last (AvatarTensor t, gint64 b)
{
  guint last = t.rank - 1;

  g_assert (t.rank >= 1 && t.rank < AVATAR_MAX_RANK && b > 0 && t.shape[last] % b == 0);
  t.shape[last + 1] = b;
  t.stride[last + 1] = t.stride[last];
  t.shape[last] /= b;
  t.stride[last] *= b;
  t.rank++;
  return t;
}

AvatarTensor
avatar_tensor_reshape (AvatarTensor t, guint rank, ...)
{
  gint64 shape[AVATAR_MAX_RANK], n = 1;
  va_list args;

  g_assert (rank >= 1 && rank <= AVATAR_MAX_RANK);
  va_start (args, rank);
  for (guint i = 0; i < rank; i++)
    n *= shape[i] = va_arg (args, gint64);
  va_end (args);
  g_assert (n == avatar_tensor_n (t) && avatar_tensor_is_contiguous (t));
  return avatar_tensor_of_shape (t.dtype, t.data, rank, shape);
}

char *
avatar_tensor_describe (AvatarTensor t)
{
  GString *s = g_string_new ("[");

  for (guint i = 0; i < t.rank; i++)
    g_string_append_printf (s, "%s%" G_GINT64_FORMAT, i ? ", " : "", t.shape[i]);
  g_string_append_printf (s, "] %s", avatar_dtype_name (t.dtype));
  return g_string_free (s, FALSE);
}
