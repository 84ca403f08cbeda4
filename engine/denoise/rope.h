/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rotary tables and timestep sinusoids. They are computed on the host in double precision, because
 * they are small and their arguments must be exact. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/* Fills the rotary tables over t, y, x (docs/dev/spec/denoise.md 2.12). @cos, @sin: float32 on the
 * host, [(frames + 1) h w, sum (dim) / 2]; the first h w rows are those of the reference, at
 * t = -1; @dim: channels of each axis */
void avatar_rope_fill (AvatarTensor cos, AvatarTensor sin, gint64 frames, gint64 h, gint64 w,
    const guint dim[3], double theta);
/* Fills @out [@dim] with cosines, then sines, of t * 10000^(-k / (dim / 2))
 * (docs/dev/spec/denoise.md 2.4). */
void avatar_sinusoid_fill (float *out, guint dim, double t);

G_END_DECLS
