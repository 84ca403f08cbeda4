/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's roundings between the networks, where they are not ours: what latents, guidance, the
 * schedule and the portrait go through there in 16 bits (docs/dev/spec/denoise.md 4.4 to 4.9).
 * docs/measurements/numerics.md lists which are reproduced. */
#pragma once

#include "engine/ops/ops.h"

#include <avatar/image.h>

G_BEGIN_DECLS

/* sigma_i, i = 0 .. @steps, as torch has it in float32 (FlowMatchDiscreteScheduler.set_timesteps). */
float avatar_parity_sigma (guint i, guint steps, float shift);
/* with = without + @scale (with - without), rounded to bfloat16 before and after each operation. All
 * float32, of one shape; @without is rounded in place. */
void avatar_parity_guide (AvatarOps *ops, AvatarTensor with, AvatarTensor without, double scale);
/* One Euler step, z += v dt in float32, then z rounded to bfloat16. @v is multiplied in place. */
void avatar_parity_step (AvatarOps *ops, AvatarTensor z, AvatarTensor v, float dt);
/* @rgb = the pixels of @image in -1..1, as float16 has them. [height, width, 3] */
void avatar_parity_pixels (float *rgb, const AvatarImage *image);
/* x = mean + std @noise of one latent frame, times @factor, less @shift before that. @moments: [2, @n]
 * means and logarithms of variances, as the encoder gives them; @noise: %NULL for the mean alone.
 * Roundings only with @parity. */
void avatar_posterior_sample (float *x, const float *moments, const float *noise, gsize n,
    double shift, double factor, gboolean parity);

G_END_DECLS
