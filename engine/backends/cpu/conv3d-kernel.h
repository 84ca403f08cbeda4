/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inner loops of the 3-D convolution, compiled once for each instruction set. A file that
 * includes this one first selects its target and defines AVATAR_LANES, the floats of a register,
 * and AVATAR_PIXELS, the pixels whose sums of 16 output channels fit into the registers.
 *
 * oneDNN's convolution would need a normalised and padded copy of the whole input in a blocked
 * layout. These loops read the ring buffer directly, at about 100 GFLOP/s per core (3.4 GHz Zen 4,
 * AVX-512 or AVX2), which is near the peak. */
#include "engine/backends/cpu/conv3d.h"
#include "engine/backends/cpu/memory-check.h"

#include <string.h>

#define VECTORS (16 / AVATAR_LANES) /* registers for 16 channels */

typedef float Vector __attribute__ ((vector_size (AVATAR_LANES * 4)));

AVATAR_CHECKED_ONCE static inline float
silu (float x)
{
  /* exp (-x) = 2^n exp (r) with |r| <= ln 2 / 2; the relative error is below 3e-7 */
  float t = -x, n, r, p;
  gint32 bits;

  t = t > 87.f ? 87.f : t;
  t = t < -87.f ? -87.f : t;
  n = t * 1.44269504f + 12582912.f; /* 1.5 * 2^23 rounds to the nearest integer */
  memcpy (&bits, &n, 4);
  n -= 12582912.f;
  r = t - n * 0.693359375f;
  r += n * 2.12194440e-4f;
  p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  bits = (gint32) ((guint32) bits << 23) + 0x3f800000;
  memcpy (&n, &bits, 4);
  return x / (1.f + p * n);
}

/* Normalises and activates one row [width, channels] into the ring buffer, and replicates the pixel
 * at each end. @scale and @shift [channels] may be NULL: no norm and no activation. */
AVATAR_CHECKED_ONCE static void
fill_row (float *restrict dst, const float *restrict src, gint64 width, gint64 channels,
    const float *restrict scale, const float *restrict shift, gboolean act)
{
  float *restrict row = dst + channels;
  gsize pixel = channels * sizeof (float);

  avatar_check_write (dst, (width + 2) * channels);
  avatar_check_read (src, width * channels);
  avatar_check_read (scale, channels);
  avatar_check_read (shift, channels);
  if (!scale)
    memcpy (row, src, width * pixel);
  else if (act)
    for (gint64 x = 0; x < width; x++)
      for (gint64 c = 0; c < channels; c++)
        row[x * channels + c] = silu (src[x * channels + c] * scale[c] + shift[c]);
  else
    for (gint64 x = 0; x < width; x++)
      for (gint64 c = 0; c < channels; c++)
        row[x * channels + c] = src[x * channels + c] * scale[c] + shift[c];
  memcpy (dst, row, pixel);
  memcpy (row + width * channels, row + (width - 1) * channels, pixel);
}

/* Stores the 16 sums of output pixel @x, with the residual added. */
AVATAR_CHECKED_ONCE static inline __attribute__ ((always_inline)) void
store_pixel (const AvatarConvRow *job, gint64 x, const float *sums_in)
{
  float *y = job->y + x * job->y_step;
  float sums[16];

  if (job->channels_out == 16 && !job->residual) {
    memcpy (y, sums_in, sizeof sums);
    return;
  }
  memcpy (sums, sums_in, sizeof sums);
  if (job->residual) {
    const float *residual = job->residual + x * job->y_step;

    for (gint64 c = 0; c < job->channels_out; c++)
      sums[c] += residual[c];
  }
  memcpy (y, sums, job->channels_out * sizeof (float));
}

/* Computes @n output pixels from @x0 on; @n is a constant after inlining. */
AVATAR_CHECKED_ONCE static inline __attribute__ ((always_inline)) void
conv_pixels (const AvatarConvRow *job, gint64 x0, const int n)
{
  const float *w = job->weights;
  const gint64 step = job->x_step, channels = job->channels_in;
  Vector acc[AVATAR_PIXELS][VECTORS], wv[VECTORS];

#pragma GCC unroll 16
  for (int p = 0; p < n; p++)
#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++)
      memcpy (&acc[p][v], job->bias + v * AVATAR_LANES, sizeof (Vector));
  for (gint64 row = 0; row < job->n_rows; row++)
    for (gint64 tap = 0; tap < job->taps_x; tap++) {
      const float *x = job->rows[row] + tap * channels + x0 * step;

      for (gint64 c = 0; c < channels; c++, w += 16) {
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; v++)
          memcpy (&wv[v], w + v * AVATAR_LANES, sizeof (Vector));
#pragma GCC unroll 16
        for (int p = 0; p < n; p++)
#pragma GCC unroll 4
          for (int v = 0; v < VECTORS; v++)
            acc[p][v] += wv[v] * x[p * step + c];
      }
    }
#pragma GCC unroll 16
  for (int p = 0; p < n; p++) {
    float sums[16];

#pragma GCC unroll 4
    for (int v = 0; v < VECTORS; v++)
      memcpy (sums + v * AVATAR_LANES, &acc[p][v], sizeof (Vector));
    store_pixel (job, x0 + p, sums);
  }
}

/* Checks all memory that conv_row() reads and writes. */
static void
check_row (const AvatarConvRow *job)
{
  const gint64 last = job->width - 1, taps = job->taps_x * job->channels_in;

  for (gint64 i = 0; i < job->n_rows; i++)
    avatar_check_read (job->rows[i], last * job->x_step + taps);
  avatar_check_read (job->weights, job->n_rows * taps * 16);
  avatar_check_read (job->bias, 16);
  avatar_check_write (job->y, last * job->y_step + job->channels_out);
  avatar_check_read (job->residual, last * job->y_step + job->channels_out);
}

AVATAR_CHECKED_ONCE static void
conv_row (const AvatarConvRow *job)
{
  gint64 x = 0;

  check_row (job);
  for (; x + AVATAR_PIXELS <= job->width; x += AVATAR_PIXELS)
    conv_pixels (job, x, AVATAR_PIXELS);
#if AVATAR_PIXELS > 4
  for (; x + 4 <= job->width; x += 4)
    conv_pixels (job, x, 4);
#endif
  for (; x < job->width; x++)
    conv_pixels (job, x, 1);
}

/* Sets sum [2, 16] to the sums and the sums of squares of @width pixels, for up to 16 channels. */
static void
sum_row (double *sum, const float *y, gint64 width, gint64 y_step, gint64 channels)
{
  double s[16] = { 0 }, q[16] = { 0 };

  if (channels == 16)
    for (gint64 x = 0; x < width; x++, y += y_step)
      for (int c = 0; c < 16; c++) {
        double v = y[c];

        s[c] += v;
        q[c] += v * v;
      }
  else
    for (gint64 x = 0; x < width; x++, y += y_step)
      for (gint64 c = 0; c < channels; c++) {
        double v = y[c];

        s[c] += v;
        q[c] += v * v;
      }
  memcpy (sum, s, sizeof s);
  memcpy (sum + 16, q, sizeof q);
}
