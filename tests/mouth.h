/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening of the demo model's mouth. */
#pragma once

#include <glib.h>
#include <math.h>

/* Measures the opening as measure_opening() of tools/demo-model/data.py does: a soft count of the
 * pixels in @box (x1, y1, x2, y2) that have the colour of the inside of a mouth. @rgb: a frame of
 * @width pixels a row */
static inline double
mouth_opening (const guint8 *rgb, guint width, const int box[4])
{
  static const double mouth_rgb[3] = { 0.28, 0.03, 0.07 };
  double sum = 0;

  for (int y = box[1]; y < box[3]; y++)
    for (int x = box[0]; x < box[2]; x++) {
      double d2 = 0;

      for (int c = 0; c < 3; c++) {
        double d = rgb[((gsize) y * width + x) * 3 + c] / 255.0 - mouth_rgb[c];

        d2 += d * d;
      }
      sum += exp (-d2 / (2 * 0.11 * 0.11));
    }
  return sum;
}
