/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Is the time of some work in proportion to its size? Told without a bound in seconds, which would say as
 * much of the machine: the same work of two sizes, measured in turns. */
#pragma once

#include <glib.h>
#include <time.h>

/* Does the work for the size @n. */
typedef void (*GrowthFunc) (gsize n, gconstpointer data);

/* Seconds of a processor that this thread took: others may be busy on the machine. */
static inline double
growth_seconds (void)
{
  struct timespec t;

  g_assert_cmpint (clock_gettime (CLOCK_THREAD_CPUTIME_ID, &t), ==, 0);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Work of @n and of 16 @n: a time in proportion grows 16 times, the square of it 256 times. The least of
 * several runs counts, as a run can be disturbed but not be helped. */
static inline void
assert_grows_linearly (GrowthFunc func, gsize n, gconstpointer data)
{
  double least[2] = { G_MAXDOUBLE, G_MAXDOUBLE };

  for (guint i = 0; i < 6; i++) {
    double begin = growth_seconds ();

    func (i % 2 ? 16 * n : n, data);
    least[i % 2] = MIN (least[i % 2], growth_seconds () - begin);
  }
  g_test_message ("%.3g s, and %.3g s for 16 times as much", least[0], least[1]);
  g_assert_cmpfloat (least[1], <, 100 * least[0]);
}
