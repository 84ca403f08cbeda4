/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What conv3d.c asks of the loops that are compiled for each instruction set. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_CONV_MAX_ROWS 9

/**
 * AvatarConvRow: one row of output pixels of one phase, up to 16 channels.
 * @rows: for every tap in time and height, the slab's row at the first pixel's first tap
 * @x_step, @y_step: floats from one output pixel of the phase to the next
 * @residual: laid out as @y, or %NULL
 * @weights: [rows, taps_x, channels_in, 16]; @bias: [16]
 */
typedef struct
{
  const float *rows[AVATAR_CONV_MAX_ROWS];
  gint64 n_rows, taps_x;
  gint64 channels_in, channels_out;
  gint64 x_step, y_step, width;
  float *y;
  const float *residual;
  const float *weights, *bias;
} AvatarConvRow;

typedef struct
{
  void (*fill_row) (float *dst, const float *src, gint64 width, gint64 channels, const float *scale,
      const float *shift, gboolean act);
  void (*conv_row) (const AvatarConvRow *job);
  void (*sum_row) (double *sum, const float *y, gint64 width, gint64 y_step, gint64 channels);
} AvatarConvLoops;

extern const AvatarConvLoops avatar_conv_loops_any;
#if defined(__x86_64__)
extern const AvatarConvLoops avatar_conv_loops_avx2;
extern const AvatarConvLoops avatar_conv_loops_avx512;
#endif

G_END_DECLS
