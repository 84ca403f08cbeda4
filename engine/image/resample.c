/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Resampling as Pillow does it on 8-bit pictures: rows first, then columns. Each pass rounds and
 * clips to 8 bits, with weights in fixed point. Another order of the passes or a wider intermediate
 * gives different bytes (tests/golden/image). */
#include "engine/image/resample.h"

#include <math.h>
#include <string.h>

/* Fraction bits of a weight in 32 bits. The result needs 8 bits and the overshoot of a sharpening
 * filter two bits. */
#define PRECISION 22
#define HALF (1 << (PRECISION - 1))

/* One axis: pixel i of the result is a weighted sum over n[i] pixels from first[i]. */
typedef struct
{
  guint max_weights; /* weights allocated for each pixel */
  guint *first, *n;
  gint32 *weights; /* [pixels, max_weights] */
} Axis;

static double
triangle (double x)
{
  return MAX (1 - fabs (x), 0.);
}

static double
sinc (double x)
{
  return x == 0 ? 1 : sin (x * M_PI) / (x * M_PI);
}

static double
lanczos (double x)
{
  return -3 <= x && x < 3 ? sinc (x) * sinc (x / 3) : 0;
}

static const struct
{
  double (*value) (double x);
  double support; /* the filter is 0 beyond it on either side */
} filters[] = {
  [AVATAR_FILTER_BILINEAR] = { triangle, 1 },
  [AVATAR_FILTER_LANCZOS] = { lanczos, 3 },
};

static void
axis_clear (Axis *axis)
{
  g_free (axis->first);
  g_free (axis->n);
  g_free (axis->weights);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Axis, axis_clear)

/* Computes the weights of one pixel, first in double because they are divided by their sum. */
static void
fill_weights (gint32 *out, double *scratch, guint first, guint n, double centre, double stretch,
    AvatarFilter filter)
{
  double sum = 0;

  for (guint i = 0; i < n; i++) {
    scratch[i] = filters[filter].value ((i + (double) first - centre + .5) * (1 / stretch));
    sum += scratch[i];
  }
  for (guint i = 0; i < n; i++) {
    double weight = sum != 0 ? scratch[i] / sum : scratch[i];

    out[i] = (gint32) (weight * (1 << PRECISION) + (weight < 0 ? -.5 : .5));
  }
}

/* Computes the axis that scales the interval [from, until) of @size pixels to @to pixels. */
static void
axis_init (Axis *axis, guint size, float from, float until, guint to, AvatarFilter filter)
{
  double scale = (double) (until - from) / to, stretch = MAX (scale, 1.);
  double support = filters[filter].support * stretch;
  g_autofree double *scratch = NULL;

  axis->max_weights = (guint) ceil (support) * 2 + 1;
  axis->first = g_new (guint, to);
  axis->n = g_new (guint, to);
  axis->weights = g_new (gint32, (gsize) to * axis->max_weights);
  scratch = g_new (double, axis->max_weights);
  for (guint i = 0; i < to; i++) {
    double centre = from + (i + .5) * scale;
    guint first = (guint) MAX (centre - support + .5, 0.);
    guint last = (guint) MIN (centre + support + .5, (double) size);

    axis->first[i] = first;
    axis->n[i] = last - first;
    fill_weights (axis->weights + (gsize) i * axis->max_weights, scratch, first, last - first,
        centre, stretch, filter);
  }
}

static guint8
to_byte (gint32 sum)
{
  return CLAMP (sum >> PRECISION, 0, 255);
}

static void
scale_row (guint8 *restrict out, const guint8 *restrict row, const Axis *axis, guint width)
{
  for (guint x = 0; x < width; x++, out += 3) {
    const gint32 *weights = axis->weights + (gsize) x * axis->max_weights;
    const guint8 *in = row + 3 * (gsize) axis->first[x];
    gint32 r = HALF, g = HALF, b = HALF;

    for (guint i = 0; i < axis->n[x]; i++, in += 3) {
      r += in[0] * weights[i];
      g += in[1] * weights[i];
      b += in[2] * weights[i];
    }
    out[0] = to_byte (r);
    out[1] = to_byte (g);
    out[2] = to_byte (b);
  }
}

/* Computes row @y of the result from @rows of @n bytes each, the first of which is row @skipped of
 * the picture. */
static void
blend_rows (guint8 *restrict out, gint32 *restrict sums, const guint8 *restrict rows, guint skipped,
    const Axis *axis, guint y, guint n)
{
  const gint32 *weights = axis->weights + (gsize) y * axis->max_weights;

  for (guint i = 0; i < n; i++)
    sums[i] = HALF;
  for (guint t = 0; t < axis->n[y]; t++) {
    const guint8 *restrict in = rows + (gsize) (axis->first[y] - skipped + t) * n;

    for (guint i = 0; i < n; i++)
      sums[i] += in[i] * weights[t];
  }
  for (guint i = 0; i < n; i++)
    out[i] = to_byte (sums[i]);
}

AvatarImage *
avatar_resample (const AvatarImage *image, AvatarRegion region, AvatarFilter filter, guint width,
    guint height, GError **error)
{
  g_auto (Axis) across = { 0 };
  g_auto (Axis) down = { 0 };
  g_autofree gint32 *sums = NULL;
  g_autofree guint8 *rows = NULL;
  g_autofree guint8 *data = g_try_malloc ((gsize) width * height * 3);
  guint first, last;
  AvatarImage *out;

  axis_init (&across, image->width, region.left, region.right, width, filter);
  axis_init (&down, image->height, region.top, region.bottom, height, filter);
  first = down.first[0];
  last = down.first[height - 1] + down.n[height - 1];
  rows = g_try_malloc ((gsize) (last - first) * width * 3);
  if (!data || !rows) {
    g_set_error (error, AVATAR_ERROR, AVATAR_ERROR_MEMORY,
        "not enough memory to scale a picture of %u x %u pixels to %u x %u; use a smaller one",
        image->width, image->height, width, height);
    return NULL;
  }
  for (guint y = first; y < last; y++)
    scale_row (rows + (gsize) (y - first) * width * 3, image->data + (gsize) y * image->stride,
        &across, width);
  sums = g_new (gint32, (gsize) width * 3);
  for (guint y = 0; y < height; y++)
    blend_rows (data + (gsize) y * width * 3, sums, rows, first, &down, y, width * 3);
  out = g_new (AvatarImage, 1);
  *out = (AvatarImage){ width, height, width * 3, 3, g_steal_pointer (&data), 1 };
  return out;
}
