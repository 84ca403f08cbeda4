/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rate that a large float32 matrix product reaches here: what the stages are held against.
 * Prints GFLOP/s of the best of some runs. */
#include <glib.h>
#include <oneapi/dnnl/dnnl.h>

#define N 1536
#define RUNS 6

int
main (void)
{
  g_autofree float *a = g_new (float, N *N);
  g_autofree float *b = g_new (float, N *N);
  g_autofree float *c = g_new0 (float, N *N);
  double best = 0;

  for (guint i = 0; i < N * N; i++) {
    a[i] = (i % 17) / 17.f;
    b[i] = (i % 13) / 13.f;
  }
  for (guint run = 0; run < RUNS; run++) {
    gint64 start = g_get_monotonic_time ();

    if (dnnl_sgemm ('N', 'N', N, N, N, 1.f, a, N, b, N, 0.f, c, N) != dnnl_success) {
      g_printerr ("gemm: dnnl_sgemm failed\n");
      return 1;
    }
    best = MAX (best, 2.0 * N * N * N / (g_get_monotonic_time () - start) / 1e3);
  }
  g_print ("%.1f\n", best);
  return 0;
}
