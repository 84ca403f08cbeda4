/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/vae/pixels.h"

#include "engine/base/tensor.h"

#include <math.h>

/* Values that are rounded at a time. */
#define PIECE 512

static void
nearest (guint8 *bytes, const float *values, gsize n)
{
  for (gsize i = 0; i < n; i++) {
    float v = values[i];

    v = v > -1 ? v : -1;
    v = v < 1 ? v : 1;
    bytes[i] = (guint8) lrintf ((v + 1) * 127.5f);
  }
}

/* (v / 2 + 0.5).clamp (0, 1) in float16, then (255 v) as uint8 in float32. */
static void
as_upstream (guint8 *bytes, const float *values, gsize n)
{
  float v[PIECE];

  for (gsize i = 0; i < n; i++)
    v[i] = values[i];
  avatar_dtype_round (v, n, AVATAR_F16);
  for (gsize i = 0; i < n; i++)
    v[i] /= 2;
  avatar_dtype_round (v, n, AVATAR_F16);
  for (gsize i = 0; i < n; i++)
    v[i] += 0.5f;
  avatar_dtype_round (v, n, AVATAR_F16);
  for (gsize i = 0; i < n; i++)
    bytes[i] = (guint8) (CLAMP (v[i], 0.f, 1.f) * 255.f);
}

void
avatar_vae_pixels (guint8 *bytes, const float *values, gsize n, gboolean parity)
{
  if (!parity)
    nearest (bytes, values, n);
  for (gsize i = 0; parity && i < n; i += PIECE)
    as_upstream (bytes + i, values + i, MIN (PIECE, n - i));
}
