/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/denoise/upstream-rounding.h"

#include <math.h>

static float
round_one (float v, AvatarDType dtype)
{
  avatar_dtype_round (&v, 1, dtype);
  return v;
}

float
avatar_upstream_sigma (guint i, guint steps, float shift)
{
  /* torch.linspace (1, 0, steps + 1), which starts from the closer end and is compiled with FMA */
  float step = -1.f / (float) steps;
  float u = i < (steps + 1) / 2 ? fmaf (step, i, 1.f) : -step * (float) (steps - i);
  float above = shift * u, below = (shift - 1.f) * u;

  return above / (1.f + below);
}

void
avatar_upstream_guide (AvatarOps *ops, AvatarTensor with, AvatarTensor without, double scale)
{
  avatar_op_scale_round (ops, without, 1, AVATAR_BF16);
  avatar_op_scale_round (ops, with, 1, AVATAR_BF16);
  avatar_op_axpby (ops, with, -1, without, 1);
  avatar_op_scale_round (ops, with, 1, AVATAR_BF16);
  avatar_op_scale_round (ops, with, scale, AVATAR_BF16);
  avatar_op_axpby (ops, with, 1, without, 1);
  avatar_op_scale_round (ops, with, 1, AVATAR_BF16);
}

void
avatar_upstream_step (AvatarOps *ops, AvatarTensor z, AvatarTensor v, float dt)
{
  avatar_op_scale_round (ops, v, dt, AVATAR_F32);
  avatar_op_axpby (ops, z, 1, v, 1);
  avatar_op_scale_round (ops, z, 1, AVATAR_BF16);
}

void
avatar_upstream_pixels (float *rgb, const AvatarImage *image)
{
  float levels[256];

  for (guint i = 0; i < G_N_ELEMENTS (levels); i++)
    levels[i] = round_one (round_one (i / 127.5f, AVATAR_F16) - 1.f, AVATAR_F16);
  for (guint y = 0; y < image->height; y++)
    for (guint x = 0; x < 3 * image->width; x++)
      rgb[(gsize) y * 3 * image->width + x] = levels[image->data[(gsize) y * image->stride + x]];
}

/* Samples one value. The mean and half of the logarithm are float16; under autocast exp() and all
 * further operations are float32. */
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
    double factor, AvatarRounding rounding)
{
  const float *log_variances = moments + n;
  gboolean upstream = rounding == AVATAR_ROUNDING_UPSTREAM;

  for (gsize i = 0; i < n; i++)
    if (!noise)
      x[i] = ((upstream ? round_one (moments[i], AVATAR_F16) : moments[i]) - shift) * factor;
    else if (upstream)
      x[i] = sample_as_upstream (moments[i], log_variances[i], noise[i], shift, factor);
    else
      x[i] = (moments[i] + expf (0.5f * CLAMP (log_variances[i], -30.f, 20.f)) * noise[i] - shift)
          * factor;
}
