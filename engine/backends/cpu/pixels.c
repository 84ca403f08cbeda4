/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Conversion of decoded pictures to bytes. */
#include "engine/ops/pixels.h"

#include "engine/backends/cpu/cpu.h"

#include <math.h>

/* Rounds to float16. */
static float
round_to_half (float v)
{
  avatar_dtype_round (&v, 1, AVATAR_F16);
  return v;
}

/* Maps a colour of -1 .. 1 to 0 .. 2, clamped. @upstream_rounding: rounds as upstream does, which
 * computes (v / 2 + 0.5).clamp (0, 1) in float16 and truncates 255 v to uint8 */
static float
colour (float v, gboolean upstream_rounding)
{
  if (upstream_rounding) {
    v = round_to_half (round_to_half (round_to_half (v) / 2) + 0.5f);
    v = v > 0 ? v : 0;
    return floorf ((v < 1 ? v : 1) * 255.f) / 127.5f;
  }
  v = v > -1 ? v : -1;
  return (v < 1 ? v : 1) + 1;
}

static guint8
byte (float v)
{
  return (guint8) CLAMP (lrintf (v), 0, 255);
}

/* Returns the weighted sum of a pixel's three colours. */
static float
weigh (const float factors[3], const float *pixel, gboolean upstream_rounding)
{
  float sum = 0;

  for (guint i = 0; i < 3; i++)
    sum += factors[i] * colour (pixel[i], upstream_rounding);
  return sum;
}

/* Returns the weighted sums of the pixel at @x and the pixel below, added. */
static float
weigh2 (const float factors[3], const float *x, gint64 width, gboolean upstream_rounding)
{
  return weigh (factors, x, upstream_rounding) + weigh (factors, x + 3 * width, upstream_rounding);
}

/* Returns the chroma value of the cell of 2 x 2 pixels at @x, which begins at @column of @width. */
static float
chroma (const float factors[3], const float *x, gint64 column, gint64 width, const AvatarPixels *p)
{
  float middle = weigh2 (factors, x, width, p->upstream_rounding);
  float right = weigh2 (factors, x + 3, width, p->upstream_rounding);

  if (!p->cosited)
    return (middle + right) / 4;
  return ((column == 0 ? middle : weigh2 (factors, x - 3, width, p->upstream_rounding)) + 2 * middle
             + right)
      / 8;
}

/* Converts one row of a frame to RGB. */
static void
to_rgb (guint8 *y, const float *x, gint64 row, gint64 width, gboolean upstream_rounding)
{
  for (gint64 i = row * 3 * width; i < (row + 1) * 3 * width; i++)
    y[i] = (guint8) lrintf (colour (x[i], upstream_rounding) * 127.5f);
}

/* Converts one row of a frame to luma; an even row, with the row below, also to chroma. */
static void
to_yuv (guint8 *y, const float *x, gint64 row, gint64 height, gint64 width,
    const AvatarPixelMatrix *m, const AvatarPixels *pixels)
{
  gboolean interleaved = pixels->format == AVATAR_PIXEL_FORMAT_NV12;
  guint8 *u = y + height * width + row / 2 * (interleaved ? width : width / 2);
  guint8 *v = interleaved ? u + 1 : u + height * width / 4;
  gint64 step = interleaved ? 2 : 1;

  for (gint64 i = 0; i < width; i++)
    y[row * width + i]
        = byte (m->y_offset + weigh (m->y, x + (row * width + i) * 3, pixels->upstream_rounding));
  for (gint64 i = 0; row % 2 == 0 && i < width / 2; i++) {
    const float *cell = x + (row * width + 2 * i) * 3;

    u[i * step] = byte (128 + chroma (m->u, cell, 2 * i, width, pixels));
    v[i * step] = byte (128 + chroma (m->v, cell, 2 * i, width, pixels));
  }
}

void
avatar_cpu_to_bytes (AvatarQueue *queue, AvatarTensor y, AvatarTensor x, const AvatarPixels *pixels,
    const AvatarPixelMatrix *matrix, AvatarTensor bad)
{
  gint64 height = x.shape[1], width = x.shape[2];
  gsize size = avatar_pixels_size (pixels->format, height, width);

  if (!avatar_is_finite (x.data, avatar_tensor_n (x)))
    *(gint32 *) bad.data = 1;
#pragma omp parallel for schedule(static)
  for (gint64 i = 0; i < x.shape[0] * height; i++) {
    const float *frame = avatar_tensor_f32 (x) + i / height * height * width * 3;
    guint8 *bytes = (guint8 *) y.data + i / height * size;

    if (pixels->format == AVATAR_PIXEL_FORMAT_RGB)
      to_rgb (bytes, frame, i % height, width, pixels->upstream_rounding);
    else
      to_yuv (bytes, frame, i % height, height, width, matrix, pixels);
  }
}
