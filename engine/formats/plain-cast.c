/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Quantising with a factor scales the largest value to the end of the format's range (448), so that
 * most values are tens. Nearly all weights of a network are below 1. */
#include "engine/formats/plain-cast.h"

#include <math.h>

/* Number of pieces, spread over the tensor, and number of values in each. */
#define PIECES 16
#define PIECE 1024
/* Weights with a larger root mean square would make activations grow from layer to layer. */
#define MAX_DEVIATION 1.
#define MAX_VALUE 64.

typedef struct
{
  double squares, largest;
  guint64 n;
} Statistics;

/* Skips values that are not finite, which nan-search.c reports. */
static void
add (Statistics *s, const float *values, gsize n)
{
  for (gsize i = 0; i < n; i++) {
    if (!isfinite (values[i]))
      continue;
    s->squares += (double) values[i] * values[i];
    s->largest = MAX (s->largest, fabs (values[i]));
    s->n++;
  }
}

static void
look (const AvatarTensorSource *t, Statistics *s)
{
  guint64 n = avatar_tensor_source_n (t), count = MIN (n, PIECE), first = G_MAXUINT64;
  float values[PIECE];

  for (guint i = 0; i < PIECES; i++) {
    guint64 start = (n - count) / PIECES * i;

    if (start == first || !avatar_tensor_source_read (t, start, count, values, NULL))
      continue; /* loading the tensor will report the error */
    first = start;
    add (s, values, count);
  }
}

char *
avatar_plain_cast_check (const AvatarTensorSource *t)
{
  Statistics s = { 0 };
  double deviation;

  if (t->dtype != AVATAR_F8_E4M3 && t->dtype != AVATAR_F8_E5M2)
    return NULL;
  look (t, &s);
  deviation = s.n ? sqrt (s.squares / s.n) : 0;
  /* vectors are norms and biases, for which only the largest value is significant */
  if (s.largest <= MAX_VALUE && (t->rank < 2 || deviation <= MAX_DEVIATION))
    return NULL;
  return g_strdup_printf (
      "its values are too large for weights without a factor (root mean square %.3g, largest value "
      "%.3g; expected at most %g and %g)",
      deviation, s.largest, MAX_DEVIATION, MAX_VALUE);
}
