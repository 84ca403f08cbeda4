/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Convolution loops for the baseline instruction set: SSE2 on x86-64. */
#define AVATAR_LANES 4
#define AVATAR_PIXELS 2
#include "engine/backends/cpu/conv3d-kernel.h"

const AvatarConvLoops avatar_conv_loops_any = { fill_row, conv_row, sum_row };
