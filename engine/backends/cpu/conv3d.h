/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The interface of the convolution loops, which are compiled once for each instruction set. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

#define AVATAR_CONV_MAX_ROWS 9

/**
 * AvatarConvRow:
 * @rows: the ring buffer's row of each tap in time and height, at the first tap of the first pixel
 * @n_rows: the number of @rows
 * @taps_x: taps in width
 * @channels_in: input channels
 * @channels_out: output channels, 1 .. 16
 * @x_step: the distance in floats between the inputs of two output pixels of the phase
 * @y_step: the distance in floats between two output pixels of the phase
 * @width: the number of output pixels
 * @y: the first output pixel
 * @residual: (nullable): the first pixel of the residual, laid out as @y
 * @weights: [n_rows, taps_x, channels_in, 16]
 * @bias: [16]
 *
 * One row of output pixels of one phase, for one block of output channels.
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

/* conv3d-kernel.h describes the functions. */
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
