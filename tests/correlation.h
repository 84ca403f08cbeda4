/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Correlation of two series. */
#pragma once

#include <glib.h>
#include <math.h>

/* Pearson's correlation; 0 if one of the two is constant. */
static inline double
correlation (const double *a, const double *b, guint n)
{
  double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;

  for (guint i = 0; i < n; i++) {
    ma += a[i] / n;
    mb += b[i] / n;
  }
  for (guint i = 0; i < n; i++) {
    ab += (a[i] - ma) * (b[i] - mb);
    aa += (a[i] - ma) * (a[i] - ma);
    bb += (b[i] - mb) * (b[i] - mb);
  }
  return ab / (sqrt (aa) * sqrt (bb) + 1e-9);
}
