/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whoever quantises with a factor brings the largest value near to the end of the format's range (448), so
 * that most are tens; weights of a network are below 1, but for a few. */
#include "engine/formats/plain-cast.h"

#include <math.h>

/* Pieces all over the tensor, of so many values. */
#define PIECES 16
#define PIECE 1024
/* A row of more than a few values with a deviation above 1 would make activations many times as large. */
#define MAX_DEVIATION 1.
#define MAX_VALUE 64.

typedef struct
{
  double squares, largest;
  guint64 n;
} Statistics;

/* What is not finite says nothing of factors; the search for it is another. */
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
  /* of vectors, which are weights of norms and biases, only the largest value tells something */
  if (s.largest <= MAX_VALUE && (t->rank < 2 || deviation <= MAX_DEVIATION))
    return NULL;
  return g_strdup_printf (
      "its values are too large for weights that were rounded as they are (the mean square's root is "
      "%.3g, the largest %.3g; expected at most %g and %g): the factor belongs to it",
      deviation, s.largest, MAX_DEVIATION, MAX_VALUE);
}
