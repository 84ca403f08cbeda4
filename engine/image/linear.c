/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Arithmetic of OpenCV (modules/imgproc/src/resize.cpp): weights of 11 bits; rows first, without
 * rounding, then columns with two truncations. Exact halving is a mean of four pixels, as in
 * OpenCV. */
#include "engine/image/linear.h"

#include <math.h>

#define BITS 11
#define ONE (1 << BITS)

/* Interpolation along one axis: pixel i is a[at[i]] * first[i] + a[next[i]] * second[i]. */
typedef struct
{
  guint *at, *next;
  gint *first, *second;
} Axis;

/* Extension of the border pixel. */
typedef enum
{
  BORDER_ONE_TERM,  /* added once, for columns */
  BORDER_TWO_TERMS, /* added as two terms that are rounded separately, for rows */
} Border;

static void
axis_init (Axis *axis, guint from, guint to, Border border)
{
  double scale = 1. / ((double) to / from);

  axis->at = g_new (guint, to);
  axis->next = g_new (guint, to);
  axis->first = g_new (gint, to);
  axis->second = g_new (gint, to);
  for (guint i = 0; i < to; i++) {
    float f = (float) ((i + .5) * scale - .5), whole = floorf (f);
    gint at = (gint) whole;

    f -= whole;
    if (border == BORDER_ONE_TERM && (at < 0 || at >= (gint) from - 1))
      f = 0;
    axis->at[i] = CLAMP (at, 0, (gint) from - 1);
    axis->next[i] = CLAMP (at + 1, 0, (gint) from - 1);
    axis->first[i] = (gint) nearbyintf ((1.f - f) * ONE);
    axis->second[i] = (gint) nearbyintf (f * ONE);
  }
}

static void
axis_clear (Axis *axis)
{
  g_free (axis->at);
  g_free (axis->next);
  g_free (axis->first);
  g_free (axis->second);
}

static void
scale_row (gint *restrict out, const guint8 *restrict row, const Axis *x, guint width)
{
  for (guint i = 0; i < width; i++)
    for (guint c = 0; c < 3; c++)
      *out++ = row[3 * x->at[i] + c] * x->first[i] + row[3 * x->next[i] + c] * x->second[i];
}

static void
halve (guint8 *out, guint width, guint height, const AvatarImage *image)
{
  for (guint y = 0; y < height; y++) {
    const guint8 *a = image->data + (gsize) 2 * y * image->stride, *b = a + image->stride;

    for (guint x = 0; x < width; x++, a += 6, b += 6)
      for (guint c = 0; c < 3; c++)
        *out++ = (a[c] + a[c + 3] + b[c] + b[c + 3] + 2) >> 2;
  }
}

void
avatar_resize_linear (guint8 *out, guint width, guint height, const AvatarImage *image)
{
  g_autofree gint *upper = g_new (gint, 3 * (gsize) width);
  g_autofree gint *lower = g_new (gint, 3 * (gsize) width);
  Axis x, y;

  if (image->width == 2 * width && image->height == 2 * height) {
    halve (out, width, height, image);
    return;
  }
  axis_init (&x, image->width, width, BORDER_ONE_TERM);
  axis_init (&y, image->height, height, BORDER_TWO_TERMS);
  for (guint j = 0; j < height; j++) {
    scale_row (upper, image->data + (gsize) y.at[j] * image->stride, &x, width);
    scale_row (lower, image->data + (gsize) y.next[j] * image->stride, &x, width);
    for (guint i = 0; i < 3 * width; i++)
      *out++
          = (((y.first[j] * (upper[i] >> 4)) >> 16) + ((y.second[j] * (lower[i] >> 4)) >> 16) + 2)
          >> 2;
  }
  axis_clear (&x);
  axis_clear (&y);
}
