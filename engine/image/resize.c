/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Upstream's choice of a video size: the shorter side becomes the base, both are rounded to
 * multiples of 64 with ties to even, and a cap bounds the area. */
#include "engine/image/resize.h"

#include <math.h>

static guint
round_side (double side)
{
  return (guint) (nearbyint (side / 64) * 64); /* ties to even, as Python's round() */
}

static double
cap_of (guint base)
{
  switch (base) {
    case 704:
      return 704. * 1216;
    case 512:
      return 512. * 768;
    case 384:
      return 384. * 576;
    case 256:
      return 256. * 384;
    default:
      return 1.5 * base * base;
  }
}

void
avatar_resize_rule (guint width, guint height, guint base, guint *out_width, guint *out_height)
{
  double scale = (double) base / MIN (width, height), cap = cap_of (base);

  *out_width = round_side (width * scale);
  *out_height = round_side (height * scale);
  if ((double) *out_width * *out_height <= cap)
    return;
  scale = sqrt (cap / ((double) width * height));
  *out_width = round_side (width * scale);
  *out_height = round_side (height * scale);
}
