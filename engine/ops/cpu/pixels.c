/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Decoded pictures as bytes. */
#include "engine/ops/pixels.h"

#include "engine/ops/cpu/cpu.h"

#include <math.h>

static float
clamp1 (float v)
{
  v = v > -1 ? v : -1;
  return v < 1 ? v : 1;
}

static guint8
byte (float v)
{
  return (guint8) CLAMP (lrintf (v), 0, 255);
}

static float
weigh (const float factors[3], const float *pixel)
{
  float sum = 0;

  for (guint i = 0; i < 3; i++)
    sum += factors[i] * (clamp1 (pixel[i]) + 1);
  return sum;
}

/* Of the cell of 2 x 2 pixels at @x, column @column of @width. */
static float
chroma (const float factors[3], const float *x, gint64 column, gint64 width, gboolean cosited)
{
  const float *below = x + 3 * width;
  float right = weigh (factors, x + 3) + weigh (factors, below + 3), left;

  if (!cosited)
    return (weigh (factors, x) + weigh (factors, below) + right) / 4;
  left = column == 0 ? weigh (factors, x) + weigh (factors, below)
                     : weigh (factors, x - 3) + weigh (factors, below - 3);
  return (left + 2 * (weigh (factors, x) + weigh (factors, below)) + right) / 8;
}

/* Row @row of a frame. */
static void
to_rgb (guint8 *y, const float *x, gint64 row, gint64 width)
{
  for (gint64 i = row * 3 * width; i < (row + 1) * 3 * width; i++)
    y[i] = (guint8) lrintf ((clamp1 (x[i]) + 1) * 127.5f);
}

static void
to_yuv (guint8 *y, const float *x, gint64 row, gint64 height, gint64 width,
    const AvatarPixelMatrix *m, const AvatarPixels *pixels)
{
  gboolean interleaved = pixels->format == AVATAR_PIXEL_FORMAT_NV12;
  guint8 *u = y + height * width + row / 2 * (interleaved ? width : width / 2);
  guint8 *v = interleaved ? u + 1 : u + height * width / 4;
  gint64 step = interleaved ? 2 : 1;

  for (gint64 i = 0; i < width; i++)
    y[row * width + i] = byte (m->y_offset + weigh (m->y, x + (row * width + i) * 3));
  for (gint64 i = 0; row % 2 == 0 && i < width / 2; i++) {
    const float *cell = x + (row * width + 2 * i) * 3;

    u[i * step] = byte (128 + chroma (m->u, cell, 2 * i, width, pixels->cosited));
    v[i * step] = byte (128 + chroma (m->v, cell, 2 * i, width, pixels->cosited));
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
      to_rgb (bytes, frame, i % height, width);
    else
      to_yuv (bytes, frame, i % height, height, width, matrix, pixels);
  }
}
