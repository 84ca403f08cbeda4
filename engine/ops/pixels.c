/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion of decoded pictures to bytes: checks, and the colour matrix (ITU-R BT.601, BT.709). */
#include "engine/ops/pixels.h"

#include "engine/device/backend.h"

static AvatarPixelMatrix
matrix_of (const AvatarPixels *p)
{
  double k[3] = { p->kr, 1 - p->kr - p->kb, p->kb };
  double luma = (p->full_range ? 255 : 219) / 2., chroma = (p->full_range ? 255 : 224) / 2.;
  AvatarPixelMatrix m = { .y_offset = p->full_range ? 0 : 16 };

  for (guint i = 0; i < 3; i++) {
    m.y[i] = luma * k[i];
    m.u[i] = chroma * ((i == 2) - k[i]) / (2 * (1 - p->kb));
    m.v[i] = chroma * ((i == 0) - k[i]) / (2 * (1 - p->kr));
  }
  return m;
}

void
avatar_op_to_bytes (AvatarOps *ops, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
    AvatarTensor bad)
{
  AvatarPixelMatrix matrix = matrix_of (pixels);

  g_assert (x.rank == 4 && x.shape[3] == 3 && avatar_tensor_is_contiguous (x));
  g_assert (x.shape[1] % 2 == 0 && x.shape[2] % 2 == 0);
  g_assert (y.dtype == AVATAR_U8 && avatar_tensor_is_contiguous (y));
  g_assert (avatar_tensor_bytes (y)
      == x.shape[0] * avatar_pixels_size (pixels->format, x.shape[1], x.shape[2]));
  g_assert (bad.dtype == AVATAR_I32 && avatar_tensor_n (bad) == 1);
  avatar_ops_count (ops, 6. * avatar_tensor_n (x),
      (double) avatar_tensor_bytes (x) + avatar_tensor_bytes (y));
  if (avatar_ops_running (ops))
    ops->backend->to_bytes (ops->queue, y, x, pixels, &matrix, bad);
}
