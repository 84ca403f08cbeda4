/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Convolution loops for AVX2 with FMA: 4 pixels of 2 registers each leave registers for weights. */
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define AVATAR_LANES 8
#define AVATAR_PIXELS 4
#include "engine/backends/cpu/conv3d-kernel.h"

const AvatarConvLoops avatar_conv_loops_avx2 = { fill_row, conv_row, sum_row };
#endif
