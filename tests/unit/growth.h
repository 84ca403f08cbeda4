/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asserts that processor time grows in proportion to the size of the work. Compares two sizes,
 * measured alternately, instead of a limit in seconds, which would depend on the machine. */
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

/* Compares work of size @n and 16 @n: linear time grows 16 times, quadratic time 256 times.
 * Takes the minimum of several runs, as disturbances only add time. */
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
