/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/parity.h"

#include <math.h>

/* Values that are rounded at a time. */
#define PIECE 512

static float
round_one (float v, AvatarDType dtype)
{
  avatar_dtype_round (&v, 1, dtype);
  return v;
}

float
avatar_parity_sigma (guint i, guint steps, float shift)
{
  /* torch.linspace (1, 0, steps + 1), from whichever end is nearer, as it is compiled for processors
   * with FMA */
  float step = -1.f / (float) steps;
  float u = i < (steps + 1) / 2 ? fmaf (step, i, 1.f) : -step * (float) (steps - i);
  float above = shift * u, below = (shift - 1.f) * u;

  return above / (1.f + below);
}

void
avatar_parity_guide (float *with, const float *without, gsize n, double scale)
{
  float factor = (float) scale, v[PIECE], u[PIECE];

  for (gsize i = 0; i < n; i += PIECE) {
    gsize m = MIN (PIECE, n - i);

    for (gsize j = 0; j < m; j++) {
      u[j] = without[i + j];
      v[j] = with[i + j];
    }
    avatar_dtype_round (u, m, AVATAR_BF16);
    avatar_dtype_round (v, m, AVATAR_BF16);
    for (gsize j = 0; j < m; j++)
      v[j] -= u[j];
    avatar_dtype_round (v, m, AVATAR_BF16);
    for (gsize j = 0; j < m; j++)
      v[j] *= factor;
    avatar_dtype_round (v, m, AVATAR_BF16);
    for (gsize j = 0; j < m; j++)
      with[i + j] = u[j] + v[j];
    avatar_dtype_round (with + i, m, AVATAR_BF16);
  }
}

void
avatar_parity_step (float *z, const float *v, gsize n, float dt)
{
  for (gsize i = 0; i < n; i++) {
    float moved = v[i] * dt;

    z[i] += moved;
  }
  avatar_dtype_round (z, n, AVATAR_BF16);
}

void
avatar_parity_pixels (float *rgb, const AvatarImage *image)
{
  float levels[256];

  for (guint i = 0; i < G_N_ELEMENTS (levels); i++)
    levels[i] = round_one (round_one (i / 127.5f, AVATAR_F16) - 1.f, AVATAR_F16);
  for (guint y = 0; y < image->height; y++)
    for (guint x = 0; x < 3 * image->width; x++)
      rgb[(gsize) y * 3 * image->width + x] = levels[image->data[(gsize) y * image->stride + x]];
}

/* The mean is float16, and so is half the logarithm; exp() is float32 under autocast, and with it all
 * that comes after. */
static float
sample_as_upstream (float mean, float log_variance, float noise, double shift, double factor)
{
  float half
      = round_one (0.5f * CLAMP (round_one (log_variance, AVATAR_F16), -30.f, 20.f), AVATAR_F16);
  float moved = expf (half) * round_one (noise, AVATAR_F16);
  float x = round_one (mean, AVATAR_F16) + moved;

  return (x - (float) shift) * (float) factor;
}

void
avatar_posterior_sample (float *x, const float *moments, const float *noise, gsize n, double shift,
    double factor, gboolean parity)
{
  const float *log_variances = moments + n;

  for (gsize i = 0; i < n; i++)
    if (!noise)
      x[i] = ((parity ? round_one (moments[i], AVATAR_F16) : moments[i]) - shift) * factor;
    else if (parity)
      x[i] = sample_as_upstream (moments[i], log_variances[i], noise[i], shift, factor);
    else
      x[i] = (moments[i] + expf (0.5f * CLAMP (log_variances[i], -30.f, 20.f)) * noise[i] - shift)
          * factor;
}
