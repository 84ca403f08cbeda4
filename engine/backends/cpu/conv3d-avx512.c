/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Convolution loops for AVX-512: 16 pixels of one register each hide the latency of the FMA. */
#if defined(__x86_64__)
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512")
#define AVATAR_LANES 16
#define AVATAR_PIXELS 16
#include "engine/backends/cpu/conv3d-kernel.h"

const AvatarConvLoops avatar_conv_loops_avx512 = { fill_row, conv_row, sum_row };
#endif
