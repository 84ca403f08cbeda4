/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* AVATAR_SIMD, for functions whose loops the compiler vectorises: they are compiled for several
 * instruction sets, of which one is selected when the library is loaded. Exponential functions that
 * the compiler can vectorise. */
#pragma once

#include "engine/backends/cpu/memory-check.h"

#include <glib.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) \
    && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define AVATAR_SIMD __attribute__ ((target_clones ("avx512f", "avx2", "default"), noinline))
#else
#define AVATAR_SIMD __attribute__ ((noinline))
#endif

/* Returns e^x within 2 ulp for x in -87 .. 88, 0 below and at most e^88 above. The polynomial is
 * that of the Cephes library. */
AVATAR_CHECKED_ONCE static inline float
avatar_expf (float x)
{
  float n, r, p;
  gint32 bits;
  float scale;

  x = x > 88.f ? 88.f : x;
  x = x < -87.3f ? -87.3f : x;
  n = x * 1.44269504088896341f + 12582912.f; /* 1.5 * 2^23: the integer is in the low bits */
  memcpy (&bits, &n, 4);
  n -= 12582912.f;
  r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  bits = (gint32) ((guint32) (bits + 127) << 23);
  memcpy (&scale, &bits, 4);
  p *= scale;
  return p;
}

/* Returns 2^t within 2 ulp for t in -126 .. 0, and 2^-126 below; wrong for t of 128 and above. The
 * polynomial is that of the Cephes library. A softmax subtracts its maximum first, so t is at most
 * 0 and needs no upper bound. That makes it a third faster than avatar_expf(). */
AVATAR_CHECKED_ONCE static inline float
avatar_exp2f_down (float t)
{
  float n, r, p;
  gint32 bits;
  float scale;

  t = t < -126.f ? -126.f : t;
  n = t + 12582912.f; /* 1.5 * 2^23: the integer is in the low bits */
  memcpy (&bits, &n, 4);
  n -= 12582912.f;
  r = t - n;
  p = 1.535336188e-4f;
  p = p * r + 1.339887440e-3f;
  p = p * r + 9.618437358e-3f;
  p = p * r + 5.550332471e-2f;
  p = p * r + 2.402264791e-1f;
  p = p * r + 6.931472029e-1f;
  p = p * r + 1.f;
  bits = (gint32) ((guint32) (bits + 127) << 23);
  memcpy (&scale, &bits, 4);
  return p * scale;
}
