/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Number formats: names, sizes, and conversion to and from float32. */
#include "engine/base/tensor.h"

#include <math.h>
#include <string.h>

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
    case AVATAR_F8_E5M2:
      return 1;
  }
  g_return_val_if_reached (1);
}

const char *
avatar_dtype_name (AvatarDType dtype)
{
  static const char *const names[] = { "float32", "float16", "bfloat16", "float8_e4m3", "int64",
    "int32", "int8", "uint8", "float8_e5m2" };

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
  /* A tensor in a mapped file may be unaligned, hence memcpy(). */
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
    case AVATAR_F8_E5M2: /* the upper half of a float16 */
      for (gsize i = 0; i < n; i++)
        dst[i] = f16_to_f32 ((guint16) p[i] << 8);
      return;
    default:
      g_return_if_reached ();
  }
}

static inline guint32
float_to_bits (float f)
{
  guint32 bits;

  memcpy (&bits, &f, sizeof bits);
  return bits;
}

static inline guint16
f32_to_bf16 (float f)
{
  guint32 bits = float_to_bits (f);

  if ((bits & 0x7fffffff) > 0x7f800000)
    return bits >> 16 | 0x40; /* keeps a NaN a NaN */
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static guint16
f32_to_f16 (float f)
{
  guint32 bits = float_to_bits (f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  guint32 rounded;

  if (magnitude > 0x7f800000)
    return sign | 0x7e00;
  if (magnitude >= 0x477ff000) /* 65520 and above */
    return sign | 0x7c00;
  if (magnitude < 0x38800000) /* below 2^-14: multiples of 2^-24 */
    return sign | (guint32) nearbyintf (bits_to_float (magnitude) * 0x1p24f);
  rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return sign | ((rounded - 0x38000000) >> 13);
}

static guint8
f32_to_e4m3 (float f)
{
  guint32 bits = float_to_bits (f), sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  guint32 rounded;

  if (magnitude > 0x7f800000)
    return sign | 0x7f;
  if (magnitude >= 0x43e00000) /* 448 and above saturate */
    return sign | 0x7e;
  if (magnitude < 0x3c800000) /* below 2^-6: multiples of 2^-9 */
    return sign | (guint32) nearbyintf (bits_to_float (magnitude) * 0x1p9f);
  rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1);
  return sign | MIN ((rounded - 0x3c000000) >> 20, 0x7e);
}

void
avatar_dtype_from_f32 (void *dst, AvatarDType dtype, const float *src, gsize n)
{
  switch (dtype) {
    case AVATAR_F32:
      memcpy (dst, src, n * 4);
      return;
    case AVATAR_F16:
      for (gsize i = 0; i < n; i++)
        ((guint16 *) dst)[i] = f32_to_f16 (src[i]);
      return;
    case AVATAR_BF16:
      for (gsize i = 0; i < n; i++)
        ((guint16 *) dst)[i] = f32_to_bf16 (src[i]);
      return;
    case AVATAR_F8_E4M3:
      for (gsize i = 0; i < n; i++)
        ((guint8 *) dst)[i] = f32_to_e4m3 (src[i]);
      return;
    default:
      g_return_if_reached ();
  }
}

void
avatar_dtype_round (float *values, gsize n, AvatarDType dtype)
{
  guint16 rounded[512];

  for (gsize i = 0; i < n; i += G_N_ELEMENTS (rounded)) {
    gsize m = MIN (G_N_ELEMENTS (rounded), n - i);

    avatar_dtype_from_f32 (rounded, dtype, values + i, m);
    avatar_dtype_to_f32 (values + i, rounded, dtype, m);
  }
}

gboolean
avatar_is_finite (const float *x, gsize n)
{
  for (gsize i = 0; i < n; i++)
    if (!isfinite (x[i]))
      return FALSE;
  return TRUE;
}
