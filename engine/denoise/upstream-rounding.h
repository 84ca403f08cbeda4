/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic with upstream's roundings of latents, guidance, sigmas and portrait to 16 bits between
 * the networks (docs/dev/spec/denoise.md 4.4 to 4.9). docs/measurements/numerics.md lists the
 * roundings that are reproduced. */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/**
 * AvatarRounding:
 * @AVATAR_ROUNDING_NONE: float32 throughout
 * @AVATAR_ROUNDING_UPSTREAM: rounds to 16 bits where upstream does
 */
typedef enum
{
  AVATAR_ROUNDING_NONE,
  AVATAR_ROUNDING_UPSTREAM,
} AvatarRounding;

/* Returns sigma_i, i = 0 .. @steps, in torch's float32 arithmetic
 * (FlowMatchDiscreteScheduler.set_timesteps). */
float avatar_upstream_sigma (guint i, guint steps, float shift);
/* Computes with = without + scale (with - without), rounded to bfloat16 before and after each
 * operation. @with, @without: float32, of the same shape; @without is rounded in place */
void avatar_upstream_guide (AvatarOps *ops, AvatarTensor with, AvatarTensor without, double scale);
/* Computes one Euler step, z += v dt in float32, and rounds z to bfloat16. @v is multiplied in
 * place. */
void avatar_upstream_step (AvatarOps *ops, AvatarTensor z, AvatarTensor v, float dt);
/* Converts the pixels of @image, RGB, to -1..1, rounded to float16. @rgb: (out):
 * [height, width, 3] */
void avatar_upstream_pixels (float *rgb, const AvatarImage *image);
/* Samples the posterior of one latent frame: x = (mean + std noise - shift) factor.
 * @x: (out): [n]; @moments: [2, n], means and logarithms of variances; @noise: (nullable): [n];
 * %NULL: zeros */
void avatar_posterior_sample (float *x, const float *moments, const float *noise, gsize n,
    double shift, double factor, AvatarRounding rounding);

G_END_DECLS
