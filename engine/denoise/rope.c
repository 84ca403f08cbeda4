/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rotary tables over time, rows and columns (Su et al. 2021), and timestep sinusoids. */
#include "engine/denoise/rope.h"

#include <math.h>

void
avatar_rope_fill (AvatarTensor cos_table, AvatarTensor sin_table, gint64 frames, gint64 h, gint64 w,
    const guint dim[3], double theta)
{
  for (gint64 row = 0; row < (frames + 1) * h * w; row++) {
    const gint64 position[3] = { row / (h * w) - 1, row / w % h, row % w };
    float *c = avatar_tensor_f32 (cos_table) + row * cos_table.stride[0];
    float *s = avatar_tensor_f32 (sin_table) + row * sin_table.stride[0];

    for (guint axis = 0; axis < 3; axis++)
      for (guint i = 0; i < dim[axis] / 2; i++) {
        double angle = position[axis] * pow (theta, -2. * i / dim[axis]);

        *c++ = cos (angle);
        *s++ = sin (angle);
      }
  }
}

void
avatar_sinusoid_fill (float *out, guint dim, double t)
{
  guint half = dim / 2;

  for (guint k = 0; k < half; k++) {
    double angle = t * exp (-log (10000.) * k / half);

    out[k] = cos (angle);
    out[half + k] = sin (angle);
  }
}
