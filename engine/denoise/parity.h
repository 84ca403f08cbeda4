/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's roundings of latents, guidance, schedule and portrait to 16 bits between the networks
 * (docs/dev/spec/denoise.md 4.4 to 4.9). docs/measurements/numerics.md lists those that are
 * reproduced. */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/* sigma_i, i = 0 .. @steps, in the float32 arithmetic of torch
 * (FlowMatchDiscreteScheduler.set_timesteps). */
float avatar_parity_sigma (guint i, guint steps, float shift);
/* with = without + @scale (with - without), rounded to bfloat16 before and after each operation.
 * All float32, of one shape; @without is rounded in place. */
void avatar_parity_guide (AvatarOps *ops, AvatarTensor with, AvatarTensor without, double scale);
/* One Euler step, z += v dt in float32, then z rounded to bfloat16. @v is multiplied in place. */
void avatar_parity_step (AvatarOps *ops, AvatarTensor z, AvatarTensor v, float dt);
/* Converts the pixels of @image to -1..1, rounded to float16: [height, width, 3]. */
void avatar_parity_pixels (float *rgb, const AvatarImage *image);
/* x = (mean + std noise - shift) factor of one latent frame of @n values. @moments: means and
 * logarithms of variances, [2, n]; @noise: (nullable): [n], %NULL for the mean alone; @parity: with
 * upstream's roundings. */
void avatar_posterior_sample (float *x, const float *moments, const float *noise, gsize n,
    double shift, double factor, gboolean parity);

G_END_DECLS
