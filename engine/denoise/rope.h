/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Position tables and sinusoids, computed on the host: they are small and need exact arguments. */
#pragma once

#include "engine/ops/ops.h"

G_BEGIN_DECLS

/* cos, sin [(frames + 1) * h * w, sum (dim) / 2]: rotary embedding over t, y, x; the first h * w
 * rows are the reference picture's, at t = -1 (docs/dev/spec/denoise.md 2.12).
 * @dim: channels per axis. */
void avatar_rope_fill (AvatarTensor cos, AvatarTensor sin, gint64 frames, gint64 h, gint64 w,
    const guint dim[3], double theta);
/* out [dim]: cosines, then sines, of t * 10000^(-k / (dim / 2)) (docs/dev/spec/denoise.md 2.4). */
void avatar_sinusoid_fill (float *out, guint dim, double t);

G_END_DECLS
