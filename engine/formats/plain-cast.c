/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Quantisation with a factor scales the largest value to the end of the format's range (448), so
 * that most values are above 10. Nearly all weights of a network are below 1. */
#include "engine/formats/plain-cast.h"

#include <math.h>

/* Number of samples, spread over the tensor, and number of values in each. */
#define N_SAMPLES 16
#define SAMPLE 1024
/* Limits of the root mean square and of the largest value. Weights with a larger root mean square
 * would increase the activations in each layer. */
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
sample (const AvatarTensorSource *t, Statistics *s)
{
  guint64 n = avatar_tensor_source_n (t), count = MIN (n, SAMPLE), first = G_MAXUINT64;
  float values[SAMPLE];

  for (guint i = 0; i < N_SAMPLES; i++) {
    guint64 start = (n - count) / N_SAMPLES * i;

    if (start == first || !avatar_tensor_source_read (t, start, count, values, NULL))
      continue; /* loading the tensor reports the error */
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
  sample (t, &s);
  deviation = s.n ? sqrt (s.squares / s.n) : 0;
  /* Vectors are norms and biases, for which only the largest value is significant. */
  if (s.largest <= MAX_VALUE && (t->rank < 2 || deviation <= MAX_DEVIATION))
    return NULL;
  return g_strdup_printf (
      "its values are too large for weights without a factor (root mean square %.3g, largest value "
      "%.3g; expected at most %g and %g)",
      deviation, s.largest, MAX_DEVIATION, MAX_VALUE);
}
